#include "server/storage/snapshot.h"
#include "sdk/base/fault.h"
#include "sdk/base/file.h"
#include "sdk/base/log.h"
#include "sdk/base/own.h"
#include "server/storage/filesystem.h"
#include "server/storage/pool_private.h"
#include "server/storage/shift.h"
#include "server/storage/spread.h"
#include "server/storage/volume_build.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- data: the driver's way, else trees that are copied beside and renamed into place ---- */

/* The folder that holds a volume's snapshots in a place. */
static char *snapshots_folder(Pool *pool, const Volume *snapshot, VolumePlace place)
{
	return driver_path(pool->path, snapshot->type, place, snapshot->disk_name, "");
}

static int make_folder(Pool *pool, const Volume *snapshot, VolumePlace place, Error **err)
{
	g_autofree char *folder = snapshots_folder(pool, snapshot, place);
	return file_mkdir_all(folder, 0711, err);
}

/* An empty one says nothing. */
static void remove_folder(Pool *pool, const Volume *snapshot, VolumePlace place)
{
	g_autofree char *folder = snapshots_folder(pool, snapshot, place);
	rmdir(folder);
}

static int rename_tree(const char *from, const char *to, Error **err)
{
	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return 0;
	return error_errno(err, ERROR_INTERNAL, errno, "Cannot move \"%s\" to \"%s\"", from, to);
}

/* An empty directory, whatever was there; `beside` as for spread_mkdir(). */
static int make_partial(const char *partial, const char *beside, Error **err)
{
	if (file_remove_all(AT_FDCWD, partial, err) < 0)
		return -1;
	return spread_mkdir(partial, beside) == 0 ?
	    0 :
	    error_errno(err, ERROR_INTERNAL, errno, "Cannot create \"%s\"", partial);
}

/* `from` is copied to `partial`, which then becomes `to`: it is there whole or not at all. */
static int copy_into_place(
    const char *from, const char *partial, const char *beside, const char *to, Error **err)
{
	if (make_partial(partial, beside, err) < 0)
		return -1;
	if (volume_copy_tree(from, partial, NULL, err) == 0 && rename_tree(partial, to, err) == 0)
		return 0;
	file_remove_all(AT_FDCWD, partial, NULL);
	return -1;
}

static int data_create(Pool *pool, const Volume *snapshot, VolumePlace place, Error **err)
{
	g_autoptr(DriverCall) call = driver_call_new(pool, snapshot, place, NULL);
	Volume volume = *snapshot;
	volume.snapshot = NULL;
	g_autofree char *from = volume_path(pool, &volume, place);
	if (make_folder(pool, snapshot, place, err) < 0 ||
	    (pool->driver->volume_block_path && filesystem_flush(from, err) < 0))
		return -1;
	if (pool->driver->snapshot_create)
		return pool->driver->snapshot_create(&call->pool, &call->volume, err);
	g_autofree char *partial = volume_path(pool, snapshot, PLACE_DELETED);
	g_autofree char *beside = volume_path(pool, &volume, PLACE_UNFINISHED);
	if (make_folder(pool, snapshot, PLACE_DELETED, err) < 0)
		return -1;
	int result = copy_into_place(from, partial, beside, call->path, err);
	remove_folder(pool, snapshot, PLACE_DELETED);
	return result;
}

static int data_delete(Pool *pool, const Volume *snapshot, Error **err)
{
	g_autoptr(DriverCall) call = driver_call_new(pool, snapshot, PLACE_OWN, NULL);
	int result = 0;
	if (pool->driver->snapshot_delete) {
		result = pool->driver->snapshot_delete(&call->pool, &call->volume, err);
	} else if (access(call->path, F_OK) == 0) {
		g_autofree char *gone = volume_path(pool, snapshot, PLACE_DELETED);
		spread_removing(call->path);
		result = make_folder(pool, snapshot, PLACE_DELETED, err) < 0 ||
			rename_tree(call->path, gone, err) < 0 ||
			file_remove_all(AT_FDCWD, gone, err) < 0 ?
		    -1 :
		    0;
		remove_folder(pool, snapshot, PLACE_DELETED);
	}
	if (result == 0)
		remove_folder(pool, snapshot, PLACE_OWN);
	return result;
}

static int data_rename(Pool *pool, const Volume *snapshot, const char *new_name, Error **err)
{
	g_autoptr(DriverCall) call = driver_call_new(pool, snapshot, PLACE_OWN, NULL);
	if (pool->driver->snapshot_rename)
		return pool->driver->snapshot_rename(&call->pool, &call->volume, new_name, err);
	g_autofree char *folder = snapshots_folder(pool, snapshot, PLACE_OWN);
	g_autofree char *to = g_build_filename(folder, new_name, NULL);
	return rename_tree(call->path, to, err);
}

/* A copy of the snapshot's tree is made beside and changes places with the volume's. */
static int restore_tree(Pool *pool, const Volume *volume, const Volume *snapshot, Error **err)
{
	g_autofree char *from = volume_path(pool, snapshot, PLACE_OWN);
	g_autofree char *partial = volume_path(pool, volume, PLACE_UNFINISHED);
	if (make_partial(partial, partial, err) < 0)
		return -1;
	int result = volume_copy_tree(from, partial, NULL, err);
	if (result == 0 &&
	    renameat2(AT_FDCWD, partial, AT_FDCWD, volume->path, RENAME_EXCHANGE) < 0)
		result = error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot replace \"%s\"", volume->path);
	spread_removing(partial);
	if (file_remove_all(AT_FDCWD, partial, result == 0 ? err : NULL) < 0)
		return -1;
	return result;
}

/* ---- with rows and locks ---- */

int snapshot_create(Pool *pool, const Volume *volume, const char *name, const char *description,
    const Moment *expires, Error **err)
{
	g_autoptr(VolumeLock) lock = volume_lock(pool->locks, volume->path, FALSE);
	g_autoptr(Volume) snapshot = volume_snapshot(pool, volume, name);
	g_autoptr(Config) config = NULL;
	if (volume_row_find(pool, volume, NULL, &config, err) < 0 ||
	    shift_check(pool, volume, err) < 0)
		return -1;
	SnapshotRow row = { .name = (char *)name,
		.description = (char *)description,
		.expires = *expires,
		.config = config };
	if (snapshot_row_insert(pool, volume, &row, err) < 0)
		return -1;
	if (data_create(pool, snapshot, PLACE_OWN, err) == 0)
		return 0;
	snapshot_row_delete(pool, volume, name, NULL);
	remove_folder(pool, snapshot, PLACE_OWN);
	return -1;
}

int snapshot_begin(Pool *pool, const Volume *volume, const char *name, Error **err)
{
	g_autoptr(Volume) snapshot = volume_snapshot(pool, volume, name);
	return data_create(pool, snapshot, PLACE_UNFINISHED, err);
}

int snapshot_data_create(Pool *pool, const Volume *snapshot, Error **err)
{
	return data_create(pool, snapshot, PLACE_OWN, err);
}

int snapshot_delete(Pool *pool, const Volume *volume, const char *name, Error **err)
{
	g_autoptr(VolumeLock) lock = volume_lock(pool->locks, volume->path, FALSE);
	g_autoptr(Volume) snapshot = volume_snapshot(pool, volume, name);
	if (snapshot_row_find(pool, volume, name, NULL, err) < 0)
		return -1;
	if (!volume_wait_unmounted(pool, snapshot))
		return error_set(err, ERROR_BUSY, "Snapshot \"%s\" is in use", name);
	return data_delete(pool, snapshot, err) < 0 ? -1 :
						      snapshot_row_delete(pool, volume, name, err);
}

/* Under the intent, which the row's new name takes away. */
static int rename_data_and_row(Pool *pool, const Volume *volume, const Volume *snapshot,
    const Volume *renamed, PoolAlso also, void *data, Error **err)
{
	if (data_rename(pool, snapshot, renamed->snapshot, err) < 0) {
		volume_row_set(pool, volume, VOLUME_SNAPSHOT_INTENT, NULL, NULL);
		return -1;
	}
	if (fault_point("snapshot renamed", err) == 0 &&
	    snapshot_row_rename(
		pool, volume, snapshot->snapshot, renamed->snapshot, also, data, err) == 0)
		return 0;
	if (data_rename(pool, renamed, snapshot->snapshot, NULL) == 0)
		volume_row_set(pool, volume, VOLUME_SNAPSHOT_INTENT, NULL, NULL);
	return -1;
}

int snapshot_rename(Pool *pool, const Volume *volume, const char *name, const char *new_name,
    PoolAlso also, void *data, Error **err)
{
	g_autoptr(VolumeLock) lock = volume_lock(pool->locks, volume->path, FALSE);
	g_autoptr(Volume) snapshot = volume_snapshot(pool, volume, name);
	g_autoptr(Volume) renamed = volume_snapshot(pool, volume, new_name);
	g_autofree char *intent = g_strdup_printf("%s/%s", name, new_name);
	if (!volume_wait_unmounted(pool, snapshot))
		return error_set(err, ERROR_BUSY, "Snapshot \"%s\" is in use", name);
	if (snapshot_row_find(pool, volume, name, NULL, err) < 0)
		return -1;
	if (snapshot_row_find(pool, volume, new_name, NULL, NULL) == 0 ||
	    volume_exists(pool, renamed, PLACE_OWN))
		return error_set(err, ERROR_EXISTS, "Snapshot \"%s\" already in use", new_name);
	return volume_row_set(pool, volume, VOLUME_SNAPSHOT_INTENT, intent, err) < 0 ?
	    -1 :
	    rename_data_and_row(pool, volume, snapshot, renamed, also, data, err);
}

/* Rows of snapshots that the driver had to remove to go back to an older one. */
static int forget_lost(Pool *pool, const Volume *volume, Error **err)
{
	g_autoptr(GPtrArray) rows = NULL, names = NULL;
	if (snapshot_row_list(pool, volume, &rows, err) < 0 ||
	    snapshot_list_data(pool, volume, &names, err) < 0)
		return -1;
	for (guint i = 0; i < rows->len; i++) {
		const SnapshotRow *row = rows->pdata[i];
		if (!g_ptr_array_find_with_equal_func(names, row->name, g_str_equal, NULL) &&
		    snapshot_row_delete(pool, volume, row->name, err) < 0)
			return -1;
	}
	return 0;
}

static int restore_data(Pool *pool, const Volume *volume, const Volume *snapshot, Error **err)
{
	if (!pool->driver->snapshot_restore)
		return restore_tree(pool, volume, snapshot, err);
	g_autoptr(DriverCall) call = driver_call_load(pool, snapshot, PLACE_OWN);
	if (pool->driver->snapshot_restore(&call->pool, &call->volume, err) < 0)
		return -1;
	return pool->driver->snapshot_list ? forget_lost(pool, volume, err) : 0;
}

/* A root volume's keys go back with it; its size is the root disk's. */
static int restore_row(Pool *pool, const Volume *volume, const SnapshotRow *row, Error **err)
{
	static const char *const kept[] = { "size", VOLUME_INTENT, VOLUME_SNAPSHOT_INTENT,
		VOLUME_MOVING };
	g_autoptr(Config) now = NULL;
	g_autoptr(Config) config = config_copy(row->config);
	g_autofree char *description = NULL;
	if (volume_row_find(pool, volume, NULL, &now, err) < 0 ||
	    volume_row_description(pool, volume, &description, err) < 0)
		return -1;
	for (size_t n = 0; n < G_N_ELEMENTS(kept); n++)
		config_set(config, kept[n], config_get(now, kept[n]));
	return volume_row_update(pool, volume, description, config, err);
}

static int restore_whole(Pool *pool, const Volume *volume, const SnapshotRow *row, Error **err)
{
	g_autoptr(Volume) snapshot = volume_snapshot(pool, volume, row->name);
	if (restore_data(pool, volume, snapshot, err) < 0)
		return -1;
	return volume->type == VOLUME_CUSTOM ? 0 : restore_row(pool, volume, row, err);
}

/* Files and disk of a machine are set back one after the other. Who is told of a failure decides
 * what comes next: no start does. */
static int restore_halves(Pool *pool, const Volume *volume, const SnapshotRow *row, Error **err)
{
	if (volume_row_set(pool, volume, VOLUME_RESTORE_INTENT, row->name, err) < 0)
		return -1;
	int result = restore_whole(pool, volume, row, err);
	if (result < 0)
		volume_row_set(pool, volume, VOLUME_RESTORE_INTENT, NULL, NULL);
	return result;
}

int snapshot_restore(Pool *pool, const Volume *volume, const char *name, Error **err)
{
	g_autoptr(VolumeLock) lock = volume_lock(pool->locks, volume->path, FALSE);
	g_autoptr(SnapshotRow) row = NULL;
	if (!volume_wait_unmounted(pool, volume))
		return error_set(err, ERROR_BUSY, "Storage volume \"%s\" is in use", volume->name);
	if (snapshot_row_find(pool, volume, name, &row, err) < 0 ||
	    shift_check(pool, volume, err) < 0)
		return -1;
	return pool->driver->one && volume->type == VOLUME_MACHINE ?
	    restore_halves(pool, volume, row, err) :
	    restore_whole(pool, volume, row, err);
}

int snapshot_mount(Pool *pool, const Volume *volume, const char *name, char **ret_path, Error **err)
{
	g_autoptr(Volume) snapshot = volume_snapshot(pool, volume, name);
	if (snapshot_row_find(pool, volume, name, NULL, err) < 0 ||
	    volume_mount(pool, snapshot, err) < 0)
		return -1;
	if (ret_path)
		*ret_path = g_strdup(snapshot->path);
	return 0;
}

int snapshot_unmount(Pool *pool, const Volume *volume, const char *name, Error **err)
{
	g_autoptr(Volume) snapshot = volume_snapshot(pool, volume, name);
	return volume_unmount(pool, snapshot, err);
}

int snapshot_usage(
    Pool *pool, const Volume *volume, const char *name, int64_t *ret_used, Error **err)
{
	g_autoptr(Volume) snapshot = volume_snapshot(pool, volume, name);
	int64_t total;
	return volume_usage(pool, snapshot, ret_used, &total, err);
}

/* ---- what a crash left ---- */

typedef struct Known {
	int64_t id;
	Volume *volume;
	char *name;
	char *intent, *restore; /* of the volume; "" mostly */
} Known;

static void known_free(void *data)
{
	Known *known = data;
	volume_free(known->volume);
	g_free(known->name);
	g_free(known->intent);
	g_free(known->restore);
	g_free(known);
}

typedef struct RepairCall {
	Pool *pool;
	GPtrArray *known; /* Known, by volume */
	GArray *lost;     /* ids of rows */
} RepairCall;

static int known_tx(Tx *tx, void *data, Error **err)
{
	RepairCall *call = data;
	g_ptr_array_set_size(call->known, 0);
	g_autoptr(Rows) rows = NULL;
	if (tx_query(tx, &rows, err,
		"SELECT s.id, v.type, p.name, v.name, s.name, v.content_type, coalesce(c.value, ''), coalesce(r.value, '')"
		" FROM storage_volumes_snapshots s"
		" JOIN storage_volumes v ON v.id = s.storage_volume_id JOIN projects p ON p.id = v.project_id"
		" LEFT JOIN storage_volumes_config c ON c.storage_volume_id = v.id"
		" AND c.key = '" VOLUME_SNAPSHOT_INTENT "'"
		" LEFT JOIN storage_volumes_config r ON r.storage_volume_id = v.id"
		" AND r.key = '" VOLUME_RESTORE_INTENT "'"
		" WHERE v.storage_pool_id = ? ORDER BY v.id",
		"i", call->pool->id) < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0) {
		Known *known = g_new0(Known, 1);
		known->id = rows_int(rows, 0);
		known->volume = volume_new(call->pool, (VolumeType)rows_int(rows, 1),
		    rows_text(rows, 2), rows_text(rows, 3));
		known->name = g_strdup(rows_text(rows, 4));
		known->volume->content = (VolumeContent)rows_int(rows, 5);
		known->intent = g_strdup(rows_text(rows, 6));
		known->restore = g_strdup(rows_text(rows, 7));
		g_ptr_array_add(call->known, known);
	}
	return more;
}

static int forget_tx(Tx *tx, void *data, Error **err)
{
	RepairCall *call = data;
	for (guint i = 0; i < call->lost->len; i++)
		if (tx_exec(tx, err, "DELETE FROM storage_volumes_snapshots WHERE id = ?", "i",
			g_array_index(call->lost, int64_t, i)) < 0)
			return -1;
	return 0;
}

int snapshot_list_data(Pool *pool, const Volume *volume, GPtrArray **ret_names, Error **err)
{
	g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
	g_autoptr(DriverCall) call = driver_call_new(pool, volume, PLACE_OWN, NULL);
	if (pool->driver->snapshot_list) {
		if (pool->driver->snapshot_list(&call->pool, &call->volume, names, err) < 0)
			return -1;
	} else {
		g_autofree char *folder = driver_path(
		    pool->path, volume->type, PLACE_OWN, volume->disk_name, "");
		g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
		for (const char *name; dir && (name = g_dir_read_name(dir));)
			g_ptr_array_add(names, g_strdup(name));
	}
	*ret_names = g_steal_pointer(&names);
	return 0;
}

/* A snapshot whose renaming was cut off keeps its old name: the intent goes with the row's. */
static int undo_rename(Pool *pool, const Known *known, Error **err)
{
	g_auto(GStrv) names = g_strsplit(known->intent, "/", 2);
	if (g_strv_length(names) == 2) {
		g_autoptr(Volume) renamed = volume_snapshot(pool, known->volume, names[1]);
		if (volume_exists(pool, renamed, PLACE_OWN) &&
		    data_rename(pool, renamed, names[0], err) < 0)
			return -1;
	}
	return volume_row_set(pool, known->volume, VOLUME_SNAPSHOT_INTENT, NULL, err);
}

static int restore_again(Pool *pool, const Known *known, Error **err)
{
	g_autoptr(SnapshotRow) row = NULL;
	g_autoptr(Error) error = NULL;
	log_info("Restoring a snapshot, which was cut off", "pool", pool->name, "volume",
	    known->volume->disk_name, "snapshot", known->restore);
	if (snapshot_row_find(pool, known->volume, known->restore, &row, &error) == 0 &&
	    restore_whole(pool, known->volume, row, &error) == 0)
		return 0;
	log_error("A snapshot is restored in part: restore it again", "pool", pool->name, "volume",
	    known->volume->disk_name, "snapshot", known->restore, "err", error->message);
	return volume_row_set(pool, known->volume, VOLUME_RESTORE_INTENT, NULL, err);
}

static int undo_or_finish(Pool *pool, const Known *known, Error **err)
{
	return (*known->intent && undo_rename(pool, known, err) < 0) ||
		(*known->restore && restore_again(pool, known, err) < 0) ?
	    -1 :
	    0;
}

static int find_lost(RepairCall *call, Error **err)
{
	g_autoptr(GHashTable) there = NULL;
	const char *path = "";
	for (guint i = 0; i < call->known->len; i++) {
		Known *known = call->known->pdata[i];
		if (strcmp(path, known->volume->path) != 0) {
			g_autoptr(GPtrArray) names = NULL;
			if (undo_or_finish(call->pool, known, err) < 0 ||
			    snapshot_list_data(call->pool, known->volume, &names, err) < 0)
				return -1;
			g_clear_pointer(&there, g_hash_table_unref);
			there = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
			for (guint n = 0; n < names->len; n++)
				g_hash_table_add(there, g_strdup(names->pdata[n]));
			path = known->volume->path;
		}
		if (g_hash_table_contains(there, known->name))
			continue;
		log_warn("Removing a snapshot that has no data", "pool", call->pool->name, "volume",
		    known->volume->disk_name, "snapshot", known->name);
		g_autoptr(Volume) snapshot = volume_snapshot(
		    call->pool, known->volume, known->name);
		if (known->volume->type == VOLUME_MACHINE) /* half of a pair is none */
			data_delete(call->pool, snapshot, NULL);
		g_array_append_val(call->lost, known->id);
	}
	return 0;
}

int snapshot_repair(Pool *pool, Error **err)
{
	g_autoptr(GPtrArray) known = g_ptr_array_new_with_free_func(known_free);
	g_autoptr(GArray) lost = g_array_new(FALSE, FALSE, sizeof(int64_t));
	RepairCall call = { .pool = pool, .known = known, .lost = lost };
	if (db_read(pool->daemon->db, known_tx, &call, err) < 0 || find_lost(&call, err) < 0)
		return -1;
	return lost->len ? db_tx(pool->daemon->db, forget_tx, &call, err) : 0;
}
