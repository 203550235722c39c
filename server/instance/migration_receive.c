#include "server/instance/migration.h"
#include "sdk/base/names.h"
#include "server/instance/backup_index.h"
#include "server/instance/live_target.h"
#include "server/instance/migration_target.h"
#include "server/instance/private.h"
#include "server/instance/snapshot_row.h"
#include "server/key/key.h"
#include "server/storage/volume_stream.h"
#include "server/operation/schedule.h"
#include "server/db/db.h"
#include <inttypes.h>

/* What a stranger says a snapshot is, as a row could be. */
static int check_snapshot(const MigrationTarget *t, const InstanceSnapshot *s, Error **err)
{
	GHashTableIter iter;
	void *name;
	if (key_check_instance(t->type, s->config, FALSE, err) < 0)
		return -1;
	g_hash_table_iter_init(&iter, s->devices);
	while (g_hash_table_iter_next(&iter, &name, NULL))
		if (name_check_device(name, err) < 0)
			return error_prefix(err, "Snapshot \"%s\"", s->name);
	return 0;
}

static int check_live(MigrationTarget *t, const Pb__MigrationLive *live, Error **err)
{
	gboolean machine = strcmp(t->type, instance_type_name(INSTANCE_MACHINE)) == 0;
	InstanceType type = machine ? INSTANCE_MACHINE : INSTANCE_CONTAINER;
	Daemon *d = operation_daemon(t->op);
	if (live_target_check(d, type, live, err) < 0)
		return -1;
	t->live_carries = live_target_carries(d, type, live);
	t->live_ahead = live_target_ahead(type, live);
	return 0;
}

static MigrationTarget target_new(
    MigrationPeer *peer, const MigrationWish *wish, InstanceType type, Operation *op)
{
	MigrationTarget t = migration_target_new(peer, instance_type_name(type), op);
	t.alone = wish->instance_only;
	t.check = check_snapshot;
	t.check_live = wish->live ? check_live : NULL;
	t.content = type == INSTANCE_MACHINE ? CONTENT_BLOCK : CONTENT_FILESYSTEM;
	return t;
}

/* A disk may have as much as it says that it has, where nobody says less. */
static int disk_limit(const MigrationTarget *t, uint64_t *limit, Error **err)
{
	if (t->content == CONTENT_FILESYSTEM)
		return 0;
	if (migration_peer_is_incus(t->peer))
		return error_set(err, ERROR_UNSUPPORTED,
		    "Virtual machines come from servers of this kind only: import a backup of it");
	if (t->size == 0 || t->size > INT64_MAX)
		return error_set(err, ERROR_INVALID, "The other server sends a disk without size");
	if (*limit && t->size > *limit)
		return error_set(err, ERROR_INVALID,
		    "The disk of the other server has %" PRIu64
		    " bytes, and the root device only %" PRIu64,
		    t->size, *limit);
	*limit = t->size;
	return 0;
}

static int root_limit(const MigrationTarget *t, Instance *i, uint64_t *ret_limit, Error **err)
{
	g_autoptr(GHashTable) devices = instance_expanded_devices(i);
	return device_root_size(devices, ret_limit, err) < 0 ? -1 : disk_limit(t, ret_limit, err);
}

static int arrive(Instance *i, Pool *pool, void *data, Operation *op, Error **err)
{
	MigrationTarget *t = data;
	uint64_t limit;
	g_autoptr(VolumeArrival) arrival = NULL;
	g_autoptr(Volume) volume = copy_root_volume(i, pool);
	g_autoptr(Config) config = NULL;
	CopiedSnapshots copied = { i, pool, t->snapshots };
	VolumeRows all = { t->rows, copy_insert_snapshots, &copied };
	if ((t->live_id && live_target_fits(i, err) < 0) || root_limit(t, i, &limit, err) < 0 ||
	    migration_target_config(t, pool, &config, err) < 0 ||
	    migration_target_fill(t, pool, volume, config, limit, &arrival, err) < 0 ||
	    volume_arrival_finish(arrival, t->description ? t->description : "", &all, err) < 0)
		return -1;
	schedule_changed(i->daemon); /* snapshots may expire */
	return 0;
}

/* ---- a new instance ---- */

/* Brings the root volume up to date; its snapshots have come. */
static int arrive_again(MigrationTarget *t, Instance *i, LiveRound round, Error **err)
{
	g_autoptr(Pool) pool = NULL;
	g_autoptr(GPtrArray) none = g_ptr_array_new();
	uint64_t limit;
	if (instance_pool(i, &pool, err) < 0 || root_limit(t, i, &limit, err) < 0)
		return -1;
	g_autoptr(Volume) volume = copy_root_volume(i, pool);
	t->shown = "changes";
	switch (round) {
	case LIVE_ROUND_ASK:
		return migration_target_ask_last(t, pool, volume, err);
	case LIVE_ROUND_TAKE:
		return migration_target_take_last(t, limit, err);
	case LIVE_ROUND_WHOLE:
		break;
	}
	return migration_target_renew(t, pool, volume, none, limit, err);
}

static int receive_live(MigrationTarget *t, Daemon *d, const InstanceSpec *spec,
    Instance **ret_instance, Error **err)
{
	g_autoptr(Config) config = live_target_config(spec->config, t->live_id);
	InstanceSpec with = *spec;
	LiveArrival arrival = { t, arrive_again, t->live_id, t->live_stays };
	with.config = config;
	with.same = !t->live_stays;
	if (instance_create(d, &with, t->op, ret_instance, err) < 0)
		return -1;
	Instance *i = *ret_instance;
	if (instance_lock(i, err) < 0)
		return -1;
	int result = live_target_receive(&arrival, i, err);
	if (result == 0)
		backup_file_update(i);
	instance_unlock(i);
	if (result == 0)
		instance_event(i, "instance-started", NULL, spec->caller);
	return result;
}

static void discard(Instance *i)
{
	g_autoptr(Error) error = NULL;
	if (instance_discard(i, &error) < 0)
		log_error("An instance that did not arrive stays", "instance", instance_name(i),
		    "err", error->message);
}

int migration_receive(MigrationPeer *peer, Daemon *d, const InstanceSpec *spec,
    const MigrationWish *wish, Operation *op, Error **err)
{
	MigrationTarget t = target_new(peer, wish, spec->type, op);
	InstanceSpec with = *spec;
	Error *failure = NULL;
	g_autoptr(Instance) i = NULL;
	g_autofree char *id = NULL;
	with.arrive = arrive;
	with.arrival = &t;
	int result = migration_peer_open(peer, &failure) < 0 ||
		migration_target_offer(&t, &failure) < 0 ?
	    -1 :
	    0;
	if (result == 0) {
		id = g_strdup(t.live_id);
		result = id ? receive_live(&t, d, &with, &i, &failure) :
			      instance_create(d, &with, op, NULL, &failure);
	}
	result = migration_target_end(&t, result, failure, err);
	if (result < 0 && i) /* told first: the source need not wait for this */
		discard(i);
	else if (result == 0 && id && t.heard)
		live_record_remove(d, id);
	return result;
}

/* ---- one that is there ---- */

static int drop_stale(Instance *i, Pool *pool, const Volume *volume, const GPtrArray *there,
    const GPtrArray *gone, Error **err)
{
	for (guint n = 0; n < gone->len; n++)
		if (snapshot_delete(pool, volume, gone->pdata[n], err) < 0 ||
		    snapshot_forget(i->daemon, copy_find_named(there, gone->pdata[n])->id, err) < 0)
			return -1;
	return 0;
}

static int refresh_locked(MigrationTarget *t, Instance *i, Error **err)
{
	g_autoptr(Pool) pool = NULL;
	g_autoptr(GPtrArray) there = NULL;
	uint64_t limit;
	if (instance_running(i))
		return error_set(err, ERROR_INVALID, "Cannot refresh a running instance");
	if (instance_pool(i, &pool, err) < 0 || instance_snapshot_list(i, &there, err) < 0 ||
	    root_limit(t, i, &limit, err) < 0)
		return -1;
	g_autoptr(Volume) volume = copy_root_volume(i, pool);
	g_autoptr(GPtrArray) gone = t->alone ? g_ptr_array_new() :
							     copy_stale(there, t->snapshots);
	g_autoptr(GPtrArray) fresh = copy_missing(there, t->snapshots);
	g_autoptr(GArray) unshifted = g_array_new(FALSE, TRUE, sizeof(IdRange));
	if (owners_become(i, pool, unshifted, err) < 0 ||
	    drop_stale(i, pool, volume, there, gone, err) < 0 ||
	    migration_target_renew(t, pool, volume, fresh, limit, err) < 0)
		return -1;
	CopiedSnapshots copied = { i, pool, fresh };
	if (db_tx(i->daemon->db, copy_insert_snapshots, &copied, err) < 0)
		return -1;
	schedule_changed(i->daemon);
	return 0;
}

int migration_refresh(
    MigrationPeer *peer, Instance *target, const MigrationWish *wish, Operation *op, Error **err)
{
	MigrationTarget t = target_new(peer, wish, instance_type(target), op);
	Error *failure = NULL;
	int result = migration_peer_open(peer, &failure) < 0 || migration_target_offer(&t, &failure) < 0 ||
		instance_lock(target, &failure) < 0 ?
	    -1 :
	    0;
	if (result == 0) {
		result = refresh_locked(&t, target, &failure);
		if (result == 0)
			backup_file_update(target);
		instance_unlock(target);
	}
	if (result == 0)
		instance_event(target, "instance-updated", NULL, operation_caller(op));
	return migration_target_end(&t, result, failure, err);
}
