/* Handlers of SnapshotService: snapshots of instances. */
#include "incus/v1/handlers.h"
#include "sdk/base/moment_message.h"
#include "server/api/migration.h"
#include "server/daemon.h"
#include "server/instance/flow.h"
#include "server/instance/snapshot.h"
#include "server/operation/operation.h"
#include "server/project/project.h"
#include <string.h>

/* Years before 1970 are how "never" is written. */
/* ---- reading ---- */

int api_get_instance_snapshots(Request *rq, const Pb__GetInstanceSnapshotsRequest *in,
    Pb__GetInstanceSnapshotsResponse *out, Error **err)
{
	g_autoptr(Instance) instance = NULL;
	g_autoptr(GPtrArray) list = NULL;
	g_autoptr(ProfileSet) profiles = NULL;
	if (instance_get(rq->daemon, rq->project, in->instance, &instance, err) < 0 ||
	    profile_set_load(rq->daemon, &profiles, err) < 0 ||
	    instance_snapshot_list(instance, &list, err) < 0)
		return -1;
	out->items = arena_alloc(rq->arena, (list->len + 1) * sizeof(*out->items));
	for (guint n = 0; n < list->len; n++) {
		Pb__InstanceSnapshot *item = arena_message(
		    rq->arena, Pb__InstanceSnapshot, pb__instance_snapshot);
		instance_snapshot_render(instance, profiles, list->pdata[n], rq->arena, item);
		out->items[out->n_items++] = item;
	}
	return 0;
}

static int find(Request *rq, const char *instance_name, const char *name, Instance **ret_instance,
    InstanceSnapshot **ret_snapshot, Error **err)
{
	g_autoptr(Instance) instance = NULL;
	if (instance_get(rq->daemon, rq->project, instance_name, &instance, err) < 0 ||
	    instance_snapshot_find(instance, name, ret_snapshot, err) < 0)
		return -1;
	*ret_instance = g_steal_pointer(&instance);
	return 0;
}

static int render(Request *rq, Instance *instance, const InstanceSnapshot *snapshot,
    Pb__InstanceSnapshot *out, Error **err)
{
	g_autoptr(ProfileSet) profiles = NULL;
	if (profile_set_load(rq->daemon, &profiles, err) < 0)
		return -1;
	instance_snapshot_render(instance, profiles, snapshot, rq->arena, out);
	return 0;
}

int api_get_instance_snapshot(
    Request *rq, const Pb__GetInstanceSnapshotRequest *in, Pb__InstanceSnapshot *out, Error **err)
{
	g_autoptr(Instance) instance = NULL;
	g_autoptr(InstanceSnapshot) snapshot = NULL;
	if (find(rq, in->instance, in->name, &instance, &snapshot, err) < 0 ||
	    render(rq, instance, snapshot, out, err) < 0)
		return -1;
	out->size = instance_snapshot_size(instance, in->name);
	return 0;
}

/* ---- work in the background ---- */

typedef struct Work {
	Instance *instance;
	char *name, *new_name;
	gboolean expires_given, stateful;
	Moment expires;
} Work;

static void work_free(void *data)
{
	Work *work = data;
	g_clear_pointer(&work->instance, instance_unref);
	g_free(work->name);
	g_free(work->new_name);
	g_free(work);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Work, work_free)

/* Takes `work`. */
static int start(Request *rq, const char *description, Work *work,
    int (*run)(Operation *, void *, Error **), Pb__Operation *out, Error **err)
{
	g_autofree char *instance = g_strdup_printf(
	    "/1.0/instances/%s", instance_name(work->instance));
	g_autofree char *snapshot = g_strdup_printf("%s/snapshots/%s", instance, work->name);
	const char *resources[] = { "instances", instance, "containers", instance,
		"instances_snapshots", snapshot, NULL };
	OperationSpec spec = { .op_class = OPERATION_TASK,
		.description = description,
		.run = run,
		.data = work,
		.destroy = work_free,
		.resources = resources };
	return operation_create(rq->daemon, rq, &spec, NULL, out, err);
}

static Work *work_on(Request *rq, const char *instance, const char *name, Error **err)
{
	g_autoptr(Work) work = g_new0(Work, 1);
	g_autoptr(InstanceSnapshot) snapshot = NULL;
	if (find(rq, instance, name, &work->instance, &snapshot, err) < 0)
		return NULL;
	work->name = g_strdup(name);
	return g_steal_pointer(&work);
}

static int run_create(Operation *op, void *data, Error **err)
{
	Work *work = data;
	InstanceSnapshotSpec spec = {
		.name = work->name,
		.expires_given = work->expires_given,
		.expires = work->expires,
		.stateful = work->stateful
	};
	return instance_snapshot_create(work->instance, &spec, operation_caller(op), err);
}

/* REST: null is as if it were not there. */
static gboolean expiry_given(const Request *rq, const Pb__CreateInstanceSnapshotRequest *in)
{
	return in->snapshot->expires_at ||
	    (!rq->rest && mask_has(in->update_mask, in->n_update_mask, "expires_at"));
}

int api_create_instance_snapshot(
    Request *rq, const Pb__CreateInstanceSnapshotRequest *in, Pb__Operation *out, Error **err)
{
	g_autoptr(Work) work = g_new0(Work, 1);
	g_autoptr(InstanceSnapshot) taken = NULL;
	if (!in->snapshot)
		return error_set(err, ERROR_INVALID, "No snapshot was described");
	if (instance_get(rq->daemon, rq->project, in->instance, &work->instance, err) < 0 ||
	    project_allow_snapshot(rq->daemon, rq->project, err) < 0)
		return -1;
	if (strchr(in->snapshot->name, '/'))
		return error_set(err, ERROR_INVALID, "Snapshot names may not contain slashes");
	work->name = g_strdup(in->snapshot->name);
	if (!*work->name) {
		g_clear_pointer(&work->name, g_free);
		if (instance_snapshot_next_name(work->instance, &work->name, err) < 0)
			return -1;
	}
	if (instance_snapshot_find(work->instance, work->name, &taken, NULL) == 0)
		return error_set(err, ERROR_EXISTS, "Snapshot \"%s\" already in use", work->name);
	work->stateful = in->snapshot->stateful;
	work->expires_given = expiry_given(rq, in);
	work->expires = moment_from_message(in->snapshot->expires_at);
	return start(rq, "Snapshotting instance", g_steal_pointer(&work), run_create, out, err);
}

static int run_expiry(Operation *op, void *data, Error **err)
{
	Work *work = data;
	return instance_snapshot_set_expiry(
	    work->instance, work->name, &work->expires, operation_caller(op), err);
}

static int change_expiry(Request *rq, const char *instance, const char *name,
    const Pb__InstanceSnapshotPut *put, Pb__Operation *out, Error **err)
{
	g_autoptr(Work) work = work_on(rq, instance, name, err);
	if (!work)
		return -1;
	if (rq->if_match) {
		g_autoptr(InstanceSnapshot) snapshot = NULL;
		Pb__InstanceSnapshot *now = arena_message(
		    rq->arena, Pb__InstanceSnapshot, pb__instance_snapshot);
		if (instance_snapshot_find(work->instance, name, &snapshot, err) < 0 ||
		    render(rq, work->instance, snapshot, now, err) < 0 ||
		    request_check_etag(rq, now, err) < 0)
			return -1;
	}
	work->expires = moment_from_message(put ? put->expires_at : NULL);
	return start(rq, "Updating snapshot", g_steal_pointer(&work), run_expiry, out, err);
}

int api_update_instance_snapshot(
    Request *rq, const Pb__UpdateInstanceSnapshotRequest *in, Pb__Operation *out, Error **err)
{
	return change_expiry(rq, in->instance, in->name, in->snapshot, out, err);
}

int api_patch_instance_snapshot(
    Request *rq, const Pb__PatchInstanceSnapshotRequest *in, Pb__Operation *out, Error **err)
{
	return change_expiry(rq, in->instance, in->name, in->snapshot, out, err);
}

static int run_rename(Operation *op, void *data, Error **err)
{
	Work *work = data;
	return instance_snapshot_rename(
	    work->instance, work->name, work->new_name, operation_caller(op), err);
}

int api_rename_instance_snapshot(
    Request *rq, const Pb__RenameInstanceSnapshotRequest *in, Pb__Operation *out, Error **err)
{
	g_autoptr(Work) work = work_on(rq, in->instance, in->name, err);
	g_autoptr(InstanceSnapshot) taken = NULL;
	if (!work)
		return -1;
	if (in->snapshot && in->snapshot->migration) {
		MigrationStart migration = { .instance = work->instance,
			.snapshot = in->name,
			.target = in->snapshot->target,
			.live = in->snapshot->live };
		return instance_migration_start(rq, &migration, out, err);
	}
	if (!in->snapshot || !*in->snapshot->name)
		return error_set(err, ERROR_INVALID, "No new name was given");
	if (instance_snapshot_find(work->instance, in->snapshot->name, &taken, NULL) == 0)
		return error_set(
		    err, ERROR_EXISTS, "Name \"%s\" already in use", in->snapshot->name);
	work->new_name = g_strdup(in->snapshot->name);
	return start(rq, "Renaming snapshot", g_steal_pointer(&work), run_rename, out, err);
}

static int run_delete(Operation *op, void *data, Error **err)
{
	Work *work = data;
	return instance_snapshot_delete(work->instance, work->name, operation_caller(op), err);
}

int api_delete_instance_snapshot(
    Request *rq, const Pb__DeleteInstanceSnapshotRequest *in, Pb__Operation *out, Error **err)
{
	g_autoptr(Work) work = work_on(rq, in->instance, in->name, err);
	return work ? start(rq, "Deleting snapshot", g_steal_pointer(&work), run_delete, out, err) :
		      -1;
}
