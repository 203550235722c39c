#include "server/storage/volume_stream.h"
#include "sdk/base/fault.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "server/operation/operation.h"
#include "server/storage/disk_image.h"
#include "server/storage/tree_pack.h"
#include "server/storage/pool_private.h"
#include "server/storage/unpack.h"
#include "server/storage/volume_block.h"
#include "server/storage/volume_build.h"
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

const char *volume_stream_method(const Pool *pool)
{
	return pool->driver->volume_send && pool->driver->volume_receive ? pool->driver->name :
									   NULL;
}

gboolean volume_stream_is_portable(Pool *pool, const Volume *volume)
{
	g_autoptr(DriverCall) call = driver_call_new(pool, volume, PLACE_OWN, NULL);
	return !pool->driver->volume_is_portable ||
	    pool->driver->volume_is_portable(&call->pool, &call->volume);
}

static gboolean is_disk(const Volume *volume, const char *path)
{
	return volume_has_disk(volume) && strcmp(path, "root.img") == 0;
}

static int list_tree(const Volume *volume, int fd, GPtrArray **ret_entries, Error **err)
{
	if (tree_list(fd, ret_entries, err) < 0)
		return -1;
	for (guint n = (*ret_entries)->len; n-- > 0;)
		if (is_disk(volume, ((TreeEntry *)(*ret_entries)->pdata[n])->path))
			g_ptr_array_remove_index(*ret_entries, n);
	return 0;
}

/* What describes the content comes on top of it. */
uint64_t volume_stream_limit(uint64_t content)
{
	enum { OVERHEAD = 64 << 20 };
	return content ? 2 * content + OVERHEAD : 0;
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
	return fd < 0 ?
	    -1 :
	    close_mounted(pool, volume, fd, list_tree(volume, fd, ret_entries, err), err);
}

int volume_stream_look(
    Pool *pool, const Volume *volume, const char *without, GPtrArray **ret_entries, Error **err)
{
	int fd = open_mounted(pool, volume, err);
	return fd < 0 ?
	    -1 :
	    close_mounted(pool, volume, fd, tree_look(fd, without, ret_entries, err), err);
}

typedef struct Sending {
	const Volume *volume;
	const VolumeStreamTree *tree; /* NULL: it is a disk */
	Operation *op;
} Sending;

static gboolean stays(const char *folder, const char *path)
{
	size_t length = folder ? strlen(folder) : 0;
	return length && strncmp(path, folder, length) == 0 &&
	    (!path[length] || path[length] == '/');
}

static gboolean is_kept(void *data, const char *path, int fd, const struct stat *st)
{
	const Sending *sending = data;
	GHashTable *kept = sending->tree->kept;
	return is_disk(sending->volume, path) || stays(sending->tree->without, path) ||
	    (kept && g_hash_table_contains(kept, path));
}

static gboolean is_cancelled(void *data)
{
	const Sending *sending = data;
	return sending->op && operation_cancelled(sending->op);
}

int volume_stream_send_tree(
    Pool *pool, const Volume *volume, const VolumeStreamTree *tree, int fd, Error **err)
{
	Sending sending = { volume, tree, tree->op };
	TreePackOptions options = { .skip = is_kept,
		.only = tree->only,
		.cancelled = is_cancelled,
		.data = &sending,
		.owners = tree->owners };
	int dir = open_mounted(pool, volume, err);
	return dir < 0 ? -1 :
			 close_mounted(pool, volume, dir, tree_pack(dir, fd, &options, err), err);
}

int volume_stream_send_block(
    Pool *pool, const Volume *volume, int fd, Operation *op, Error **err)
{
	Sending sending = { volume, NULL, op };
	BlockSending disk = { .cancelled = is_cancelled, .data = &sending };
	if (volume_mount(pool, volume, err) < 0)
		return -1;
	g_autofree char *path = volume_block_path(pool, volume, PLACE_OWN);
	int result = volume_block_length(pool, volume, path, &disk.bytes, err) < 0 ?
	    -1 :
	    volume_block_send(path, &disk, fd, err);
	return volume_unmount(pool, volume, result == 0 ? err : NULL) < 0 ? -1 : result;
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
	Config *config, *sized; /* its own, and what it is made by */
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

int volume_arrival_new(
    Pool *pool, const Volume *volume, const VolumeArrivalOf *of, VolumeArrival **ret, Error **err)
{
	g_autoptr(VolumeArrival) a = arrival_make(pool, volume);
	a->native = of->native;
	a->config = volume_effective_config(pool, of->config);
	a->sized = volume_sized_config(a->config, of->limit);
	a->lock = volume_lock(pool->locks, volume->path, FALSE);
	if (volume_exists(pool, volume, PLACE_OWN))
		return error_set(err, ERROR_EXISTS,
		    "Storage volume \"%s\" already exists on storage pool \"%s\"", volume->name,
		    pool->name);
	/* Of the driver's streams the driver makes it itself. */
	if ((a->native ? volume_begin_streams(pool, a->volume, err) :
			 volume_begin(pool, a->volume, a->sized, &a->path, err)) < 0)
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

const Volume *volume_arrival_volume(const VolumeArrival *a)
{
	return a->volume;
}

int volume_arrival_list(VolumeArrival *a, GPtrArray **ret_entries, Error **err)
{
	autofd int fd = file_open_directory(a->path, err);
	return fd < 0 ? -1 : list_tree(a->volume, fd, ret_entries, err);
}

int volume_arrival_unpack(VolumeArrival *a, const GPtrArray *had, const GByteArray *kept, int fd,
    uint64_t limit, Error **err)
{
	/* Progress and cancellation are the business of whoever fills the pipe. */
	gboolean machine = a->volume->type == VOLUME_MACHINE;
	UnpackOptions options = { .shape = machine ? UNPACK_MACHINE : UNPACK_TREE, .limit = limit };
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

static int check_disk(const char *path, uint64_t limit, Error **err)
{
	struct stat st;
	autofd int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0 || !(S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)))
		return error_set(err, ERROR_INVALID, "The virtual machine has no disk");
	if (limit && (uint64_t)st.st_size > limit)
		return error_set(err, ERROR_TOO_LARGE,
		    "The disk has more than the %" G_GUINT64_FORMAT " bytes there may be",
		    (guint64)limit);
	return disk_image_check_raw(fd, err);
}

int volume_arrival_check(VolumeArrival *a, uint64_t limit, Error **err)
{
	if (a->volume->type != VOLUME_MACHINE)
		return 0;
	g_autofree char *path = volume_block_path(
	    a->pool, a->volume, a->existing ? PLACE_OWN : PLACE_UNFINISHED);
	return check_disk(path, limit, err);
}

int volume_arrival_block(VolumeArrival *a, int fd, uint64_t limit, Error **err)
{
	g_autofree char *path = volume_block_path(
	    a->pool, a->volume, a->existing ? PLACE_OWN : PLACE_UNFINISHED);
	if (fault_point("volume receive", err) < 0 ||
	    volume_block_receive(fd, path, limit, err) < 0)
		return -1;
	return a->volume->type == VOLUME_MACHINE ? check_disk(path, 0, err) : 0;
}

int volume_arrival_size(VolumeArrival *a, uint64_t bytes, Error **err)
{
	g_autofree char *path = volume_block_path(
	    a->pool, a->volume, a->existing ? PLACE_OWN : PLACE_UNFINISHED);
	return volume_block_make(path, bytes, err);
}

int volume_arrival_receive(VolumeArrival *a, const char *snapshot, int fd, Error **err)
{
	g_autoptr(Volume) of = snapshot ?
	    volume_snapshot(a->pool, a->volume, snapshot) :
	    volume_new(a->pool, a->volume->type, a->volume->project, a->volume->name);
	of->content = a->volume->content;
	g_autoptr(DriverCall) call = driver_call_new(a->pool, of, PLACE_UNFINISHED, a->sized);
	g_autofree char *folder = g_path_get_dirname(call->path);
	if (fault_point("volume receive", err) < 0 || file_mkdir_all(folder, 0711, err) < 0)
		return -1;
	call->volume.foreign = TRUE;
	if (a->pool->driver->volume_receive(&call->pool, &call->volume, fd, err) < 0)
		return -1;
	return snapshot ? 0 : volume_limit_received(call, err);
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
	g_clear_pointer(&a->sized, g_hash_table_unref);
	g_free(a->path);
	volume_free(a->volume);
	pool_unref(a->pool);
	g_free(a);
}
