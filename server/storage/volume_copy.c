#include "server/storage/volume_copy.h"
#include "sdk/base/fault.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "sdk/base/units.h"
#include "server/key/key.h"
#include "server/operation/operation.h"
#include "server/storage/pool_config.h"
#include "server/storage/pool_private.h"
#include "server/storage/snapshot.h"
#include "server/storage/volume_block.h"
#include "server/storage/volume_build.h"
#include "server/storage/volume_relay.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

/* The volume that a snapshot is of, or the volume itself. */
static Volume *whole(const VolumeCopy *copy)
{
	Volume *volume = volume_new(
	    copy->from_pool, copy->from->type, copy->from->project, copy->from->name);
	volume->content = copy->from->content;
	return volume;
}

static gboolean cancelled(void *op)
{
	return op && operation_cancelled(op);
}

/* The tree at `from` replaces what the (mounted) directory holds, but for that name. */
static int sync_tree(
    const char *from, const char *to, const char *without, Operation *op, Error **err)
{
	autofd int source = file_open_directory(from, err);
	autofd int target = source < 0 ? -1 : file_open_directory(to, err);
	FileCopy options = { .cancelled = cancelled, .data = op, .sync = TRUE, .without = without };
	return target < 0 || fault_point("volume copy", err) < 0 ?
	    -1 :
	    file_copy_tree(source, target, &options, err);
}

/* Disks are files in trees, unless a driver has devices for them. */
static gboolean by_device(const VolumeCopy *copy)
{
	return copy->from->content != CONTENT_FILESYSTEM &&
	    (copy->from_pool->driver->volume_block_path ||
		copy->to_pool->driver->volume_block_path);
}

static int sync_device(
    const VolumeCopy *copy, const Volume *source, const char *to, VolumePlace place, Error **err)
{
	g_autofree char *from = volume_block_path(copy->from_pool, source, PLACE_OWN);
	gboolean device = copy->to_pool->driver->volume_block_path != NULL;
	g_autofree char *target = device ? volume_block_path(copy->to_pool, copy->to, place) :
					   volume_block_file(to, source->content);
	int64_t bytes;
	if (volume_block_length(copy->from_pool, source, from, &bytes, err) < 0 ||
	    volume_block_copy(from, target, err) < 0)
		return -1;
	return device || truncate(target, bytes) == 0 ?
	    0 :
	    error_errno(err, ERROR_INTERNAL, errno, "Cannot resize \"%s\"", target);
}

static int sync_content(
    const VolumeCopy *copy, const Volume *source, const char *to, VolumePlace place, Error **err)
{
	g_autofree char *disk = volume_block_file("", source->content);
	if (!by_device(copy))
		return sync_tree(source->path, to, NULL, copy->op, err);
	if (volume_has_tree(source) && sync_tree(source->path, to, disk, copy->op, err) < 0)
		return -1;
	return sync_device(copy, source, to, place, err);
}

/* The content of a volume or snapshot goes to the directory `to`, that of copy->to in `place` or of
 * a snapshot in it. Counted mounts, as somebody may be using the source. */
static int sync_from(
    const VolumeCopy *copy, const Volume *source, const char *to, VolumePlace place, Error **err)
{
	if (volume_mount(copy->from_pool, source, err) < 0)
		return -1;
	int result = sync_content(copy, source, to, place, err);
	if (volume_unmount(copy->from_pool, source, result == 0 ? err : NULL) < 0)
		return -1;
	return result;
}

/* ---- snapshots into a volume that is being made ---- */

/* Where snapshots are trees of their own, each is copied straight into its place. */
static int copy_snapshot_tree(
    const VolumeCopy *copy, const Volume *source, const char *name, VolumePlace place, Error **err)
{
	g_autoptr(Volume) snapshot = volume_snapshot(copy->to_pool, copy->to, name);
	g_autofree char *path = volume_path(copy->to_pool, snapshot, place);
	return file_mkdir_all(path, 0700, err) < 0 ? -1 : sync_from(copy, source, path, place, err);
}

static int lay_snapshots(const VolumeCopy *copy, const char *path, Error **err)
{
	g_autoptr(Volume) volume = whole(copy);
	for (guint n = 0; copy->snapshots && n < copy->snapshots->len; n++) {
		const char *name = copy->snapshots->pdata[n];
		g_autoptr(Volume) source = volume_snapshot(copy->from_pool, volume, name);
		int result;
		if (!copy->to_pool->driver->snapshot_create)
			result = copy_snapshot_tree(copy, source, name, PLACE_UNFINISHED, err);
		else if ((result = sync_from(copy, source, path, PLACE_UNFINISHED, err)) == 0)
			result = snapshot_begin(copy->to_pool, copy->to, name, err);
		if (result < 0)
			return error_prefix(err, "Cannot copy snapshot \"%s\"", name);
	}
	return 0;
}

static int load_rows(const VolumeCopy *copy, GPtrArray *rows, Error **err)
{
	g_autoptr(Volume) volume = whole(copy);
	for (guint n = 0; copy->snapshots && n < copy->snapshots->len; n++) {
		SnapshotRow *row = NULL;
		if (snapshot_row_find(
			copy->from_pool, volume, copy->snapshots->pdata[n], &row, err) < 0)
			return -1;
		g_ptr_array_add(rows, row);
	}
	return 0;
}

static gboolean has_snapshots(const VolumeCopy *copy)
{
	return copy->snapshots && copy->snapshots->len > 0;
}

static int make_data(const VolumeCopy *copy, const Config *config, Error **err)
{
	g_autofree char *path = NULL;
	/* With snapshots of its own making the driver needs the volume's history in order. */
	if (copy->from_pool == copy->to_pool &&
	    (!has_snapshots(copy) || !copy->to_pool->driver->snapshot_create)) {
		if (volume_begin_clone(
			copy->to_pool, copy->from, copy->to, config, copy->op, &path, err) < 0)
			return -1;
		if (lay_snapshots(copy, path, err) == 0)
			return 0;
	} else {
		Error *inner = NULL;
		if (volume_relay(copy, config, &inner) == 0)
			return 0;
		if (inner->kind != ERROR_UNSUPPORTED)
			return error_propagate(err, inner);
		error_free(inner);
		if (volume_begin(copy->to_pool, copy->to, config, &path, err) < 0)
			return -1;
		if (lay_snapshots(copy, path, err) == 0 &&
		    sync_from(copy, copy->from, path, PLACE_UNFINISHED, err) == 0)
			return 0;
	}
	volume_abandon(copy->to_pool, copy->to);
	return -1;
}

static int source_config(const VolumeCopy *copy, Config **ret_config, Error **err)
{
	g_autoptr(SnapshotRow) row = NULL;
	g_autoptr(Volume) volume = whole(copy);
	if (!copy->from->snapshot)
		return volume_row_find(copy->from_pool, volume, NULL, ret_config, err);
	if (snapshot_row_find(copy->from_pool, volume, copy->from->snapshot, &row, err) < 0)
		return -1;
	*ret_config = g_steal_pointer(&row->config);
	return 0;
}

int volume_copy_config(const VolumeCopy *copy, Config **ret_config, Error **err)
{
	if (source_config(copy, ret_config, err) < 0)
		return -1;
	g_autofree char *owners = g_strdup(config_get(*ret_config, VOLUME_OWNERS));
	volume_config_adopt(copy->to_pool->driver_name, *ret_config);
	if (owners && *owners) /* they come along with the files */
		config_set(*ret_config, VOLUME_OWNERS, owners);
	return 0;
}

/* Of a disk the copy has at least the size. */
static int copied_size(const VolumeCopy *copy, Config *config, Error **err)
{
	int64_t wanted = 0, bytes;
	const char *size = config_get(config, "size");
	if (copy->from->content == CONTENT_FILESYSTEM)
		return 0;
	if (volume_mount(copy->from_pool, copy->from, err) < 0)
		return -1;
	g_autofree char *path = volume_block_path(copy->from_pool, copy->from, PLACE_OWN);
	int result = volume_block_length(copy->from_pool, copy->from, path, &bytes, err);
	if (volume_unmount(copy->from_pool, copy->from, result == 0 ? err : NULL) < 0 ||
	    result < 0 || (size && units_parse_bytes(size, &wanted, err) < 0))
		return -1;
	g_autofree char *text = g_strdup_printf("%" PRId64, bytes);
	if (bytes > wanted)
		config_set(config, "size", text);
	return 0;
}

static int copied_config(const VolumeCopy *copy, Config **ret_config, Error **err)
{
	g_autoptr(Config) own = NULL;
	if (volume_copy_config(copy, &own, err) < 0)
		return -1;
	g_autoptr(Config) config = volume_effective_config(
	    copy->to_pool, copy->config ? copy->config : own);
	config_set(config, VOLUME_OWNERS, config_get(own, VOLUME_OWNERS));
	if (copied_size(copy, config, err) < 0)
		return -1;
	*ret_config = g_steal_pointer(&config);
	return 0;
}

int volume_copy(const VolumeCopy *copy, Error **err)
{
	g_autoptr(Config) config = NULL;
	if (copied_config(copy, &config, err) < 0)
		return -1;
	g_autoptr(VolumeLock) lock = volume_lock(copy->to_pool->locks, copy->to->path, FALSE);
	if (volume_exists(copy->to_pool, copy->to, PLACE_OWN))
		return error_set(err, ERROR_EXISTS,
		    "Storage volume \"%s\" already exists on storage pool \"%s\"", copy->to->name,
		    copy->to_pool->name);
	g_autoptr(GPtrArray) rows = g_ptr_array_new_with_free_func(
	    (GDestroyNotify)snapshot_row_free);
	VolumeRows all = { rows, copy->also, copy->data };
	g_autoptr(Config) sized = volume_sized_config(
	    config, copy->from->content == CONTENT_FILESYSTEM ? copy->size : 0);
	if (load_rows(copy, rows, err) < 0 || make_data(copy, sized, err) < 0)
		return -1;
	return volume_finish_rows(
	    copy->to_pool, copy->to, copy->description, config, &all, err);
}

/* ---- refresh ---- */

static int add_snapshot(
    const VolumeCopy *copy, const Volume *volume, const char *name, const char *path, Error **err)
{
	g_autoptr(Volume) source = volume_snapshot(copy->from_pool, volume, name);
	g_autoptr(Volume) snapshot = volume_snapshot(copy->to_pool, copy->to, name);
	g_autoptr(SnapshotRow) row = NULL;
	if (snapshot_row_find(copy->from_pool, volume, name, &row, err) < 0 ||
	    snapshot_row_insert(copy->to_pool, copy->to, row, err) < 0)
		return -1;
	int result = sync_from(copy, source, path, PLACE_OWN, err);
	if (result == 0)
		result = snapshot_data_create(copy->to_pool, snapshot, err);
	if (result < 0)
		snapshot_row_delete(copy->to_pool, copy->to, name, NULL);
	return result;
}

int volume_refresh(const VolumeCopy *copy, const GPtrArray *gone, Error **err)
{
	g_autoptr(Volume) volume = whole(copy);
	g_autofree char *path = g_strdup(copy->to->path);
	for (guint n = 0; gone && n < gone->len; n++)
		if (snapshot_delete(copy->to_pool, copy->to, gone->pdata[n], err) < 0)
			return -1;
	if (!volume_wait_unmounted(copy->to_pool, copy->to))
		return error_set(
		    err, ERROR_BUSY, "Storage volume \"%s\" is in use", copy->to->name);
	if (volume_mount(copy->to_pool, copy->to, err) < 0)
		return -1;
	int result = 0;
	for (guint n = 0; result == 0 && copy->snapshots && n < copy->snapshots->len; n++)
		result = add_snapshot(copy, volume, copy->snapshots->pdata[n], path, err);
	if (result == 0)
		result = sync_from(copy, copy->from, path, PLACE_OWN, err);
	if (volume_unmount(copy->to_pool, copy->to, result == 0 ? err : NULL) < 0)
		return -1;
	return result;
}
