#include "server/instance/live_private.h"
#include "server/instance/migration.h"
#include "server/instance/backup_index.h"
#include "server/instance/migration_source.h"
#include "server/instance/private.h"
#include "server/instance/snapshot.h"
#include "server/storage/volume_block.h"

/* Whose ids the files of what stands first have on disk. */
static int owners_sent(const InstanceOrigin *origin, GArray **ret_map, Error **err)
{
	g_autoptr(InstanceSnapshot) of = NULL;
	if (!origin->snapshot)
		return owners_now(origin->source, ret_map, err);
	return instance_snapshot_find(origin->source, origin->snapshot, &of, err) < 0 ?
	    -1 :
	    owners_of(of->config, ret_map, err);
}

/* Drivers that clone at once did not make it stand still, but this reads its tree. */
static int stand_still(void *data, gboolean still, Error **err)
{
	Instance *i = data;
	if (instance_status(i) != (still ? INSTANCE_RUNNING : INSTANCE_FROZEN))
		return 0;
	return power_freeze_locked(i, still, err);
}

static int send_held(MigrationPeer *peer, const InstanceOrigin *origin, LiveSource *live,
    Operation *op, Error **err)
{
	Instance *i = origin->source;
	g_autoptr(Pool) pool = NULL;
	g_autoptr(GPtrArray) snapshots = NULL;
	g_autoptr(GArray) owners = NULL;
	g_autoptr(GPtrArray) snapshot_owners = NULL;
	if (instance_pool(i, &pool, err) < 0 || copy_snapshots_of(origin, &snapshots, err) < 0 ||
	    owners_sent(origin, &owners, err) < 0 ||
	    owners_of_snapshots(snapshots, &snapshot_owners, err) < 0)
		return -1;
	g_autoptr(Volume) whole = copy_root_volume(i, pool);
	MigrationSource source = { .type = instance_type_name(instance_type(i)),
		.name = instance_name(i),
		.pool = pool,
		.whole = whole,
		.snapshot = origin->snapshot,
		.snapshots = snapshots,
		.owners = owners,
		.snapshot_owners = snapshot_owners,
		.architecture = (int)i->architecture,
		.live = live,
		.op = op };
	gboolean machine = instance_type(i) == INSTANCE_MACHINE;
	g_autofree char *disk = machine ? volume_block_path(pool, whole, PLACE_OWN) : NULL;
	if (disk)
		source.size = volume_block_size(disk);
	if (!live && !origin->allow_inconsistent && instance_status(i) == INSTANCE_RUNNING) {
		source.still = stand_still;
		source.data = i;
	}
	return migration_source_run(peer, &source, err);
}

static int send_all(MigrationPeer *peer, const InstanceOrigin *origin, Operation *op, Error **err)
{
	gboolean frozen;
	if (copy_hold(origin, &frozen, err) < 0)
		return -1;
	int result = send_held(peer, origin, NULL, op, err);
	copy_release(origin, frozen);
	return result;
}

static int send_locked(MigrationPeer *peer, const InstanceOrigin *origin, gboolean stays,
    Operation *op, Error **err)
{
	LiveSource *live;
	Error *failure = NULL;
	if (live_source_check(origin->source, stays, err) < 0 ||
	    live_source_new(origin->source, stays, op, &live, err) < 0)
		return -1;
	send_held(peer, origin, live, op, &failure);
	return live_source_end(live, &failure) < 0 ? error_propagate(err, failure) : 0;
}

static int send_live(MigrationPeer *peer, const InstanceOrigin *origin, gboolean stays,
    Operation *op, Error **err)
{
	Instance *i = origin->source;
	if (migration_peer_is_incus(peer))
		return error_set(err, ERROR_UNSUPPORTED,
		    "Running state goes only to servers of this kind: stop the instance, or use --stateless");
	if (instance_lock(i, err) < 0)
		return -1;
	int result = send_locked(peer, origin, stays, op, err);
	if (result == 0 && !stays)
		backup_file_update(i);
	instance_unlock(i);
	if (result == 0 && !stays)
		instance_event(i, "instance-stopped", NULL, operation_caller(op));
	return result;
}

int migration_send(MigrationPeer *peer, const InstanceOrigin *origin, MigrationState state,
    Operation *op, Error **err)
{
	Error *failure = NULL;
	int result = migration_peer_open(peer, &failure) < 0 ? -1 : 0;
	if (result == 0 && migration_peer_is_incus(peer) &&
	    instance_type(origin->source) == INSTANCE_MACHINE)
		result = error_set(&failure, ERROR_UNSUPPORTED,
		    "Virtual machines go to servers of this kind only: export it and import it there");
	if (result == 0)
		result = state == MIGRATION_STATELESS ?
		    send_all(peer, origin, op, &failure) :
		    send_live(peer, origin, state == MIGRATION_LIVE_COPY, op, &failure);
	migration_peer_report(peer, failure);
	migration_peer_close(peer);
	return result < 0 ? error_propagate(err, failure) : 0;
}
