#include "server/storage/custom_volume.h"
#include "sdk/base/names.h"
#include "server/project/project.h"
#include "server/storage/pool_config.h"
#include "server/storage/pool_private.h"
#include "server/storage/volume_build.h"
#include <string.h>
#include <unistd.h>

static int check_pool(Pool *pool, Error **err)
{
	if (!pool->driver || strcmp(pool->status, "Created") != 0)
		return error_set(err, ERROR_UNAVAILABLE, "Storage pool \"%s\" is not available", pool->name);
	return 0;
}

static int check_new(Pool *pool, const Volume *volume, Error **err)
{
	Error *inner = NULL;
	if (volume_row_find(pool, volume, NULL, NULL, &inner) == 0)
		return error_set(err, ERROR_EXISTS, "Volume by that name already exists");
	if (inner->kind != ERROR_NOT_FOUND)
		return error_propagate(err, inner);
	error_free(inner);
	return 0;
}

static int check_content(Pool *pool, const char *content_type, Error **err)
{
	if (!content_type || !*content_type || strcmp(content_type, "filesystem") == 0)
		return 0;
	if (strcmp(content_type, "block") == 0 || strcmp(content_type, "iso") == 0)
		return error_set(err, ERROR_UNSUPPORTED, "Storage driver \"%s\" has no volumes of content type \"%s\" yet", pool->driver_name, content_type);
	return error_set(err, ERROR_INVALID, "Invalid content type \"%s\"", content_type);
}

int custom_create(Pool *pool, const char *project, const char *name, const char *description, const char *content_type, const Config *config, Error **err)
{
	if (check_pool(pool, err) < 0)
		return -1;
	if (name_check_volume(name, err) < 0)
		return error_prefix(err, "Invalid storage volume name");
	if (check_content(pool, content_type, err) < 0 || volume_config_check(pool->driver_name, config, err) < 0)
		return -1;
	g_autoptr(Volume) volume = volume_new(pool, VOLUME_CUSTOM, project, name);
	g_autoptr(VolumeLock) lock = volume_lock(pool->locks, volume->path, FALSE);
	if (check_new(pool, volume, err) < 0)
		return -1;
	g_autoptr(Config) effective = volume_effective_config(pool, config);
	g_autofree char *path = NULL;
	if (volume_begin(pool, volume, effective, &path, err) < 0)
		return -1;
	return volume_finish(pool, volume, description, effective, err);
}

int custom_update(Pool *pool, const char *project, const char *name, const char *description, const Config *config, Error **err)
{
	if (check_pool(pool, err) < 0 || volume_config_check(pool->driver_name, config, err) < 0)
		return -1;
	g_autoptr(Volume) volume = volume_new(pool, VOLUME_CUSTOM, project, name);
	g_autoptr(VolumeLock) lock = volume_lock(pool->locks, volume->path, FALSE);
	return volume_row_update(pool, volume, description, config, err);
}

static int check_unused(Pool *pool, const char *project, const char *name, Error **err)
{
	g_autoptr(Arena) arena = arena_new();
	VolumeQuery query = { .project = project, .type = "custom", .name = name };
	Pb__StorageVolume **volumes;
	size_t n;
	if (volume_describe(pool, &query, arena, &n, &volumes, err) < 0)
		return -1;
	if (n == 0)
		return error_set(err, ERROR_NOT_FOUND, "Storage volume not found");
	if (volumes[0]->n_used_by > 0)
		return error_set(err, ERROR_INVALID, "The storage volume is still in use");
	return 0;
}

int custom_delete(Pool *pool, const char *project, const char *name, Error **err)
{
	g_autoptr(Volume) volume = volume_new(pool, VOLUME_CUSTOM, project, name);
	g_autoptr(VolumeLock) lock = volume_lock(pool->locks, volume->path, FALSE);
	if (check_pool(pool, err) < 0 || check_unused(pool, project, name, err) < 0)
		return -1;
	if (volume_mounted(pool, volume))
		return error_set(err, ERROR_INVALID, "The storage volume is still in use");
	return volume_remove(pool, volume, err);
}

int custom_rename(Pool *pool, const char *project, const char *name, const char *new_name, Error **err)
{
	if (name_check_volume(new_name, err) < 0)
		return error_prefix(err, "Invalid storage volume name");
	g_autoptr(Volume) volume = volume_new(pool, VOLUME_CUSTOM, project, name);
	g_autoptr(Volume) renamed = volume_new(pool, VOLUME_CUSTOM, project, new_name);
	if (strcmp(name, new_name) == 0)
		return error_set(err, ERROR_EXISTS, "Volume by that name already exists");
	g_auto(VolumePairLock) locks = volume_lock_pair(pool, volume, renamed);
	if (check_pool(pool, err) < 0 || check_new(pool, renamed, err) < 0 || check_unused(pool, project, name, err) < 0)
		return -1;
	return volume_rename(pool, volume, renamed, err);
}

static int attach_volume(Pool *p, const char *project, const char *name, Volume **ret, Error **err)
{
	g_autofree char *effective = NULL;
	if (check_pool(p, err) < 0 || project_effective(p->daemon, project, PROJECT_STORAGE_VOLUMES, &effective, err) < 0)
		return -1;
	*ret = volume_new(p, VOLUME_CUSTOM, effective, name);
	return 0;
}

int pool_custom_mount(Pool *p, const char *project, const char *volume_name, char **ret_path, Error **err)
{
	g_autoptr(Volume) volume = NULL;
	if (attach_volume(p, project, volume_name, &volume, err) < 0 || volume_row_find(p, volume, NULL, NULL, err) < 0 ||
	    volume_mount(p, volume, err) < 0)
		return -1;
	if (ret_path)
		*ret_path = g_strdup(volume->path);
	return 0;
}

int pool_custom_unmount(Pool *p, const char *project, const char *volume_name, Error **err)
{
	g_autoptr(Volume) volume = NULL;
	return attach_volume(p, project, volume_name, &volume, err) < 0 ? -1 : volume_unmount(p, volume, err);
}
