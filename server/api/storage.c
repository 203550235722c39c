#include "sdk/base/filter.h"
#include "sdk/base/names.h"
#include "server/daemon.h"
#include "server/api/volume_work.h"
#include "server/event/event.h"
#include "server/instance/volume_user.h"
#include "server/project/project.h"
#include "server/rpc/method.h"
#include "server/storage/custom_snapshot.h"
#include "server/storage/custom_volume.h"
#include "server/storage/image_volume.h"
#include "server/storage/pool_admin.h"
#include "server/storage/pool_used.h"
#include "incus/v1/handlers.h"
#include <string.h>

static void pool_event(Request *rq, const char *action, const char *name)
{
	g_autofree char *source = used_url("/1.0/storage-pools", name, "default");
	event_lifecycle(rq->daemon->events, "default", action, source, NULL, rq->caller);
}

int api_get_storage_pools(Request *rq, const Pb__GetStoragePoolsRequest *in,
    Pb__GetStoragePoolsResponse *out, Error **err)
{
	return pool_describe(
	    rq->daemon, NULL, rq->caller->admin, rq->arena, &out->n_items, &out->items, err);
}

int api_get_storage_pool(
    Request *rq, const Pb__GetStoragePoolRequest *in, Pb__StoragePool *out, Error **err)
{
	Pb__StoragePool **pools;
	size_t n;
	if (pool_describe(rq->daemon, in->name, rq->caller->admin, rq->arena, &n, &pools, err) < 0)
		return -1;
	*out = *pools[0];
	return 0;
}

int api_create_storage_pool(
    Request *rq, const Pb__CreateStoragePoolRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	const Pb__StoragePoolsPost *pool = in->pool;
	if (!pool || !*pool->name)
		return error_set(err, ERROR_INVALID, "No name provided");
	g_autoptr(Config) config = config_from_map(pool->n_config, pool->config);
	if (pool_create(rq->daemon, pool->name, pool->driver, pool->description, config, err) < 0)
		return -1;
	pool_event(rq, "storage-pool-created", pool->name);
	return 0;
}

static int check_pool_etag(Request *rq, const char *name, Error **err)
{
	Pb__StoragePool **pools;
	size_t n;
	if (!rq->if_match)
		return 0;
	if (pool_describe(rq->daemon, name, TRUE, rq->arena, &n, &pools, err) < 0)
		return -1;
	return request_check_etag(rq, pools[0], err);
}

int api_update_storage_pool(
    Request *rq, const Pb__UpdateStoragePoolRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	g_autoptr(Pool) pool = NULL;
	if (pool_get(rq->daemon, in->name, &pool, err) < 0 ||
	    check_pool_etag(rq, in->name, err) < 0)
		return -1;
	if (!in->pool)
		return error_set(err, ERROR_INVALID, "No storage pool given");
	g_autoptr(Config) config = config_from_map(in->pool->n_config, in->pool->config);
	if (pool_update(pool, in->pool->description, config, err) < 0)
		return -1;
	pool_event(rq, "storage-pool-updated", in->name);
	return 0;
}

/* The keys of `changes` over a copy of `old`; empty values remove. */
static Config *merge(const Config *old, size_t n, const void *changes)
{
	Config *merged = config_copy(old);
	const MapEntry *const *entries = changes;
	for (size_t i = 0; i < n; i++)
		config_set(merged, entries[i]->key, entries[i]->value);
	return merged;
}

int api_patch_storage_pool(
    Request *rq, const Pb__PatchStoragePoolRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	g_autoptr(Pool) pool = NULL;
	if (pool_get(rq->daemon, in->name, &pool, err) < 0 ||
	    check_pool_etag(rq, in->name, err) < 0)
		return -1;
	if (!in->pool)
		return error_set(err, ERROR_INVALID, "No storage pool given");
	g_autoptr(Config) old = pool_config(pool);
	g_autoptr(Config) config = merge(old, in->pool->n_config, in->pool->config);
	g_autofree char *description = pool_description(pool);
	gboolean described = mask_has(in->update_mask, in->n_update_mask, "description");
	if (pool_update(pool, described ? in->pool->description : description, config, err) < 0)
		return -1;
	pool_event(rq, "storage-pool-updated", in->name);
	return 0;
}

int api_delete_storage_pool(
    Request *rq, const Pb__DeleteStoragePoolRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	if (pool_delete(rq->daemon, in->name, err) < 0)
		return -1;
	pool_event(rq, "storage-pool-deleted", in->name);
	return 0;
}

int api_get_storage_pool_resources(Request *rq, const Pb__GetStoragePoolResourcesRequest *in,
    Pb__ResourcesStoragePool *out, Error **err)
{
	g_autoptr(Pool) pool = NULL;
	return pool_get(rq->daemon, in->name, &pool, err) < 0 ?
	    -1 :
	    pool_resources(pool, rq->arena, out, err);
}

typedef struct ListAsk {
	const char *pool, *type, *filter;
	gboolean all_projects;
} ListAsk;

static int list_volumes(
    Request *rq, const ListAsk *ask, size_t *ret_n, Pb__StorageVolume ***ret_volumes, Error **err)
{
	g_autoptr(Pool) pool = NULL;
	g_autoptr(Filter) filter = NULL;
	if (pool_get(rq->daemon, ask->pool, &pool, err) < 0 ||
	    filter_parse(ask->filter, &filter, err) < 0)
		return -1;
	VolumeQuery query = { .project = ask->all_projects ? NULL : rq->project,
		.type = ask->type,
		.snapshots = TRUE };
	size_t n, kept = 0;
	Pb__StorageVolume **volumes;
	if (volume_describe(pool, &query, rq->arena, &n, &volumes, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		/* An image's copy belongs to no project. */
		if (ask->all_projects && strcmp(volumes[i]->type, "image") != 0 &&
		    !caller_has_project(rq->caller, volumes[i]->project))
			continue;
		if (filter_match(filter, volumes[i]))
			volumes[kept++] = volumes[i];
	}
	*ret_n = kept;
	*ret_volumes = volumes;
	return 0;
}

int api_get_storage_pool_volumes(Request *rq, const Pb__GetStoragePoolVolumesRequest *in,
    Pb__GetStoragePoolVolumesResponse *out, Error **err)
{
	ListAsk ask = { .pool = in->pool, .filter = in->filter, .all_projects = in->all_projects };
	return list_volumes(rq, &ask, &out->n_items, &out->items, err);
}

int api_get_storage_pool_volumes_of_type(Request *rq,
    const Pb__GetStoragePoolVolumesOfTypeRequest *in, Pb__GetStoragePoolVolumesOfTypeResponse *out,
    Error **err)
{
	ListAsk ask = { .pool = in->pool,
		.type = in->type,
		.filter = in->filter,
		.all_projects = in->all_projects };
	return list_volumes(rq, &ask, &out->n_items, &out->items, err);
}

/* One volume; ERROR_NOT_FOUND "Storage volume not found". */
static int find_volume(Request *rq, Pool *pool, const char *type, const char *name,
    Pb__StorageVolume **ret, Error **err)
{
	VolumeQuery query = { .project = rq->project, .type = type, .name = name };
	Pb__StorageVolume **volumes;
	size_t n;
	if (volume_describe(pool, &query, rq->arena, &n, &volumes, err) < 0)
		return -1;
	if (n == 0)
		return error_set(err, ERROR_NOT_FOUND, "Storage volume not found");
	*ret = volumes[0];
	return 0;
}

int api_get_storage_pool_volume(
    Request *rq, const Pb__GetStoragePoolVolumeRequest *in, Pb__StorageVolume *out, Error **err)
{
	g_autoptr(Pool) pool = NULL;
	Pb__StorageVolume *volume;
	if (pool_get(rq->daemon, in->pool, &pool, err) < 0 ||
	    find_volume(rq, pool, in->type, in->name, &volume, err) < 0)
		return -1;
	*out = *volume;
	return 0;
}

static void volume_event_of(Request *rq, const char *action, const char *pool, VolumeType type,
    const char *project, const char *name)
{
	g_autofree char *prefix = g_strdup_printf(
	    "/1.0/storage-pools/%s/volumes/%s", pool, volume_type_name(type));
	g_autofree char *source = used_url(prefix, name, "default");
	event_lifecycle(rq->daemon->events, project, action, source, NULL, rq->caller);
}

static void volume_event(
    Request *rq, const char *action, const char *pool, const char *project, const char *name)
{
	volume_event_of(rq, action, pool, VOLUME_CUSTOM, project, name);
}

static int require_custom(const char *type, Error **err)
{
	VolumeType kind;
	if (volume_type_parse(type, &kind, err) < 0)
		return -1;
	return kind == VOLUME_CUSTOM ?
	    0 :
	    error_set(err, ERROR_INVALID,
		"Storage volumes of type \"%s\" are managed with what they belong to", type);
}

static int create_volume(Request *rq, const char *pool_name, const char *type,
    const Pb__StorageVolumesPost *volume, Pb__Operation *out, Error **err)
{
	g_autoptr(Pool) pool = NULL;
	g_autofree char *project = NULL;
	if (!volume || !*volume->name)
		return error_set(err, ERROR_INVALID, "No name provided");
	if (strchr(volume->name, '/'))
		return error_set(
		    err, ERROR_INVALID, "Storage volume names may not contain slashes");
	if (require_custom(*type ? type : "custom", err) < 0 ||
	    pool_get(rq->daemon, pool_name, &pool, err) < 0)
		return -1;
	if (volume->source && *volume->source->type && strcmp(volume->source->type, "none") != 0)
		return volume_copy_start(rq, pool, volume, out, err);
	if (project_effective(rq->daemon, rq->project, PROJECT_STORAGE_VOLUMES, &project, err) < 0)
		return -1;
	g_autoptr(Config) config = config_from_map(volume->n_config, volume->config);
	if (custom_create(pool, project, volume->name, volume->description, volume->content_type,
		config, err) < 0)
		return -1;
	volume_event(rq, "storage-volume-created", pool_name, project, volume->name);
	return 0;
}

int api_create_storage_pool_volume(
    Request *rq, const Pb__CreateStoragePoolVolumeRequest *in, Pb__Operation *out, Error **err)
{
	return create_volume(
	    rq, in->pool, in->volume ? in->volume->type : "", in->volume, out, err);
}

int api_create_storage_pool_volume_of_type(Request *rq,
    const Pb__CreateStoragePoolVolumeOfTypeRequest *in, Pb__Operation *out, Error **err)
{
	return create_volume(rq, in->pool, in->type, in->volume, out, err);
}

/* The pool and the volume as it is. */
typedef struct Target {
	Pool *pool;
	Volume *volume;
	Pb__StorageVolume *message;
} Target;

static void target_clear(Target *target)
{
	pool_unref(target->pool);
	volume_free(target->volume);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Target, target_clear)

static int find_target(
    Request *rq, const char *pool, const char *type, const char *name, Target *ret, Error **err)
{
	VolumeType kind;
	if (volume_type_parse(type, &kind, err) < 0 ||
	    pool_get(rq->daemon, pool, &ret->pool, err) < 0 ||
	    find_volume(rq, ret->pool, type, name, &ret->message, err) < 0)
		return -1;
	ret->volume = volume_new(ret->pool, kind, ret->message->project, name);
	return 0;
}

static int update_volume(
    Request *rq, Target *target, const char *description, const Config *config, Error **err)
{
	if (volume_update(target->pool, target->volume, description, config, err) < 0)
		return -1;
	volume_root_changed(rq->daemon, target->volume);
	volume_event_of(rq, "storage-volume-updated", pool_name(target->pool), target->volume->type,
	    target->volume->project, target->volume->name);
	return 0;
}

static int restore_volume(Request *rq, Target *target, const char *snapshot, Error **err)
{
	const Volume *volume = target->volume;
	const char *pool = pool_name(target->pool);
	if (require_custom(volume_type_name(volume->type), err) < 0 ||
	    volume_users_check(rq->daemon, pool, volume->project, volume->name,
		"Cannot restore custom volume used by running instances", err) < 0 ||
	    custom_snapshot_restore(target->pool, volume->project, volume->name, snapshot, err) < 0)
		return -1;
	volume_event(rq, "storage-volume-restored", pool, volume->project, volume->name);
	return 0;
}

int api_update_storage_pool_volume(Request *rq, const Pb__UpdateStoragePoolVolumeRequest *in,
    Google__Protobuf__Empty *out, Error **err)
{
	g_auto(Target) target = { 0 };
	if (find_target(rq, in->pool, in->type, in->name, &target, err) < 0 ||
	    request_check_etag(rq, target.message, err) < 0)
		return -1;
	if (!in->volume)
		return error_set(err, ERROR_INVALID, "No storage volume given");
	if (*in->volume->restore)
		return restore_volume(rq, &target, in->volume->restore, err);
	g_autoptr(Config) config = config_from_map(in->volume->n_config, in->volume->config);
	return update_volume(rq, &target, in->volume->description, config, err);
}

int api_patch_storage_pool_volume(Request *rq, const Pb__PatchStoragePoolVolumeRequest *in,
    Google__Protobuf__Empty *out, Error **err)
{
	g_auto(Target) target = { 0 };
	if (find_target(rq, in->pool, in->type, in->name, &target, err) < 0 ||
	    request_check_etag(rq, target.message, err) < 0)
		return -1;
	if (!in->volume)
		return error_set(err, ERROR_INVALID, "No storage volume given");
	g_autoptr(Config) old = config_from_map(target.message->n_config, target.message->config);
	g_autoptr(Config) config = merge(old, in->volume->n_config, in->volume->config);
	gboolean described = mask_has(in->update_mask, in->n_update_mask, "description");
	return update_volume(rq, &target,
	    described ? in->volume->description : target.message->description, config, err);
}

int api_rename_storage_pool_volume(
    Request *rq, const Pb__RenameStoragePoolVolumeRequest *in, Pb__Operation *out, Error **err)
{
	g_auto(Target) target = { 0 };
	if (find_target(rq, in->pool, in->type, in->name, &target, err) < 0 ||
	    require_custom(in->type, err) < 0)
		return -1;
	if (!in->volume || !*in->volume->name)
		return error_set(err, ERROR_INVALID, "No name provided");
	if (strchr(in->volume->name, '/'))
		return error_set(
		    err, ERROR_INVALID, "Storage volume names may not contain slashes");
	return volume_move_start(rq, target.pool, target.volume, in->volume, out, err);
}

int api_delete_storage_pool_volume(Request *rq, const Pb__DeleteStoragePoolVolumeRequest *in,
    Google__Protobuf__Empty *out, Error **err)
{
	g_autoptr(Pool) pool = NULL;
	g_autofree char *project = NULL;
	if (pool_get(rq->daemon, in->pool, &pool, err) < 0)
		return -1;
	if (strcmp(in->type, "image") == 0) {
		Pb__StorageVolume *volume;
		return find_volume(rq, pool, in->type, in->name, &volume, err) < 0 ?
		    -1 :
		    image_volume_delete(pool, in->name, err);
	}
	if (require_custom(in->type, err) < 0 ||
	    project_effective(rq->daemon, rq->project, PROJECT_STORAGE_VOLUMES, &project, err) <
		0 ||
	    custom_delete(pool, project, in->name, err) < 0)
		return -1;
	volume_event(rq, "storage-volume-deleted", in->pool, project, in->name);
	return 0;
}

int api_get_storage_pool_volume_state(Request *rq, const Pb__GetStoragePoolVolumeStateRequest *in,
    Pb__StorageVolumeState *out, Error **err)
{
	g_autoptr(Pool) pool = NULL;
	Pb__StorageVolume *described;
	VolumeType type;
	if (volume_type_parse(in->type, &type, err) < 0 ||
	    pool_get(rq->daemon, in->pool, &pool, err) < 0 ||
	    find_volume(rq, pool, in->type, in->name, &described, err) < 0)
		return -1;
	g_autoptr(Volume) volume = volume_new(pool, type, described->project, described->name);
	int64_t used, total;
	if (volume_usage(pool, volume, &used, &total, err) < 0)
		return -1;
	if (used < 0)
		return 0;
	out->usage = arena_message(
	    rq->arena, Pb__StorageVolumeStateUsage, pb__storage_volume_state_usage);
	out->usage->used = (uint64_t)used;
	out->usage->total = MAX(total, 0);
	return 0;
}
