#include "server/storage/custom_volume.h"
#include "server/operation/schedule.h"
#include "sdk/base/names.h"
#include "sdk/base/units.h"
#include "server/project/project.h"
#include "server/storage/custom_backup.h"
#include "server/storage/pool_config.h"
#include "server/storage/pool_private.h"
#include "server/storage/store.h"
#include "server/storage/volume_block.h"
#include "server/storage/volume_build.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int check_pool(Pool *pool, Error **err)
{
	if (!pool->driver || strcmp(pool->status, "Created") != 0)
		return error_set(
		    err, ERROR_UNAVAILABLE, "Storage pool \"%s\" is not available", pool->name);
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

/* What content a driver can give a volume, and what its configuration may say about it. */
static int check_config(Pool *pool, VolumeContent content, const Config *config, Error **err)
{
	if (volume_config_check(pool->driver_name, config, err) < 0)
		return -1;
	if (content != CONTENT_FILESYSTEM &&
	    (config_get(config, "security.shifted") || config_get(config, "security.unmapped")))
		return error_set(err, ERROR_INVALID,
		    "Only volumes of content type \"filesystem\" have owners to shift");
	return 0;
}

/* The volume, empty or with what `fd` (unless -1) holds. */
static int create_locked(Pool *pool, const Volume *volume, const char *description,
    const Config *effective, int fd, Error **err)
{
	g_autofree char *path = NULL;
	if (volume_begin(pool, volume, effective, &path, err) < 0)
		return -1;
	int result = volume->content == CONTENT_FILESYSTEM ? 0
	    : fd < 0 ? volume_block_create(pool, volume, effective, err)
		     : volume_block_fill(pool, volume, fd, err);
	if (result < 0) {
		volume_abandon(pool, volume);
		return -1;
	}
	return volume_finish(pool, volume, description, effective, err);
}

static int create(Pool *pool, const char *project, const char *name, const char *description,
    VolumeContent content, const Config *config, int fd, Error **err)
{
	if (check_pool(pool, err) < 0)
		return -1;
	if (name_check_volume(name, err) < 0)
		return error_prefix(err, "Invalid storage volume name");
	if (check_config(pool, content, config, err) < 0)
		return -1;
	g_autoptr(Volume) volume = volume_new(pool, VOLUME_CUSTOM, project, name);
	volume->content = content;
	g_autoptr(Config) effective = volume_effective_config(pool, config);
	g_autoptr(VolumeLock) lock = volume_lock(pool->locks, volume->path, FALSE);
	if (check_new(pool, volume, err) < 0 ||
	    project_allow_volume(
		pool->daemon, project, pool->name, name, config_get(effective, "size"), err) < 0)
		return -1;
	return create_locked(pool, volume, description, effective, fd, err);
}

int custom_create(Pool *pool, const char *project, const char *name, const char *description,
    const char *content_type, const Config *config, Error **err)
{
	VolumeContent content;
	if (volume_content_parse(content_type, &content, err) < 0)
		return -1;
	if (content == CONTENT_ISO)
		return error_set(err, ERROR_INVALID,
		    "Volumes of content type \"iso\" are made by importing a file");
	if (create(pool, project, name, description, content, config, -1, err) < 0)
		return -1;
	schedule_changed(pool->daemon);
	return 0;
}

int custom_create_iso(
    Pool *pool, const char *project, const char *name, const char *description, int fd, Error **err)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot read the ISO file");
	if (st.st_size == 0)
		return error_set(err, ERROR_INVALID, "The ISO file is empty");
	g_autoptr(Config) config = config_new();
	g_autofree char *size = g_strdup_printf("%" PRId64, (int64_t)st.st_size);
	config_set(config, "size", size);
	return create(pool, project, name, description, CONTENT_ISO, config, fd, err);
}

/* What the configuration says about size comes true; the caller holds the lock. */
static int apply_size(
    Pool *pool, const Volume *volume, const Config *config, const Config *before, Error **err)
{
	int64_t bytes = 0;
	const char *size = config_get(config, "size");
	if (g_strcmp0(size, config_get(before, "size")) == 0)
		return 0;
	if (size && units_parse_bytes(size, &bytes, err) < 0)
		return -1;
	return volume->content == CONTENT_FILESYSTEM ? volume_set_size(pool, volume, bytes, err)
						     : volume_block_grow(pool, volume, bytes, err);
}

/* What the daemon noted for itself stays. */
static Config *stored_config(const Config *config, const Config *before)
{
	Config *stored = config_copy(config);
	GHashTableIter iter;
	void *key, *value;
	g_hash_table_iter_init(&iter, (GHashTable *)before);
	while (g_hash_table_iter_next(&iter, &key, &value))
		if (volume_key_is_internal(key))
			config_set(stored, key, value);
	return stored;
}

/* Volumes of instances get their size from the root disk; images' are remade at any time. */
static int check_change(
    const Volume *volume, const Config *config, const Config *before, Error **err)
{
	GHashTableIter iter;
	void *key, *value;
	if (volume->type == VOLUME_CUSTOM)
		return 0;
	if (g_strcmp0(config_get(config, "size"), config_get(before, "size")) != 0)
		return error_set(err, ERROR_INVALID,
		    "The size of this volume cannot be changed here: set that of the root disk device");
	g_hash_table_iter_init(&iter, (GHashTable *)config);
	while (volume->type == VOLUME_IMAGE && g_hash_table_iter_next(&iter, &key, &value))
		if (g_strcmp0(config_get(before, key), value) != 0)
			return error_set(
			    err, ERROR_INVALID, "Image volumes have no configuration of their own");
	return 0;
}

int volume_update(
    Pool *pool, Volume *volume, const char *description, const Config *config, Error **err)
{
	g_autoptr(VolumeLock) lock = volume_lock(pool->locks, volume->path, FALSE);
	g_autoptr(Config) before = NULL;
	if (check_pool(pool, err) < 0 || volume_load(pool, volume, NULL, &before, err) < 0 ||
	    check_config(pool, volume->content, config, err) < 0 ||
	    check_change(volume, config, before, err) < 0 ||
	    (volume->type == VOLUME_CUSTOM &&
		project_allow_volume(pool->daemon, volume->project, pool->name, volume->name,
		    config_get(config, "size"), err) < 0) ||
	    apply_size(pool, volume, config, before, err) < 0)
		return -1;
	g_autoptr(Config) stored = stored_config(config, before);
	if (volume_row_update(pool, volume, description, stored, err) == 0) {
		schedule_changed(pool->daemon); /* it may hold snapshots.schedule */
		return 0;
	}
	apply_size(pool, volume, before, config, NULL);
	return -1;
}

int custom_check_unused(Pool *pool, const char *project, const char *name, Error **err)
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
	g_autoptr(VolumeLock) backups = custom_backup_lock(pool, volume);
	g_autoptr(VolumeLock) lock = volume_lock(pool->locks, volume->path, FALSE);
	if (check_pool(pool, err) < 0 || custom_check_unused(pool, project, name, err) < 0 ||
	    volume_load(pool, volume, NULL, NULL, err) < 0)
		return -1;
	if (!volume_wait_unmounted(pool, volume))
		return error_set(err, ERROR_INVALID, "The storage volume is still in use");
	if (volume_remove(pool, volume, err) < 0)
		return -1;
	custom_backup_place_clear(pool, volume);
	return 0;
}

int custom_rename(Pool *pool, const Volume *volume, const char *project, const char *new_name,
    PoolAlso also, void *data, Error **err)
{
	if (name_check_volume(new_name, err) < 0)
		return error_prefix(err, "Invalid storage volume name");
	if (store_check_volume(pool->daemon, pool->name, volume->project, volume->name, err) < 0)
		return -1;
	g_autoptr(Volume) renamed = volume_new(pool, VOLUME_CUSTOM, project, new_name);
	renamed->content = volume->content;
	if (strcmp(volume->path, renamed->path) == 0)
		return error_set(err, ERROR_EXISTS, "Volume by that name already exists");
	g_autoptr(VolumeLock) backups = custom_backup_lock(pool, volume);
	g_auto(VolumePairLock) locks = volume_lock_pair(pool, volume, renamed);
	if (check_pool(pool, err) < 0 || check_new(pool, renamed, err) < 0 ||
	    custom_backup_place_begin(pool, volume, pool, renamed, err) < 0)
		return -1;
	int result = volume_rename_with(pool, volume, renamed, also, data, err);
	custom_backup_place_end(pool, volume, pool, renamed, result == 0);
	return result;
}

static int attach_volume(Pool *p, const char *project, const char *name, Volume **ret, Error **err)
{
	g_autofree char *effective = NULL;
	if (project_effective(p->daemon, project, PROJECT_STORAGE_VOLUMES, &effective, err) < 0)
		return -1;
	*ret = volume_new(p, VOLUME_CUSTOM, effective, name);
	return 0;
}

int pool_custom_check(Pool *p, const char *project, const char *volume_name, Error **err)
{
	g_autoptr(Volume) volume = NULL;
	if (attach_volume(p, project, volume_name, &volume, err) < 0 ||
	    volume_load(p, volume, NULL, NULL, err) < 0 ||
	    store_check_volume(p->daemon, p->name, volume->project, volume_name, err) < 0)
		return -1;
	return volume->content == CONTENT_FILESYSTEM ?
	    0 :
	    error_set(err, ERROR_INVALID, "Custom %s volumes cannot be used on containers",
		volume_content_name(volume->content));
}

int pool_custom_mount(Pool *p, const char *project, const char *volume_name, char **ret_path,
    gboolean *ret_mapped, Error **err)
{
	g_autoptr(Volume) volume = NULL;
	g_autoptr(Config) config = NULL;
	if (check_pool(p, err) < 0 || pool_custom_check(p, project, volume_name, err) < 0 ||
	    attach_volume(p, project, volume_name, &volume, err) < 0 ||
	    volume_load(p, volume, NULL, &config, err) < 0 || volume_mount(p, volume, err) < 0)
		return -1;
	*ret_path = g_strdup(volume->path);
	*ret_mapped = !config_true(config, "security.unmapped");
	return 0;
}

int pool_custom_unmount(Pool *p, const char *project, const char *volume_name, Error **err)
{
	g_autoptr(Volume) volume = NULL;
	return attach_volume(p, project, volume_name, &volume, err) < 0 ?
	    -1 :
	    volume_unmount(p, volume, err);
}
