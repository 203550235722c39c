/* Handlers of VolumeSnapshotService: snapshots of storage volumes. */
#include "server/api/migration.h"
#include "incus/v1/handlers.h"
#include "sdk/base/moment_message.h"
#include "server/daemon.h"
#include "server/event/event.h"
#include "server/operation/operation.h"
#include "server/project/project.h"
#include "server/storage/custom_snapshot.h"
#include "server/storage/volume_block.h"
#include <string.h>

/* The volume that a request names. */
typedef struct Target {
	Pool *pool;
	Volume *volume;
} Target;

static void target_clear(Target *target)
{
	pool_unref(target->pool);
	volume_free(target->volume);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Target, target_clear)

static int find_volume(
    Request *rq, const char *pool, const char *type, const char *name, Target *ret, Error **err)
{
	g_autofree char *project = g_strdup(rq->project);
	VolumeType kind;
	if (volume_type_parse(type, &kind, err) < 0 ||
	    pool_get(rq->daemon, pool, &ret->pool, err) < 0)
		return -1;
	if (kind == VOLUME_CUSTOM) {
		g_clear_pointer(&project, g_free);
		if (project_effective(
			rq->daemon, rq->project, PROJECT_STORAGE_VOLUMES, &project, err) < 0)
			return -1;
	}
	ret->volume = volume_new(ret->pool, kind, project, name);
	return volume_load(ret->pool, ret->volume, NULL, NULL, err);
}

/* Snapshots of instances' volumes come and go with their instance. */
static int find_custom(
    Request *rq, const char *pool, const char *type, const char *name, Target *ret, Error **err)
{
	if (find_volume(rq, pool, type, name, ret, err) < 0)
		return -1;
	return ret->volume->type == VOLUME_CUSTOM ?
	    0 :
	    error_set(err, ERROR_INVALID, "Invalid storage volume type \"%s\"", type);
}

/* ---- reading ---- */

static void render(
    const Target *target, const SnapshotRow *row, Arena *arena, Pb__StorageVolumeSnapshot *out)
{
	out->name = arena_strdup(arena, row->name);
	out->description = arena_strdup(arena, row->description);
	out->content_type = (char *)volume_content_name(target->volume->content);
	out->created_at = seconds_to_message(row->created, arena);
	out->expires_at = moment_to_message(&row->expires, arena);
	config_to_map(row->config, arena, &pb__storage_volume_snapshot__config_entry__descriptor,
	    &out->n_config, &out->config);
}

int api_get_storage_pool_volume_snapshots(Request *rq,
    const Pb__GetStoragePoolVolumeSnapshotsRequest *in,
    Pb__GetStoragePoolVolumeSnapshotsResponse *out, Error **err)
{
	g_auto(Target) target = { 0 };
	g_autoptr(GPtrArray) rows = NULL;
	if (find_volume(rq, in->pool, in->type, in->volume, &target, err) < 0 ||
	    snapshot_row_list(target.pool, target.volume, &rows, err) < 0)
		return -1;
	out->items = arena_alloc(rq->arena, (rows->len + 1) * sizeof(*out->items));
	for (guint n = 0; n < rows->len; n++) {
		Pb__StorageVolumeSnapshot *item = arena_message(
		    rq->arena, Pb__StorageVolumeSnapshot, pb__storage_volume_snapshot);
		render(&target, rows->pdata[n], rq->arena, item);
		out->items[out->n_items++] = item;
	}
	return 0;
}

int api_get_storage_pool_volume_snapshot(Request *rq,
    const Pb__GetStoragePoolVolumeSnapshotRequest *in, Pb__StorageVolumeSnapshot *out, Error **err)
{
	g_auto(Target) target = { 0 };
	g_autoptr(SnapshotRow) row = NULL;
	if (find_volume(rq, in->pool, in->type, in->volume, &target, err) < 0 ||
	    snapshot_row_find(target.pool, target.volume, in->name, &row, err) < 0)
		return -1;
	render(&target, row, rq->arena, out);
	return 0;
}

/* ---- work in the background ---- */

typedef struct Work {
	Target target;
	char *name, *new_name;
	gboolean expires_given;
	Moment expires;
} Work;

static void work_free(void *data)
{
	Work *work = data;
	target_clear(&work->target);
	g_free(work->name);
	g_free(work->new_name);
	g_free(work);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Work, work_free)

static char *url_of(const Target *target, const char *snapshot)
{
	g_autofree char *volume = g_uri_escape_string(target->volume->name, NULL, FALSE);
	g_autofree char *base = g_strdup_printf(
	    "/1.0/storage-pools/%s/volumes/custom/%s", pool_name(target->pool), volume);
	return snapshot ? g_strdup_printf("%s/snapshots/%s", base, snapshot) :
			  g_steal_pointer(&base);
}

static void tell(Daemon *d, const Target *target, const char *action, const char *name,
    const char *old_name, const Caller *caller)
{
	g_autofree char *url = url_of(target, name);
	g_autofree char *context = old_name ? g_strdup_printf("{\"old_name\":\"%s\"}", old_name) :
					      NULL;
	event_lifecycle(d->events, target->volume->project, action, url, context, caller);
}

/* Takes `work`. */
static int start(Request *rq, const char *description, Work *work,
    int (*run)(Operation *, void *, Error **), Pb__Operation *out, Error **err)
{
	g_autofree char *volume = url_of(&work->target, NULL);
	g_autofree char *snapshot = url_of(&work->target, work->name);
	const char *resources[] = { "storage_volumes", volume, "storage_volume_snapshots", snapshot,
		NULL };
	OperationSpec spec = { .op_class = OPERATION_TASK,
		.description = description,
		.run = run,
		.data = work,
		.destroy = work_free,
		.resources = resources };
	return operation_create(rq->daemon, rq, &spec, NULL, out, err);
}

static int run_create(Operation *op, void *data, Error **err)
{
	Work *work = data;
	Target *target = &work->target;
	CustomSnapshotSpec spec = {
		.name = work->name, .expires_given = work->expires_given, .expires = work->expires
	};
	if (custom_snapshot_create(
		target->pool, target->volume->project, target->volume->name, &spec, NULL, err) < 0)
		return -1;
	tell(operation_daemon(op), target, "storage-volume-snapshot-created", work->name, NULL,
	    operation_caller(op));
	return 0;
}

/* Years before 1970 are how "never" is written. */
static int choose_name(Work *work, const char *wanted, Error **err)
{
	const Volume *volume = work->target.volume;
	if (strchr(wanted, '/'))
		return error_set(err, ERROR_INVALID, "Snapshot names may not contain slashes");
	if (!*wanted)
		return custom_snapshot_next_name(
		    work->target.pool, volume->project, volume->name, &work->name, err);
	work->name = g_strdup(wanted);
	if (snapshot_row_find(work->target.pool, volume, wanted, NULL, NULL) == 0)
		return error_set(err, ERROR_EXISTS, "Snapshot \"%s\" already in use", wanted);
	return 0;
}

int api_create_storage_pool_volume_snapshot(Request *rq,
    const Pb__CreateStoragePoolVolumeSnapshotRequest *in, Pb__Operation *out, Error **err)
{
	g_autoptr(Work) work = g_new0(Work, 1);
	if (!in->snapshot)
		return error_set(err, ERROR_INVALID, "No snapshot was described");
	if (find_custom(rq, in->pool, in->type, in->volume, &work->target, err) < 0 ||
	    project_allow_snapshot(rq->daemon, rq->project, err) < 0 ||
	    choose_name(work, in->snapshot->name, err) < 0)
		return -1;
	/* REST: null is as if it were not there. */
	work->expires_given = in->snapshot->expires_at ||
	    (!rq->rest && mask_has(in->update_mask, in->n_update_mask, "expires_at"));
	work->expires = moment_from_message(in->snapshot->expires_at);
	return start(
	    rq, "Creating storage volume snapshot", g_steal_pointer(&work), run_create, out, err);
}

static Work *work_on(Request *rq, const char *pool, const char *type, const char *volume,
    const char *name, Error **err)
{
	g_autoptr(Work) work = g_new0(Work, 1);
	if (find_custom(rq, pool, type, volume, &work->target, err) < 0 ||
	    snapshot_row_find(work->target.pool, work->target.volume, name, NULL, err) < 0)
		return NULL;
	work->name = g_strdup(name);
	return g_steal_pointer(&work);
}

static int run_rename(Operation *op, void *data, Error **err)
{
	Work *work = data;
	Target *target = &work->target;
	if (custom_snapshot_rename(target->pool, target->volume->project, target->volume->name,
		work->name, work->new_name, err) < 0)
		return -1;
	tell(operation_daemon(op), target, "storage-volume-snapshot-renamed", work->new_name,
	    work->name, operation_caller(op));
	return 0;
}

int api_rename_storage_pool_volume_snapshot(Request *rq,
    const Pb__RenameStoragePoolVolumeSnapshotRequest *in, Pb__Operation *out, Error **err)
{
	g_autoptr(Work) work = work_on(rq, in->pool, in->type, in->volume, in->name, err);
	if (!work)
		return -1;
	if (in->snapshot && in->snapshot->migration) {
		g_autoptr(Volume) snapshot = volume_snapshot(
		    work->target.pool, work->target.volume, in->name);
		return volume_migration_start(
		    rq, work->target.pool, snapshot, TRUE, in->snapshot->target, out, err);
	}
	if (!in->snapshot || !*in->snapshot->name)
		return error_set(err, ERROR_INVALID, "No new name was given");
	if (strchr(in->snapshot->name, '/'))
		return error_set(err, ERROR_INVALID, "Snapshot names may not contain slashes");
	if (snapshot_row_find(
		work->target.pool, work->target.volume, in->snapshot->name, NULL, NULL) == 0)
		return error_set(
		    err, ERROR_EXISTS, "Name \"%s\" already in use", in->snapshot->name);
	work->new_name = g_strdup(in->snapshot->name);
	return start(
	    rq, "Renaming storage volume snapshot", g_steal_pointer(&work), run_rename, out, err);
}

static int run_delete(Operation *op, void *data, Error **err)
{
	Work *work = data;
	Target *target = &work->target;
	if (custom_snapshot_delete(
		target->pool, target->volume->project, target->volume->name, work->name, err) < 0)
		return -1;
	tell(operation_daemon(op), target, "storage-volume-snapshot-deleted", work->name, NULL,
	    operation_caller(op));
	return 0;
}

int api_delete_storage_pool_volume_snapshot(Request *rq,
    const Pb__DeleteStoragePoolVolumeSnapshotRequest *in, Pb__Operation *out, Error **err)
{
	g_autoptr(Work) work = work_on(rq, in->pool, in->type, in->volume, in->name, err);
	return work ? start(rq, "Deleting storage volume snapshot", g_steal_pointer(&work),
			  run_delete, out, err) :
		      -1;
}

/* ---- description and expiry, at once ---- */

static int change(Request *rq, const Target *target, const SnapshotRow *row,
    const char *description, const Moment *expires, Error **err)
{
	if (target->volume->type != VOLUME_CUSTOM && !moment_equal(expires, &row->expires))
		return error_set(err, ERROR_INVALID,
		    "When a snapshot of an instance expires is set with the instance");
	if (snapshot_row_update(
		target->pool, target->volume, row->name, description, expires, err) < 0)
		return -1;
	tell(rq->daemon, target, "storage-volume-snapshot-updated", row->name, NULL, rq->caller);
	return 0;
}

static int find_snapshot(
    Request *rq, const Target *target, const char *name, SnapshotRow **ret_row, Error **err)
{
	if (snapshot_row_find(target->pool, target->volume, name, ret_row, err) < 0)
		return -1;
	Pb__StorageVolumeSnapshot *now = arena_message(
	    rq->arena, Pb__StorageVolumeSnapshot, pb__storage_volume_snapshot);
	render(target, *ret_row, rq->arena, now);
	return request_check_etag(rq, now, err);
}

int api_update_storage_pool_volume_snapshot(Request *rq,
    const Pb__UpdateStoragePoolVolumeSnapshotRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	g_auto(Target) target = { 0 };
	g_autoptr(SnapshotRow) row = NULL;
	if (find_volume(rq, in->pool, in->type, in->volume, &target, err) < 0 ||
	    find_snapshot(rq, &target, in->name, &row, err) < 0)
		return -1;
	if (!in->snapshot)
		return error_set(err, ERROR_INVALID, "No snapshot was described");
	Moment expires = moment_from_message(in->snapshot->expires_at);
	return change(rq, &target, row, in->snapshot->description, &expires, err);
}

int api_patch_storage_pool_volume_snapshot(Request *rq,
    const Pb__PatchStoragePoolVolumeSnapshotRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	g_auto(Target) target = { 0 };
	g_autoptr(SnapshotRow) row = NULL;
	if (find_volume(rq, in->pool, in->type, in->volume, &target, err) < 0 ||
	    find_snapshot(rq, &target, in->name, &row, err) < 0)
		return -1;
	if (!in->snapshot)
		return error_set(err, ERROR_INVALID, "No snapshot was described");
	gboolean described = mask_has(in->update_mask, in->n_update_mask, "description");
	Moment expires = row->expires;
	if (mask_has(in->update_mask, in->n_update_mask, "expires_at"))
		expires = moment_from_message(in->snapshot->expires_at);
	return change(rq, &target, row,
	    described ? in->snapshot->description : row->description, &expires, err);
}
