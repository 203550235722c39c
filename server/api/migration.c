#include "server/api/migration.h"
#include "server/daemon.h"
#include "server/event/event.h"
#include "server/instance/live.h"
#include "server/instance/migration_volume.h"
#include "server/project/project.h"
#include "server/storage/pool_used.h"
#include <string.h>

typedef struct Outgoing {
	MigrationPeer *peer;
	InstanceOrigin origin;
	MigrationState state;
	char *snapshot;
} Outgoing;

static void outgoing_free(void *data)
{
	Outgoing *outgoing = data;
	migration_peer_free(outgoing->peer);
	g_clear_pointer(&outgoing->origin.source, instance_unref);
	g_free(outgoing->snapshot);
	g_free(outgoing);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Outgoing, outgoing_free)

static int run(Operation *op, void *data, Error **err)
{
	Outgoing *outgoing = data;
	return migration_send(outgoing->peer, &outgoing->origin, outgoing->state, op, err);
}

static void cancel(Operation *op, void *data)
{
	migration_peer_cancel(((Outgoing *)data)->peer);
}

static int connect_peer(Operation *op, void *data, const char *secret, Stream *stream, Error **err)
{
	return migration_peer_accept(((Outgoing *)data)->peer, secret, stream, err);
}

static int find_peer(const Pb__MigrationTarget *target, MigrationPeer **ret_peer, Error **err)
{
	if (!target) {
		*ret_peer = migration_peer_waiting();
		return 0;
	}
	g_autoptr(Config) secrets = config_from_map(target->n_secrets, target->secrets);
	return migration_peer_to(target->operation, target->certificate, secrets, ret_peer, err);
}

int instance_migration_start(
    Request *rq, const MigrationStart *start, Pb__Operation *out, Error **err)
{
	g_autoptr(Outgoing) outgoing = g_new0(Outgoing, 1);
	g_autofree char *secrets = NULL;
	gboolean live = start->live && !start->snapshot && instance_running(start->instance);
	if (live && live_source_check(start->instance, start->stays, err) < 0)
		return -1;
	outgoing->state = !live ? MIGRATION_STATELESS :
	    start->stays	? MIGRATION_LIVE_COPY :
				  MIGRATION_LIVE_MOVE;
	if (find_peer(start->target, &outgoing->peer, err) < 0)
		return -1;
	outgoing->snapshot = g_strdup(start->snapshot);
	outgoing->origin = (InstanceOrigin){ .source = instance_ref(start->instance),
		.snapshot = outgoing->snapshot,
		.instance_only = start->instance_only,
		.allow_inconsistent = start->allow_inconsistent };
	if (!start->target)
		secrets = migration_peer_secrets(outgoing->peer);
	g_autofree char *url = g_strdup_printf("/1.0/instances/%s", instance_name(start->instance));
	const char *resources[] = { "instances", url, "containers", url, NULL };
	OperationSpec spec = { .op_class = secrets ? OPERATION_WEBSOCKET : OPERATION_TASK,
		.description = start->snapshot ? "Transferring snapshot" : "Migrating instance",
		.run = run,
		.cancel = cancel,
		.connect = secrets ? connect_peer : NULL,
		.data = outgoing,
		.destroy = outgoing_free,
		.resources = resources,
		.metadata_json = secrets };
	g_steal_pointer(&outgoing);
	return operation_create(rq->daemon, rq, &spec, NULL, out, err);
}

/* Of a request's source: its fields. */
static int peer_of_source(const char *mode, const char *operation, const char *certificate,
    const Config *secrets, MigrationPeer **ret_peer, Error **err)
{
	if (strcmp(mode, "push") == 0) {
		*ret_peer = migration_peer_waiting();
		return 0;
	}
	if (*mode && strcmp(mode, "pull") != 0)
		return error_set(err, ERROR_INVALID, "Mode \"%s\" not implemented", mode);
	return migration_peer_to(operation, certificate, secrets, ret_peer, err);
}

int instance_migration_source(
    const Pb__InstanceSource *source, MigrationPeer **ret_peer, Error **err)
{
	g_autoptr(Config) secrets = config_from_map(source->n_secrets, source->secrets);
	return peer_of_source(
	    source->mode, source->operation, source->certificate, secrets, ret_peer, err);
}

/* ---- volumes ---- */

typedef struct VolumeWork {
	MigrationPeer *peer;
	Pool *pool;
	Volume *volume; /* that goes; NULL: one comes */
	char *project, *name, *description, *content_type;
	Config *config;
	gboolean volume_only, refresh;
} VolumeWork;

static void volume_work_free(void *data)
{
	VolumeWork *work = data;
	migration_peer_free(work->peer);
	pool_unref(work->pool);
	volume_free(work->volume);
	g_free(work->project);
	g_free(work->name);
	g_free(work->description);
	g_free(work->content_type);
	g_clear_pointer(&work->config, g_hash_table_unref);
	g_free(work);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VolumeWork, volume_work_free)

static int run_volume_send(Operation *op, void *data, Error **err)
{
	VolumeWork *work = data;
	return migration_send_volume(
	    work->peer, work->pool, work->volume, work->volume_only, op, err);
}

static char *volume_url(const VolumeWork *work)
{
	g_autofree char *prefix = g_strdup_printf(
	    "/1.0/storage-pools/%s/volumes/custom", pool_name(work->pool));
	return used_url(prefix, work->name, "default");
}

static int run_volume_receive(Operation *op, void *data, Error **err)
{
	VolumeWork *work = data;
	gboolean made;
	VolumeWish wish = { .pool = work->pool,
		.project = work->project,
		.name = work->name,
		.description = work->description,
		.content_type = work->content_type,
		.config = work->config,
		.volume_only = work->volume_only,
		.refresh = work->refresh };
	if (migration_receive_volume(work->peer, &wish, op, &made, err) < 0)
		return -1;
	g_autofree char *url = volume_url(work);
	event_lifecycle(operation_daemon(op)->events, work->project,
	    made ? "storage-volume-created" : "storage-volume-updated", url, NULL,
	    operation_caller(op));
	return 0;
}

static void cancel_volume(Operation *op, void *data)
{
	migration_peer_cancel(((VolumeWork *)data)->peer);
}

static int connect_volume(
    Operation *op, void *data, const char *secret, Stream *stream, Error **err)
{
	return migration_peer_accept(((VolumeWork *)data)->peer, secret, stream, err);
}

/* Takes `work`. */
static int start_volume(Request *rq, const char *description, VolumeWork *work,
    int (*run_work)(Operation *, void *, Error **), Pb__Operation *out, Error **err)
{
	g_autofree char *secrets = migration_peer_secrets(work->peer);
	g_autofree char *url = volume_url(work);
	const char *resources[] = { "storage_volumes", url, NULL };
	OperationSpec spec = { .op_class = secrets ? OPERATION_WEBSOCKET : OPERATION_TASK,
		.description = description,
		.run = run_work,
		.cancel = cancel_volume,
		.connect = secrets ? connect_volume : NULL,
		.data = work,
		.destroy = volume_work_free,
		.resources = resources,
		.metadata_json = secrets };
	return operation_create(rq->daemon, rq, &spec, NULL, out, err);
}

int volume_migration_start(Request *rq, Pool *pool, const Volume *volume, gboolean volume_only,
    const Pb__MigrationTarget *target, Pb__Operation *out, Error **err)
{
	g_autoptr(VolumeWork) work = g_new0(VolumeWork, 1);
	if (find_peer(target, &work->peer, err) < 0)
		return -1;
	work->pool = pool_ref(pool);
	work->name = g_strdup(volume->name);
	g_autoptr(Volume) whole = volume_new(pool, volume->type, volume->project, volume->name);
	work->volume = volume->snapshot ? volume_snapshot(pool, whole, volume->snapshot) :
					  g_steal_pointer(&whole);
	work->volume_only = volume_only;
	return start_volume(rq, "Migrating storage volume", g_steal_pointer(&work),
	    run_volume_send, out, err);
}

int volume_migration_receive(
    Request *rq, Pool *pool, const Pb__StorageVolumesPost *post, Pb__Operation *out, Error **err)
{
	g_autoptr(VolumeWork) work = g_new0(VolumeWork, 1);
	const Pb__StorageVolumeSource *source = post->source;
	g_autoptr(Config) secrets = config_from_map(source->n_secrets, source->secrets);
	if (peer_of_source(source->mode, source->operation, source->certificate, secrets,
		&work->peer, err) < 0 ||
	    project_effective(
		rq->daemon, rq->project, PROJECT_STORAGE_VOLUMES, &work->project, err) < 0)
		return -1;
	work->pool = pool_ref(pool);
	work->name = g_strdup(post->name);
	work->description = g_strdup(post->description);
	work->content_type = g_strdup(post->content_type);
	work->config = config_from_map(post->n_config, post->config);
	work->volume_only = source->volume_only;
	work->refresh = source->refresh;
	g_autoptr(Volume) volume = volume_new(pool, VOLUME_CUSTOM, work->project, work->name);
	if (!work->refresh && volume_row_find(pool, volume, NULL, NULL, NULL) == 0)
		return error_set(err, ERROR_EXISTS, "Volume by that name already exists");
	return start_volume(rq, "Creating storage volume", g_steal_pointer(&work),
	    run_volume_receive, out, err);
}
