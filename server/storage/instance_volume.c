#include "sdk/base/fault.h"
#include "sdk/base/file.h"
#include "sdk/base/log.h"
#include "sdk/base/own.h"
#include "server/operation/operation.h"
#include "server/storage/image_volume.h"
#include "server/storage/pool_private.h"
#include "server/storage/volume_block.h"
#include "server/storage/volume_build.h"
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static int root_volume(
    Pool *p, const char *project, const char *name, const char *type, Volume **ret, Error **err)
{
	VolumeType kind;
	if (volume_type_parse(type, &kind, err) < 0)
		return -1;
	if (kind != VOLUME_CONTAINER && kind != VOLUME_MACHINE)
		return error_set(err, ERROR_INVALID,
		    "Storage volume type \"%s\" cannot be an instance's root", type);
	if (!p->driver || strcmp(p->status, "Created") != 0)
		return error_set(
		    err, ERROR_UNAVAILABLE, "Storage pool \"%s\" is not available", p->name);
	*ret = volume_new(p, kind, project, name);
	return 0;
}

static int check_absent(Pool *p, const Volume *volume, Error **err)
{
	Error *inner = NULL;
	if (volume_row_find(p, volume, NULL, NULL, &inner) == 0)
		return error_set(err, ERROR_EXISTS,
		    "Storage volume \"%s\" already exists on storage pool \"%s\"", volume->name,
		    p->name);
	if (inner->kind != ERROR_NOT_FOUND)
		return error_propagate(err, inner);
	error_free(inner);
	if (volume_exists(p, volume, PLACE_OWN))
		return error_set(err, ERROR_EXISTS,
		    "Directory \"%s\" is in the way of the new volume", volume->path);
	return 0;
}

static int make_parts(
    Pool *p, const Volume *volume, const Config *config, const char *path, Error **err)
{
	autofd int fd = file_open_directory(path, err);
	if (fd < 0 || fault_point("volume parts", err) < 0 ||
	    file_mkdir_beneath(fd, "templates", 0755, FALSE, err) < 0)
		return -1;
	return volume->content == CONTENT_BLOCK ?
	    volume_block_create(p, volume, config, err) :
	    file_mkdir_beneath(fd, "rootfs", 0755, FALSE, err);
}

/* What its row keeps: a container's size is a matter of its root disk. */
static Config *stored_config(Pool *p, const Volume *volume, const Config *config)
{
	g_autoptr(Config) own = config ? config_copy(config) : config_new();
	if (volume->type == VOLUME_CONTAINER)
		config_set(own, "size", NULL);
	return volume_effective_config(p, own);
}

int pool_instance_create(Pool *p, const char *project, const char *name, const char *type,
    const Config *volume_config, Error **err)
{
	g_autoptr(Volume) volume = NULL;
	if (root_volume(p, project, name, type, &volume, err) < 0)
		return -1;
	g_autoptr(VolumeLock) lock = volume_lock(p->locks, volume->path, FALSE);
	g_autoptr(Config) effective = volume_effective_config(p, volume_config);
	g_autofree char *path = NULL;
	if (check_absent(p, volume, err) < 0 || volume_begin(p, volume, effective, &path, err) < 0)
		return -1;
	if (make_parts(p, volume, effective, path, err) < 0) {
		volume_abandon(p, volume);
		return -1;
	}
	g_autoptr(Config) stored = stored_config(p, volume, volume_config);
	return volume_finish(p, volume, "", stored, err);
}

int pool_instance_create_from_image(Pool *p, const char *project, const char *name,
    const char *type, const char *fingerprint, const Config *volume_config, Operation *op,
    Error **err)
{
	g_autoptr(Volume) volume = NULL;
	if (root_volume(p, project, name, type, &volume, err) < 0)
		return -1;
	g_autoptr(VolumeLock) lock = volume_lock(p->locks, volume->path, FALSE);
	if (check_absent(p, volume, err) < 0)
		return -1;
	g_autoptr(Config) effective = volume_effective_config(p, volume_config);
	if (image_volume_clone(p, fingerprint, volume, effective, op, err) < 0)
		return -1;
	g_autoptr(Config) stored = stored_config(p, volume, volume_config);
	return volume_finish(p, volume, "", stored, err);
}

/* The new tree stands in UNFINISHED and the row is there: a start that finds neither tree in its
 * place takes the new one, then the old one. */
static int swap_in(Pool *p, const Volume *volume, Error **err)
{
	if (fault_point("volume swap out", err) < 0 ||
	    volume_move(p, volume, PLACE_OWN, PLACE_DELETED, err) < 0)
		return -1;
	if (fault_point("volume swap in", err) < 0 ||
	    volume_move(p, volume, PLACE_UNFINISHED, PLACE_OWN, err) < 0) {
		volume_move(p, volume, PLACE_DELETED, PLACE_OWN, NULL);
		return -1;
	}
	g_autoptr(Error) left = NULL;
	if (volume_destroy(p, volume, PLACE_DELETED, &left) < 0)
		log_warn("The old data of a volume stays until the next start", "pool", p->name,
		    "volume", volume->disk_name, "err", left->message);
	return 0;
}

static int begin_again(Pool *p, const Volume *volume, const char *fingerprint, const Config *config,
    Operation *op, Error **err)
{
	g_autofree char *path = NULL;
	if (fingerprint)
		return image_volume_clone(p, fingerprint, volume, config, op, err);
	if (volume_begin(p, volume, config, &path, err) < 0)
		return -1;
	if (make_parts(p, volume, config, path, err) == 0)
		return 0;
	volume_abandon(p, volume);
	return -1;
}

int pool_instance_rebuild(Pool *p, const char *project, const char *name, const char *type,
    const char *fingerprint, Operation *op, Error **err)
{
	g_autoptr(Volume) volume = NULL;
	if (root_volume(p, project, name, type, &volume, err) < 0)
		return -1;
	g_autoptr(VolumeLock) lock = volume_lock(p->locks, volume->path, FALSE);
	g_autoptr(Config) config = NULL;
	if (!volume_wait_unmounted(p, volume))
		return error_set(err, ERROR_BUSY, "Storage volume \"%s\" is in use", name);
	if (volume_row_find(p, volume, NULL, &config, err) < 0 ||
	    (volume_exists(p, volume, PLACE_DELETED) &&
		volume_destroy(p, volume, PLACE_DELETED, err) < 0) ||
	    begin_again(p, volume, fingerprint, config, op, err) < 0)
		return -1;
	if (volume_ready(p, volume, err) == 0 && swap_in(p, volume, err) == 0)
		return 0;
	volume_abandon(p, volume);
	return -1;
}

int pool_instance_delete(
    Pool *p, const char *project, const char *name, const char *type, Error **err)
{
	return pool_instance_delete_with(p, project, name, type, NULL, NULL, err);
}

int pool_instance_delete_with(Pool *p, const char *project, const char *name, const char *type,
    PoolAlso also, void *data, Error **err)
{
	g_autoptr(Volume) volume = NULL;
	if (root_volume(p, project, name, type, &volume, err) < 0)
		return -1;
	g_autoptr(VolumeLock) lock = volume_lock(p->locks, volume->path, FALSE);
	return volume_remove_with(p, volume, also, data, err);
}

int pool_instance_rename(Pool *p, const char *project, const char *name, const char *type,
    const char *new_name, Error **err)
{
	g_autoptr(Volume) volume = NULL;
	if (root_volume(p, project, name, type, &volume, err) < 0)
		return -1;
	g_autoptr(Volume) renamed = volume_new(p, volume->type, project, new_name);
	g_auto(VolumePairLock) locks = volume_lock_pair(p, volume, renamed);
	return check_absent(p, renamed, err) < 0 ? -1 : volume_rename(p, volume, renamed, err);
}

int pool_instance_mount(
    Pool *p, const char *project, const char *name, const char *type, char **ret_path, Error **err)
{
	g_autoptr(Volume) volume = NULL;
	if (root_volume(p, project, name, type, &volume, err) < 0 ||
	    volume_mount(p, volume, err) < 0)
		return -1;
	if (ret_path)
		*ret_path = g_strdup(volume->path);
	return 0;
}

int pool_instance_unmount(
    Pool *p, const char *project, const char *name, const char *type, Error **err)
{
	g_autoptr(Volume) volume = NULL;
	return root_volume(p, project, name, type, &volume, err) < 0 ?
	    -1 :
	    volume_unmount(p, volume, err);
}

static int usage(Pool *p, const Volume *volume, gboolean quick, int64_t *ret_used,
    int64_t *ret_total, Error **err)
{
	const StorageDriver *driver = p->driver;
	*ret_used = *ret_total = -1;
	if (!driver->volume_usage)
		return 0;
	g_autoptr(DriverCall) call = driver_call_new(p, volume, PLACE_OWN, NULL);
	return (quick && driver->volume_usage_quick ? driver->volume_usage_quick :
						      driver->volume_usage)(
	    &call->pool, &call->volume, ret_used, ret_total, err);
}

int volume_usage(Pool *p, const Volume *volume, int64_t *ret_used, int64_t *ret_total, Error **err)
{
	return usage(p, volume, FALSE, ret_used, ret_total, err);
}

int pool_instance_usage(Pool *p, const char *project, const char *name, const char *type,
    gboolean quick, int64_t *ret_used, int64_t *ret_total, Error **err)
{
	g_autoptr(Volume) volume = NULL;
	return root_volume(p, project, name, type, &volume, err) < 0 ?
	    -1 :
	    usage(p, volume, quick, ret_used, ret_total, err);
}

int volume_set_size(Pool *p, const Volume *volume, int64_t bytes, Error **err)
{
	if (!p->driver->volume_set_size) {
		log_debug(
		    "Storage driver enforces no size", "pool", p->name, "volume", volume->name);
		return 0;
	}
	g_autoptr(DriverCall) call = driver_call_load(p, volume, PLACE_OWN);
	return p->driver->volume_set_size(&call->pool, &call->volume, bytes, err);
}

int pool_instance_set_size(
    Pool *p, const char *project, const char *name, const char *type, int64_t bytes, Error **err)
{
	g_autoptr(Volume) volume = NULL;
	if (root_volume(p, project, name, type, &volume, err) < 0)
		return -1;
	return volume->content == CONTENT_BLOCK ? volume_block_grow(p, volume, bytes, err) :
						  volume_set_size(p, volume, bytes, err);
}

int pool_instance_set_state_size(
    Pool *p, const char *project, const char *name, const char *type, int64_t bytes, Error **err)
{
	g_autoptr(Volume) volume = NULL;
	if (root_volume(p, project, name, type, &volume, err) < 0)
		return -1;
	if (bytes == 0 || !volume_has_device(p, volume))
		return 0;
	volume->content = CONTENT_FILESYSTEM; /* that half (driver_pair.h) */
	return volume_set_size(p, volume, bytes, err);
}

int pool_instance_disk(Pool *p, const char *project, const char *name, const char *type,
    char **ret_path, Error **err)
{
	g_autoptr(Volume) volume = NULL;
	if (root_volume(p, project, name, type, &volume, err) < 0)
		return -1;
	g_autofree char *path = volume_block_path(p, volume, PLACE_OWN);
	if (volume_block_trust(path, err) < 0)
		return -1;
	*ret_path = g_steal_pointer(&path);
	return 0;
}
