#include "server/storage/volume_stream.h"
#include "sdk/base/fault.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "server/operation/operation.h"
#include "server/storage/tree_pack.h"
#include "server/storage/pool_private.h"
#include "server/storage/unpack.h"
#include "server/storage/volume_block.h"
#include "server/storage/volume_build.h"
#include <string.h>

const char *volume_stream_method(const Pool *pool)
{
	return pool->driver->volume_send && pool->driver->volume_receive ? pool->driver->name :
									   NULL;
}

/* ---- going out ---- */

/* Counted mounts: somebody may be using it. The fd of its directory, or -1. */
static int open_mounted(Pool *pool, const Volume *volume, Error **err)
{
	if (volume_mount(pool, volume, err) < 0)
		return -1;
	int fd = file_open_directory(volume->path, err);
	if (fd < 0)
		volume_unmount(pool, volume, NULL);
	return fd;
}

static int close_mounted(Pool *pool, const Volume *volume, int fd, int result, Error **err)
{
	close(fd);
	return volume_unmount(pool, volume, result == 0 ? err : NULL) < 0 ? -1 : result;
}

int volume_stream_list(Pool *pool, const Volume *volume, GPtrArray **ret_entries, Error **err)
{
	int fd = open_mounted(pool, volume, err);
	return fd < 0 ? -1 : close_mounted(pool, volume, fd, tree_list(fd, ret_entries, err), err);
}

static gboolean is_kept(void *data, const char *path, int fd, const struct stat *st)
{
	const VolumeStreamTree *tree = data;
	size_t length = tree->without ? strlen(tree->without) : 0;
	if (length && strncmp(path, tree->without, length) == 0 &&
	    (!path[length] || path[length] == '/'))
		return TRUE;
	return tree->kept && g_hash_table_contains(tree->kept, path);
}

static gboolean is_cancelled(void *data)
{
	const VolumeStreamTree *tree = data;
	return tree->op && operation_cancelled(tree->op);
}

int volume_stream_send_tree(
    Pool *pool, const Volume *volume, const VolumeStreamTree *tree, int fd, Error **err)
{
	TreePackOptions options = { .skip = is_kept,
		.cancelled = is_cancelled,
		.data = (void *)tree,
		.owners = tree->owners };
	int dir = open_mounted(pool, volume, err);
	return dir < 0 ? -1 :
			 close_mounted(pool, volume, dir, tree_pack(dir, fd, &options, err), err);
}

int volume_stream_send_block(
    Pool *pool, const Volume *volume, int fd, Operation *op, Error **err)
{
	VolumeStreamTree sending = { .op = op };
	int dir = open_mounted(pool, volume, err);
	if (dir < 0)
		return -1;
	g_autofree char *path = volume_block_path(pool, volume, PLACE_OWN);
	return close_mounted(pool, volume, dir,
	    volume_block_send(path, fd, is_cancelled, &sending, err), err);
}

int volume_stream_rsync(
    Pool *pool, const Volume *volume, int socket, const RsyncOptions *options, Error **err)
{
	int dir = open_mounted(pool, volume, err);
	return dir < 0 ?
	    -1 :
	    close_mounted(pool, volume, dir, rsync_send(volume->path, socket, options, err), err);
}

int volume_stream_send(Pool *pool, const Volume *volume, const char *parent, int fd, Error **err)
{
	g_autoptr(DriverCall) call = driver_call_new(pool, volume, PLACE_OWN, NULL);
	if (!volume_stream_method(pool))
		return error_set(err, ERROR_UNSUPPORTED,
		    "Storage driver \"%s\" has no stream of its own", pool->driver_name);
	return pool->driver->volume_send(&call->pool, &call->volume, parent, fd, err);
}

/* ---- coming in ---- */

struct VolumeArrival {
	Pool *pool;
	Volume *volume;
	VolumeLock *lock; /* of a new one */
	Config *config;
	char *path; /* where the tree is mounted */
	gboolean existing, native, open;
};

static VolumeArrival *arrival_make(Pool *pool, const Volume *volume)
{
	VolumeArrival *a = g_new0(VolumeArrival, 1);
	a->pool = pool_ref(pool);
	a->volume = volume_new(pool, volume->type, volume->project, volume->name);
	a->volume->content = volume->content;
	return a;
}

int volume_arrival_new(Pool *pool, const Volume *volume, const Config *config, gboolean native,
    VolumeArrival **ret, Error **err)
{
	g_autoptr(VolumeArrival) a = arrival_make(pool, volume);
	a->native = native;
	a->config = volume_effective_config(pool, config);
	a->lock = volume_lock(pool->locks, volume->path, FALSE);
	if (volume_exists(pool, volume, PLACE_OWN))
		return error_set(err, ERROR_EXISTS,
		    "Storage volume \"%s\" already exists on storage pool \"%s\"", volume->name,
		    pool->name);
	/* Of the driver's streams the driver makes it itself. */
	if ((native ? volume_begin_streams(pool, a->volume, err) :
		      volume_begin(pool, a->volume, a->config, &a->path, err)) < 0)
		return -1;
	a->open = TRUE;
	*ret = g_steal_pointer(&a);
	return 0;
}

int volume_arrival_existing(Pool *pool, const Volume *volume, VolumeArrival **ret, Error **err)
{
	g_autoptr(VolumeArrival) a = arrival_make(pool, volume);
	a->existing = TRUE;
	if (volume_mounted(pool, volume))
		return error_set(err, ERROR_BUSY, "Storage volume \"%s\" is in use", volume->name);
	if (volume_mount(pool, a->volume, err) < 0)
		return -1;
	a->open = TRUE;
	a->path = g_strdup(a->volume->path);
	*ret = g_steal_pointer(&a);
	return 0;
}

int volume_arrival_list(VolumeArrival *a, GPtrArray **ret_entries, Error **err)
{
	autofd int fd = file_open_directory(a->path, err);
	return fd < 0 ? -1 : tree_list(fd, ret_entries, err);
}

int volume_arrival_unpack(VolumeArrival *a, const GPtrArray *had, const GByteArray *kept, int fd,
    uint64_t limit, Error **err)
{
	/* Progress and cancellation are the business of whoever fills the pipe. */
	UnpackOptions options = { .shape = UNPACK_TREE, .limit = limit };
	autofd int dir = file_open_directory(a->path, err);
	if (dir < 0 || fault_point("volume receive", err) < 0 ||
	    tree_prune(dir, had, kept, err) < 0)
		return -1;
	return unpack_archive(fd, dir, &options, err);
}

int volume_arrival_rsync(
    VolumeArrival *a, int socket, const RsyncOptions *options, uint64_t limit, Error **err)
{
	uint64_t used = 0;
	autofd int dir = file_open_directory(a->path, err);
	if (dir < 0 || fault_point("volume receive", err) < 0 ||
	    rsync_receive(a->path, socket, options, err) < 0 ||
	    unpack_drop_devices(dir, err) < 0 || (limit && file_usage(dir, &used, err) < 0))
		return -1;
	return limit && used > limit ?
	    error_set(err, ERROR_TOO_LARGE,
		"The volume has more than the %" G_GUINT64_FORMAT " bytes there may be",
		(guint64)limit) :
	    0;
}

int volume_arrival_block(VolumeArrival *a, int fd, uint64_t limit, Error **err)
{
	g_autofree char *path = volume_block_path(
	    a->pool, a->volume, a->existing ? PLACE_OWN : PLACE_UNFINISHED);
	return fault_point("volume receive", err) < 0 ? -1 :
							volume_block_receive(fd, path, limit, err);
}

int volume_arrival_receive(VolumeArrival *a, const char *snapshot, int fd, Error **err)
{
	g_autoptr(Volume) of = snapshot ?
	    volume_snapshot(a->pool, a->volume, snapshot) :
	    volume_new(a->pool, a->volume->type, a->volume->project, a->volume->name);
	of->content = a->volume->content;
	g_autoptr(DriverCall) call = driver_call_new(a->pool, of, PLACE_UNFINISHED, a->config);
	g_autofree char *folder = g_path_get_dirname(call->path);
	if (fault_point("volume receive", err) < 0 || file_mkdir_all(folder, 0711, err) < 0)
		return -1;
	call->volume.foreign = TRUE;
	return a->pool->driver->volume_receive(&call->pool, &call->volume, fd, err);
}

int volume_arrival_snapshot(VolumeArrival *a, const SnapshotRow *row, Error **err)
{
	if (!a->existing)
		return snapshot_begin(a->pool, a->volume, row->name, err);
	g_autoptr(Volume) snapshot = volume_snapshot(a->pool, a->volume, row->name);
	if (snapshot_row_insert(a->pool, a->volume, row, err) < 0)
		return -1;
	if (snapshot_data_create(a->pool, snapshot, err) == 0)
		return 0;
	snapshot_row_delete(a->pool, a->volume, row->name, NULL);
	return -1;
}

int volume_arrival_finish(
    VolumeArrival *a, const char *description, const VolumeRows *rows, Error **err)
{
	a->open = FALSE; /* nothing is left when it fails */
	return a->existing ?
	    volume_unmount(a->pool, a->volume, err) :
	    volume_finish_rows(a->pool, a->volume, description, a->config, rows, err);
}

void volume_arrival_free(VolumeArrival *a)
{
	if (!a)
		return;
	if (a->open && a->existing)
		volume_unmount(a->pool, a->volume, NULL);
	else if (a->open)
		volume_abandon(a->pool, a->volume);
	if (a->lock)
		volume_unlock(a->lock);
	g_clear_pointer(&a->config, g_hash_table_unref);
	g_free(a->path);
	volume_free(a->volume);
	pool_unref(a->pool);
	g_free(a);
}
