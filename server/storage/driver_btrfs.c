#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "sdk/base/units.h"
#include "server/storage/driver_btrfs_private.h"
#include "server/storage/subvolume.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

/* Volumes are subvolumes, snapshots read-only ones. Subvolumes that a container made inside of its
 * own go with it wherever it goes. A volume's size is the limit of its quota group, counting what
 * it refers to. */

static int64_t wanted_size(const DriverVolume *volume)
{
	int64_t bytes = 0;
	const char *size = config_get(volume->config, "size");
	/* A disk's size is its file's. */
	if (!size || volume->content != CONTENT_FILESYSTEM || volume->type == VOLUME_IMAGE)
		return 0;
	return units_parse_bytes(size, &bytes, NULL) < 0 ? 0 : bytes;
}

static int volume_settle(const DriverVolume *volume, Error **err)
{
	int64_t bytes = wanted_size(volume);
	/* A custom volume is entered by the container's users; a root volume only through rootfs/.
	 */
	if (chmod(volume->path, volume->type == VOLUME_CUSTOM ? 0711 : 0100) < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot set up volume \"%s\"", volume->name);
	return bytes ? subvolume_set_limit(volume->path, bytes, err) : 0;
}

static int settle_or_delete(const DriverVolume *volume, Error **err)
{
	if (volume_settle(volume, err) == 0)
		return 0;
	subvolume_delete(volume->path, NULL);
	return -1;
}

static int btrfs_volume_create(DriverPool *pool, const DriverVolume *volume, Error **err)
{
	if (subvolume_create(volume->path, err) < 0)
		return -1;
	/* Rewriting blocks of a disk in place would tear a copy-on-write file to pieces. */
	if (volume->content == CONTENT_BLOCK && subvolume_set_nodatacow(volume->path, err) < 0) {
		subvolume_delete(volume->path, NULL);
		return -1;
	}
	return settle_or_delete(volume, err);
}

static int btrfs_volume_clone(
    DriverPool *pool, const DriverVolume *from, const DriverVolume *volume, Error **err)
{
	return subvolume_snapshot(from->path, volume->path, FALSE, err) < 0
		   ? -1
		   : settle_or_delete(volume, err);
}

static int btrfs_volume_delete(DriverPool *pool, const DriverVolume *volume, Error **err)
{
	g_autofree char *snapshots =
	    driver_path(pool->path, volume->type, volume->place, volume->name, "");
	g_autofree char *half = btrfs_backup_folder(pool, volume),
			*arriving = btrfs_receive_folder(pool, volume);
	if ((volume->place == PLACE_UNFINISHED &&
		(subvolume_delete(half, err) < 0 || subvolume_delete(arriving, err) < 0)) ||
	    subvolume_delete(snapshots, err) < 0 || subvolume_delete(volume->path, err) < 0)
		return error_prefix(err, "Cannot delete volume \"%s\" of storage pool \"%s\"",
		    volume->name, pool->name);
	return 0;
}

static int btrfs_volume_usage(DriverPool *pool, const DriverVolume *volume, int64_t *ret_used,
    int64_t *ret_total, Error **err)
{
	SubvolumeUsage usage;
	if (subvolume_usage(volume->path, &usage, err) < 0)
		return -1;
	*ret_used = volume->snapshot ? usage.exclusive : usage.referenced;
	*ret_total = usage.limit;
	return 0;
}

static int btrfs_volume_set_size(
    DriverPool *pool, const DriverVolume *volume, int64_t bytes, Error **err)
{
	return subvolume_set_limit(volume->path, bytes, err);
}

/* ---- snapshots ---- */

static char *beside(DriverPool *pool, const DriverVolume *snapshot)
{
	return driver_path(
	    pool->path, snapshot->type, PLACE_DELETED, snapshot->name, snapshot->snapshot);
}

static int make_beside(DriverPool *pool, const DriverVolume *snapshot, Error **err)
{
	g_autofree char *folder =
	    driver_path(pool->path, snapshot->type, PLACE_DELETED, snapshot->name, "");
	return file_mkdir_all(folder, 0711, err);
}

static void remove_beside(DriverPool *pool, const DriverVolume *snapshot)
{
	g_autofree char *folder =
	    driver_path(pool->path, snapshot->type, PLACE_DELETED, snapshot->name, "");
	rmdir(folder);
}

/* A subvolume moves to another directory only while it can be written to: ".." is its own. */
static int move_sealed(const char *from, const char *to, Error **err)
{
	if (subvolume_set_read_only(from, FALSE, err) < 0)
		return -1;
	if (rename(from, to) < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot move \"%s\" to \"%s\"", from, to);
	return subvolume_set_read_only(to, TRUE, err);
}

static int snapshot_with_nested(
    DriverPool *pool, const DriverVolume *snapshot, const char *from, Error **err)
{
	g_autofree char *partial = beside(pool, snapshot);
	if (make_beside(pool, snapshot, err) < 0 || subvolume_delete(partial, err) < 0)
		return -1;
	int result = subvolume_snapshot(from, partial, TRUE, err);
	if (result == 0 && (result = move_sealed(partial, snapshot->path, err)) < 0)
		subvolume_delete(partial, NULL);
	remove_beside(pool, snapshot);
	return result;
}

static int btrfs_snapshot_create(DriverPool *pool, const DriverVolume *snapshot, Error **err)
{
	g_autofree char *from =
	    driver_path(pool->path, snapshot->type, snapshot->place, snapshot->name, NULL);
	gboolean nested;
	if (subvolume_has_nested(from, &nested, err) < 0)
		return -1;
	return nested ? snapshot_with_nested(pool, snapshot, from, err)
		      : subvolume_snapshot(from, snapshot->path, TRUE, err);
}

static int btrfs_snapshot_delete(DriverPool *pool, const DriverVolume *snapshot, Error **err)
{
	gboolean nested;
	if (!subvolume_is(snapshot->path))
		return 0;
	if (subvolume_has_nested(snapshot->path, &nested, err) < 0 || !nested)
		return subvolume_delete(snapshot->path, nested ? NULL : err);
	g_autofree char *gone = beside(pool, snapshot);
	if (make_beside(pool, snapshot, err) < 0 || subvolume_delete(gone, err) < 0 ||
	    move_sealed(snapshot->path, gone, err) < 0)
		return -1;
	int result = subvolume_delete(gone, err);
	remove_beside(pool, snapshot);
	return result;
}

static int btrfs_snapshot_rename(
    DriverPool *pool, const DriverVolume *snapshot, const char *new_name, Error **err)
{
	g_autofree char *to =
	    driver_path(pool->path, snapshot->type, snapshot->place, snapshot->name, new_name);
	if (renameat2(AT_FDCWD, snapshot->path, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return 0;
	return error_errno(err, errno == EEXIST ? ERROR_EXISTS : ERROR_INTERNAL, errno,
	    "Cannot rename snapshot \"%s\" to \"%s\"", snapshot->snapshot, new_name);
}

/* A writable copy changes places with the volume, which then goes. */
static int btrfs_snapshot_restore(DriverPool *pool, const DriverVolume *snapshot, Error **err)
{
	g_autofree char *path =
	    driver_path(pool->path, snapshot->type, PLACE_OWN, snapshot->name, NULL);
	g_autofree char *fresh =
	    driver_path(pool->path, snapshot->type, PLACE_UNFINISHED, snapshot->name, NULL);
	SubvolumeUsage usage;
	if (subvolume_usage(path, &usage, err) < 0 || subvolume_delete(fresh, err) < 0 ||
	    subvolume_snapshot(snapshot->path, fresh, FALSE, err) < 0)
		return -1;
	int result = usage.limit > 0 ? subvolume_set_limit(fresh, usage.limit, err) : 0;
	if (result == 0 && renameat2(AT_FDCWD, fresh, AT_FDCWD, path, RENAME_EXCHANGE) < 0)
		result = error_errno(err, ERROR_INTERNAL, errno, "Cannot replace \"%s\"", path);
	return subvolume_delete(fresh, result == 0 ? err : NULL) < 0 ? -1 : result;
}

const StorageDriver driver_btrfs = {
	.name = "btrfs",
	.probe = btrfs_probe,
	.pool_prepare = btrfs_pool_prepare,
	.pool_create = btrfs_pool_create,
	.pool_delete = btrfs_pool_delete,
	.pool_mount = btrfs_pool_mount,
	.pool_unmount = btrfs_pool_unmount,
	.pool_update = btrfs_pool_update,
	.pool_resources = driver_path_resources,
	.volume_create = btrfs_volume_create,
	.volume_delete = btrfs_volume_delete,
	.volume_rename = driver_path_rename,
	.volume_clone = btrfs_volume_clone,
	.volume_usage = btrfs_volume_usage,
	.volume_set_size = btrfs_volume_set_size,
	.snapshot_create = btrfs_snapshot_create,
	.snapshot_delete = btrfs_snapshot_delete,
	.snapshot_rename = btrfs_snapshot_rename,
	.snapshot_restore = btrfs_snapshot_restore,
	.volume_send = btrfs_volume_send,
	.volume_receive = btrfs_volume_receive,
	.backup_send = btrfs_backup_send,
	.backup_receive = btrfs_backup_receive,
	.backup_begin = btrfs_backup_begin,
	.backup_end = btrfs_backup_end,
	.backup_place = btrfs_backup_place,
};
