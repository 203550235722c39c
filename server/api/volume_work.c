#include "server/api/volume_work.h"
#include "server/api/migration.h"
#include "server/event/event.h"
#include "server/instance/volume_user.h"
#include "server/operation/operation.h"
#include "server/project/project.h"
#include "server/rpc/access.h"
#include "server/storage/pool_used.h"
#include <string.h>

typedef struct Work {
	CustomCopy copy;
	Pool *from_pool, *to_pool;
	char *from_project, *from_name, *project, *name, *description;
	Config *config;
	gboolean refresh;
} Work;

static void work_free(void *data)
{
	Work *work = data;
	pool_unref(work->from_pool);
	pool_unref(work->to_pool);
	g_free(work->from_project);
	g_free(work->from_name);
	g_free(work->project);
	g_free(work->name);
	g_free(work->description);
	g_clear_pointer(&work->config, g_hash_table_unref);
	g_free(work);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Work, work_free)

static CustomCopy copy_of(const Work *work, Operation *op)
{
	CustomCopy copy = work->copy;
	copy.from_pool = work->from_pool;
	copy.from_project = work->from_project;
	copy.from_name = work->from_name;
	copy.to_pool = work->to_pool;
	copy.project = work->project;
	copy.name = work->name;
	copy.description = work->description;
	copy.config = work->config;
	copy.op = op;
	return copy;
}

static char *url_of(const Pool *pool, const char *name)
{
	g_autofree char *prefix = g_strdup_printf(
	    "/1.0/storage-pools/%s/volumes/custom", pool_name(pool));
	return used_url(prefix, name, "default");
}

static void tell(
    Daemon *d, const Work *work, const char *action, const char *old_name, const Caller *caller)
{
	g_autofree char *url = url_of(work->to_pool, work->name);
	g_autofree char *context = old_name ? g_strdup_printf("{\"old_name\":\"%s\"}", old_name) :
					      NULL;
	event_lifecycle(d->events, work->project, action, url, context, caller);
}

/* Takes `work`. */
static int start(Request *rq, const char *description, Work *work,
    int (*run)(Operation *, void *, Error **), Pb__Operation *out, Error **err)
{
	g_autofree char *url = url_of(work->to_pool, work->name);
	const char *resources[] = { "storage_volumes", url, NULL };
	OperationSpec spec = { .op_class = OPERATION_TASK,
		.description = description,
		.run = run,
		.data = work,
		.destroy = work_free,
		.resources = resources };
	return operation_create(rq->daemon, rq, &spec, NULL, out, err);
}

/* ---- copy ---- */

static int run_copy(Operation *op, void *data, Error **err)
{
	Work *work = data;
	CustomCopy copy = copy_of(work, op);
	if ((work->refresh ? custom_refresh(&copy, err) : custom_copy(&copy, err)) < 0)
		return -1;
	tell(operation_daemon(op), work,
	    work->refresh ? "storage-volume-updated" : "storage-volume-created", NULL,
	    operation_caller(op));
	return 0;
}

/* What may be read in one project may not be so in another. */
static int find_source(Request *rq, const Pb__StorageVolumeSource *source, Work *work, Error **err)
{
	const char *project = *source->project ? source->project : rq->project;
	if (!*source->name)
		return error_set(err, ERROR_INVALID, "No source volume was given");
	if (access_check_object(rq, "storage_volume", "can_view", project, err) < 0 ||
	    pool_get(rq->daemon, *source->pool ? source->pool : pool_name(work->to_pool),
		&work->from_pool, err) < 0 ||
	    project_effective(
		rq->daemon, project, PROJECT_STORAGE_VOLUMES, &work->from_project, err) < 0)
		return -1;
	work->from_name = g_strdup(source->name);
	const char *slash = strchr(source->name, '/');
	g_autofree char *name = slash ? g_strndup(source->name, (gsize)(slash - source->name)) :
					g_strdup(source->name);
	g_autoptr(Volume) volume = volume_new(
	    work->from_pool, VOLUME_CUSTOM, work->from_project, name);
	return volume_row_find(work->from_pool, volume, NULL, NULL, err);
}

int volume_copy_start(
    Request *rq, Pool *pool, const Pb__StorageVolumesPost *post, Pb__Operation *out, Error **err)
{
	g_autoptr(Work) work = g_new0(Work, 1);
	const Pb__StorageVolumeSource *source = post->source;
	if (strcmp(source->type, "migration") == 0)
		return volume_migration_receive(rq, pool, post, out, err);
	if (strcmp(source->type, "copy") != 0)
		return error_set(
		    err, ERROR_INVALID, "Unknown source type \"%s\"", source->type);
	work->to_pool = pool_ref(pool);
	if (find_source(rq, source, work, err) < 0 ||
	    project_effective(
		rq->daemon, rq->project, PROJECT_STORAGE_VOLUMES, &work->project, err) < 0)
		return -1;
	work->name = g_strdup(post->name);
	work->description = g_strdup(post->description);
	work->config = post->n_config ? config_from_map(post->n_config, post->config) : NULL;
	work->copy.volume_only = source->volume_only;
	g_autoptr(Volume) volume = volume_new(pool, VOLUME_CUSTOM, work->project, work->name);
	gboolean taken = volume_row_find(pool, volume, NULL, NULL, NULL) == 0;
	work->refresh = source->refresh && taken;
	if (taken && !source->refresh)
		return error_set(err, ERROR_EXISTS, "Volume by that name already exists");
	return start(rq, "Copying storage volume", g_steal_pointer(&work), run_copy, out, err);
}

/* ---- move ---- */

static int run_move(Operation *op, void *data, Error **err)
{
	Work *work = data;
	CustomCopy move = copy_of(work, op);
	if (volume_move_used(&move, err) < 0)
		return -1;
	tell(operation_daemon(op), work, "storage-volume-renamed", work->from_name,
	    operation_caller(op));
	return 0;
}

static int find_target(Request *rq, const Pb__StorageVolumePost *post, Work *work, Error **err)
{
	const char *project = *post->project ? post->project : rq->project;
	if (strcmp(project, rq->project) != 0 &&
	    access_check_object(rq, "project", "can_create_storage_volumes", project, err) < 0)
		return -1;
	if (pool_get(rq->daemon, *post->pool ? post->pool : pool_name(work->from_pool),
		&work->to_pool, err) < 0)
		return -1;
	return project_effective(rq->daemon, project, PROJECT_STORAGE_VOLUMES, &work->project, err);
}

int volume_move_start(Request *rq, Pool *pool, const Volume *volume,
    const Pb__StorageVolumePost *post, Pb__Operation *out, Error **err)
{
	g_autoptr(Work) work = g_new0(Work, 1);
	if (post->migration)
		return volume_migration_start(
		    rq, pool, volume, post->volume_only, post->target, out, err);
	work->from_pool = pool_ref(pool);
	work->from_project = g_strdup(volume->project);
	work->from_name = g_strdup(volume->name);
	work->name = g_strdup(post->name);
	if (find_target(rq, post, work, err) < 0)
		return -1;
	g_autoptr(Volume) renamed = volume_new(
	    work->to_pool, VOLUME_CUSTOM, work->project, work->name);
	if (volume_row_find(work->to_pool, renamed, NULL, NULL, NULL) == 0)
		return error_set(err, ERROR_EXISTS, "Volume by that name already exists");
	if (work->to_pool != pool || strcmp(work->project, work->from_project) != 0)
		return start(
		    rq, "Moving storage volume", g_steal_pointer(&work), run_move, out, err);
	CustomCopy move = copy_of(work, NULL);
	if (volume_move_used(&move, err) < 0)
		return -1;
	tell(rq->daemon, work, "storage-volume-renamed", volume->name, rq->caller);
	return 0;
}
