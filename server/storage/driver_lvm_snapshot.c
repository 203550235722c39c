#include "server/storage/driver_lvm_private.h"
#include "server/storage/filesystem.h"
#include <unistd.h>

/* Thin snapshots are volumes like others. Thick ones hold what their origin had where it was
 * written since. */

int lvm_snapshot_create(DriverPool *pool, const DriverVolume *snapshot, Error **err)
{
	g_autofree char *from = lvm_name_of(snapshot, snapshot->place, NULL),
			*name = lvm_name(snapshot);
	return lvm_snapshot(pool, from, name, err);
}

int lvm_snapshot_delete(DriverPool *pool, const DriverVolume *snapshot, Error **err)
{
	g_autofree char *name = lvm_name(snapshot);
	if (filesystem_unmount(snapshot->path, err) < 0)
		return -1;
	rmdir(snapshot->path);
	Error *inner = NULL;
	if (lvm_remove(pool, name, &inner) == 0)
		return 0;
	if (lvm_volume_exists(lvm_pool_group(pool), name))
		return error_propagate(err, inner);
	error_free(inner);
	return 0;
}

int lvm_snapshot_rename(
    DriverPool *pool, const DriverVolume *snapshot, const char *new_name, Error **err)
{
	g_autofree char *name = lvm_name(snapshot),
			*to = lvm_name_of(snapshot, snapshot->place, new_name);
	rmdir(snapshot->path);
	return lvm_rename(pool, name, to, err);
}

/* A copy of the snapshot takes the volume's place. Cut off in between, the start finds it
 * unfinished and moves it there, or finds both and removes it. */
static int restore_thin(DriverPool *pool, const DriverVolume *snapshot, Error **err)
{
	g_autofree char *name = lvm_name(snapshot),
			*volume = lvm_name_of(snapshot, PLACE_OWN, NULL);
	g_autofree char *fresh = lvm_name_of(snapshot, PLACE_UNFINISHED, NULL),
			*old = lvm_name_of(snapshot, PLACE_DELETED, NULL);
	if (lvm_volume_exists(lvm_pool_group(pool), fresh) && lvm_remove(pool, fresh, err) < 0)
		return -1;
	if (lvm_snapshot(pool, name, fresh, err) < 0)
		return -1;
	if (lvm_rename(pool, volume, old, err) < 0) {
		lvm_remove(pool, fresh, NULL);
		return -1;
	}
	if (lvm_rename(pool, fresh, volume, err) < 0) {
		lvm_rename(pool, old, volume, NULL);
		lvm_remove(pool, fresh, NULL);
		return -1;
	}
	return lvm_remove(pool, old, err);
}

/* Merging writes the snapshot back into its origin and uses it up, so that it is made again. LVM
 * goes on with an interrupted merge by itself. */
static int restore_thick(DriverPool *pool, const DriverVolume *snapshot, Error **err)
{
	g_autofree char *name = lvm_name(snapshot),
			*volume = lvm_name_of(snapshot, PLACE_OWN, NULL);
	g_autofree char *lv = g_strdup_printf("%s/%s", lvm_pool_group(pool), name);
	g_autofree char *origin = g_strdup_printf("%s/%s", lvm_pool_group(pool), volume);
	if (lvm_run(err, "lvchange", "-y", "-ay", "-K", origin, NULL) < 0 ||
	    lvm_run(err, "lvconvert", "-y", "--interval", "1", "--merge", lv, NULL) < 0 ||
	    lvm_snapshot(pool, volume, name, err) < 0)
		return -1;
	return 0;
}

/* The snapshot may be of a time when the volume was smaller. */
static int keep_size(DriverPool *pool, const DriverVolume *snapshot, int64_t bytes, Error **err)
{
	DriverVolume volume = *snapshot;
	volume.snapshot = NULL;
	g_autofree char *name = lvm_name(&volume);
	g_autofree char *path = driver_path(
	    pool->path, volume.type, volume.place, volume.name, NULL);
	g_autoptr(LvmVolume) now = NULL;
	volume.path = path;
	if (lvm_volume_find(lvm_pool_group(pool), name, &now, err) < 0)
		return -1;
	/* Merging leaves a thick volume's size as it is, but not that of the file system in it. */
	return now->bytes < bytes || !lvm_pool_thin(pool) ?
	    lvm_volume_grow(pool, &volume, now, bytes, err) :
	    0;
}

int lvm_snapshot_restore(DriverPool *pool, const DriverVolume *snapshot, Error **err)
{
	g_autofree char *name = lvm_name_of(snapshot, snapshot->place, NULL);
	g_autoptr(LvmVolume) before = NULL;
	if (lvm_volume_find(lvm_pool_group(pool), name, &before, err) < 0 ||
	    (lvm_pool_thin(pool) ? restore_thin(pool, snapshot, err) :
				   restore_thick(pool, snapshot, err)) < 0)
		return -1;
	return keep_size(pool, snapshot, before->bytes, err);
}
