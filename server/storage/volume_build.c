#include "server/storage/volume_build.h"
#include "sdk/base/fault.h"
#include "sdk/base/file.h"
#include "sdk/base/log.h"
#include "sdk/base/own.h"
#include "sdk/base/units.h"
#include "server/operation/operation.h"
#include "server/storage/backup_stream.h"
#include "server/storage/filesystem.h"
#include "server/storage/pool_private.h"
#include "server/storage/shift.h"
#include "server/storage/volume_block.h"
#include "server/storage/snapshot.h"
#include <string.h>

static int mount_unfinished(DriverCall *call, Error **err)
{
	if (!call->pool.driver->volume_mount)
		return 0;
	return call->pool.driver->volume_mount(&call->pool, &call->volume, err);
}

static int unmount_unfinished(Pool *pool, const Volume *volume, Error **err)
{
	if (!pool->driver->volume_unmount)
		return 0;
	g_autoptr(DriverCall) call = driver_call_new(pool, volume, PLACE_UNFINISHED, NULL);
	return pool->driver->volume_unmount(&call->pool, &call->volume, err);
}

/* One that failed to go away; its name is ours while the lock is held. */
static int clear_unfinished(Pool *pool, const Volume *volume, Error **err)
{
	return volume_exists(pool, volume, PLACE_UNFINISHED) ?
	    volume_destroy(pool, volume, PLACE_UNFINISHED, err) :
	    0;
}

static int mounted_path(
    Pool *pool, const Volume *volume, DriverCall *call, char **ret_path, Error **err)
{
	if (mount_unfinished(call, err) < 0) {
		volume_destroy(pool, volume, PLACE_UNFINISHED, NULL);
		return -1;
	}
	*ret_path = g_strdup(call->path);
	return 0;
}

int volume_begin(
    Pool *pool, const Volume *volume, const Config *config, char **ret_path, Error **err)
{
	g_autoptr(DriverCall) call = driver_call_new(pool, volume, PLACE_UNFINISHED, config);
	if (fault_point("volume create", err) < 0 || clear_unfinished(pool, volume, err) < 0 ||
	    pool->driver->volume_create(&call->pool, &call->volume, err) < 0)
		return -1;
	return mounted_path(pool, volume, call, ret_path, err);
}

int volume_begin_streams(Pool *pool, const Volume *volume, Error **err)
{
	return fault_point("volume create", err) < 0 ?
	    -1 :
	    volume_destroy(pool, volume, PLACE_UNFINISHED, err);
}

int volume_receive_stream(Pool *pool, const Volume *volume, const Config *config,
    const GPtrArray *streams, guint number, int fd, Error **err)
{
	const BackupStream *stream = streams->pdata[number];
	g_autoptr(Volume) snapshot = stream->snapshot ?
	    volume_snapshot(pool, volume, stream->snapshot) :
	    NULL;
	if (snapshot)
		snapshot->content = volume->content;
	g_autoptr(DriverCall) call = driver_call_new(
	    pool, snapshot ? snapshot : volume, PLACE_UNFINISHED, config);
	return pool->driver->backup_receive(&call->pool, &call->volume, stream, number, fd, err);
}

/* A disk has the size of what it holds, unless it is a device, which can be larger. */
int volume_limit_received(DriverCall *call, Error **err)
{
	const StorageDriver *driver = call->pool.driver;
	const char *size = config_get(call->volume.config, "size");
	int64_t bytes = 0;
	if (!size || !driver->volume_set_size ||
	    (call->volume.content != CONTENT_FILESYSTEM && !driver->volume_block_path))
		return 0;
	return units_parse_bytes(size, &bytes, err) < 0 ?
	    -1 :
	    driver->volume_set_size(&call->pool, &call->volume, bytes, err);
}

int volume_begin_received(Pool *pool, const Volume *volume, const GPtrArray *streams,
    const Config *config, char **ret_path, Error **err)
{
	g_autoptr(DriverCall) call = driver_call_new(pool, volume, PLACE_UNFINISHED, config);
	if ((pool->driver->backup_place &&
		pool->driver->backup_place(&call->pool, &call->volume, streams, err) < 0) ||
	    volume_limit_received(call, err) < 0)
		return -1;
	return mounted_path(pool, volume, call, ret_path, err);
}

static gboolean copy_cancelled(void *op)
{
	return op && operation_cancelled(op);
}

int volume_copy_tree(const char *from, const char *to, Operation *op, Error **err)
{
	autofd int source = file_open_directory(from, err);
	autofd int target = source < 0 || fault_point("volume copy", err) < 0 ?
	    -1 :
	    file_open_directory(to, err);
	FileCopy options = { .cancelled = op ? copy_cancelled : NULL, .data = op };
	return target < 0 ? -1 : file_copy_tree(source, target, &options, err);
}

static int copy_content(Pool *pool, const Volume *from, const Volume *volume, const char *to,
    Operation *op, Error **err)
{
	gboolean device = volume_has_device(pool, volume);
	if ((!device || volume_has_tree(volume)) &&
	    volume_copy_tree(from->path, to, op, err) < 0)
		return -1;
	if (!device)
		return 0;
	g_autofree char *source = volume_block_path(pool, from, PLACE_OWN);
	g_autofree char *target = volume_block_path(pool, volume, PLACE_UNFINISHED);
	return volume_block_copy(source, target, err);
}

/* The source is locked by the caller and may be in use already. */
static int copy_mounted(Pool *pool, const Volume *from, const Volume *volume, const char *to,
    Operation *op, Error **err)
{
	if (volume_mount_locked(pool, from, err) < 0)
		return -1;
	int result = copy_content(pool, from, volume, to, op, err);
	return volume_unmount_locked(pool, from, result == 0 ? err : NULL) < 0 ? -1 : result;
}

static int begin_copy(Pool *pool, const Volume *from, const Volume *volume, const Config *config,
    Operation *op, char **ret_path, Error **err)
{
	g_autofree char *path = NULL;
	if (volume_begin(pool, volume, config, &path, err) < 0)
		return -1;
	if (copy_mounted(pool, from, volume, path, op, err) < 0) {
		volume_abandon(pool, volume);
		return -1;
	}
	*ret_path = g_steal_pointer(&path);
	return 0;
}

int volume_begin_clone(Pool *pool, const Volume *from, const Volume *volume, const Config *config,
    Operation *op, char **ret_path, Error **err)
{
	Error *inner = NULL;
	if (shift_check(pool, from, err) < 0)
		return -1;
	if (!pool->driver->volume_clone)
		return begin_copy(pool, from, volume, config, op, ret_path, err);
	g_autoptr(DriverCall) source = driver_call_new(pool, from, PLACE_OWN, NULL);
	g_autoptr(DriverCall) call = driver_call_new(pool, volume, PLACE_UNFINISHED, config);
	if (clear_unfinished(pool, volume, err) < 0 ||
	    (pool->driver->volume_block_path && filesystem_flush(source->path, err) < 0))
		return -1;
	if (pool->driver->volume_clone(&call->pool, &source->volume, &call->volume, &inner) == 0)
		return mounted_path(pool, volume, call, ret_path, err);
	if (inner->kind != ERROR_UNSUPPORTED)
		return error_propagate(err, inner);
	error_free(inner);
	return begin_copy(pool, from, volume, config, op, ret_path, err);
}

static gboolean is_root(const Volume *volume)
{
	return volume->type == VOLUME_CONTAINER || volume->type == VOLUME_MACHINE;
}

int volume_ready(Pool *pool, const Volume *volume, Error **err)
{
	return unmount_unfinished(pool, volume, err);
}

int volume_finish(
    Pool *pool, const Volume *volume, const char *description, const Config *config, Error **err)
{
	return volume_finish_with(pool, volume, description, config, NULL, NULL, err);
}

int volume_finish_with(Pool *pool, const Volume *volume, const char *description,
    const Config *config, PoolAlso also, void *data, Error **err)
{
	if (unmount_unfinished(pool, volume, err) < 0 ||
	    volume_row_insert(pool, volume, description, config, also, data, err) < 0)
		goto unfinished;
	if (volume_move(pool, volume, PLACE_UNFINISHED, PLACE_OWN, err) < 0)
		goto row;
	if (!is_root(volume) || volume_link(pool, volume, err) == 0)
		return 0;
	volume_row_delete(pool, volume, NULL);
	volume_destroy(pool, volume, PLACE_OWN, NULL);
	return -1;
row:
	volume_row_delete(pool, volume, NULL);
unfinished:
	volume_abandon(pool, volume);
	return -1;
}

typedef struct RowsCall {
	Pool *pool;
	const Volume *volume;
	const VolumeRows *rows;
} RowsCall;

static int insert_rows(Tx *tx, void *data, Error **err)
{
	const RowsCall *call = data;
	const VolumeRows *rows = call->rows;
	for (guint n = 0; rows->snapshots && n < rows->snapshots->len; n++)
		if (fault_point("volume rows", err) < 0 ||
		    snapshot_row_insert_in(
			tx, call->pool, call->volume, rows->snapshots->pdata[n], err) < 0)
			return -1;
	return rows->also ? rows->also(tx, rows->data, err) : 0;
}

int volume_finish_rows(Pool *pool, const Volume *volume, const char *description,
    const Config *config, const VolumeRows *rows, Error **err)
{
	RowsCall call = { pool, volume, rows };
	return volume_finish_with(pool, volume, description, config, insert_rows, &call, err);
}

void volume_abandon(Pool *pool, const Volume *volume)
{
	unmount_unfinished(pool, volume, NULL);
	volume_destroy(pool, volume, PLACE_UNFINISHED, NULL);
}

/* Its row is gone, so it is nobody's: what does not go now goes at the next start. */
static void destroy_deleted(Pool *pool, const Volume *volume)
{
	g_autoptr(Error) error = NULL;
	if (volume_destroy(pool, volume, PLACE_DELETED, &error) < 0)
		log_warn("Data of a deleted volume stays until the next start", "pool", pool->name,
		    "volume", volume->disk_name, "err", error->message);
}

int volume_remove(Pool *pool, const Volume *volume, Error **err)
{
	return volume_remove_with(pool, volume, NULL, NULL, err);
}

int volume_remove_with(Pool *pool, const Volume *volume, PoolAlso also, void *data, Error **err)
{
	if (!volume_wait_unmounted(pool, volume))
		return error_set(err, ERROR_BUSY, "Storage volume \"%s\" is in use", volume->name);
	if (volume_exists(pool, volume, PLACE_DELETED) &&
	    volume_destroy(pool, volume, PLACE_DELETED, err) < 0)
		return -1;
	if (volume_exists(pool, volume, PLACE_OWN) &&
	    volume_move(pool, volume, PLACE_OWN, PLACE_DELETED, err) < 0)
		return -1;
	if (is_root(volume))
		volume_unlink(pool, volume);
	if (volume_row_delete_with(pool, volume, also, data, err) == 0) {
		shift_forget(pool, volume);
		destroy_deleted(pool, volume);
		return 0;
	}
	/* What keeps its row keeps its data. */
	if (volume_move(pool, volume, PLACE_DELETED, PLACE_OWN, NULL) == 0 && is_root(volume))
		volume_link(pool, volume, NULL);
	return -1;
}

int volume_rename(Pool *pool, const Volume *volume, const Volume *renamed, Error **err)
{
	return volume_rename_with(pool, volume, renamed, NULL, NULL, err);
}

int volume_rename_with(
    Pool *pool, const Volume *volume, const Volume *renamed, PoolAlso also, void *data, Error **err)
{
	g_autoptr(DriverCall) from = driver_call_new(pool, volume, PLACE_OWN, NULL);
	g_autoptr(DriverCall) to = driver_call_new(pool, renamed, PLACE_OWN, NULL);
	if (!volume_wait_unmounted(pool, volume))
		return error_set(err, ERROR_BUSY, "Storage volume \"%s\" is in use", volume->name);
	if (shift_check(pool, volume, err) < 0)
		return -1;
	g_autofree char *intent = g_strdup_printf("%s/%s", renamed->project, renamed->name);
	if (volume_row_set(pool, volume, VOLUME_INTENT, intent, err) < 0)
		return -1;
	if (pool->driver->volume_rename(&from->pool, &from->volume, &to->volume, err) < 0) {
		volume_row_set(pool, volume, VOLUME_INTENT, NULL, NULL);
		return -1;
	}
	if (fault_point("volume rename", err) < 0 ||
	    (is_root(volume) && volume_link(pool, renamed, err) < 0))
		goto back;
	if (volume_row_rename(pool, volume, renamed, also, data, err) < 0)
		goto back;
	if (is_root(volume))
		volume_unlink(pool, volume);
	return 0;
back:
	if (is_root(volume))
		volume_unlink(pool, renamed);
	if (pool->driver->volume_rename(&from->pool, &to->volume, &from->volume, NULL) == 0)
		volume_row_set(pool, volume, VOLUME_INTENT, NULL, NULL);
	return -1;
}

VolumePairLock volume_lock_pair(Pool *pool, const Volume *a, const Volume *b)
{
	gboolean ordered = strcmp(a->path, b->path) < 0;
	VolumePairLock pair = { 0 };
	pair.first = volume_lock(pool->locks, ordered ? a->path : b->path, FALSE);
	pair.second = volume_lock(pool->locks, ordered ? b->path : a->path, FALSE);
	return pair;
}

void volume_pair_unlock(VolumePairLock *pair)
{
	volume_unlock(pair->second);
	volume_unlock(pair->first);
}
