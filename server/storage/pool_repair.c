#include "sdk/base/file.h"
#include "sdk/base/log.h"
#include "sdk/base/own.h"
#include "server/db/db.h"
#include "server/storage/custom_copy.h"
#include "server/storage/custom_volume.h"
#include "server/storage/pool_private.h"
#include "server/storage/shift.h"
#include "server/storage/snapshot.h"
#include <errno.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const VolumeType types[] = { VOLUME_CONTAINER, VOLUME_IMAGE, VOLUME_CUSTOM, VOLUME_MACHINE };

static int make_folder(
    const Pool *pool, const char *prefix, const char *folder, const char *suffix, Error **err)
{
	g_autofree char *path = g_strconcat(pool->path, "/", prefix, folder, suffix, NULL);
	return file_mkdir_all(path, 0711, err);
}

/* ext4 puts a directory near its parent, and new files near their directory: there it steps over
 * every inode that was freed in the last minutes, one by one, which makes a volume's creation ten
 * times slower on a busy pool. Told that the children are unrelated (`chattr +T`) it spreads them
 * over the disk. Other file systems refuse the flag. */
static int spread_children(const char *path, Error **err)
{
	int flags = 0;
	autofd int fd = file_open_directory(path, err);
	if (fd < 0)
		return -1;
	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0 || (flags & FS_TOPDIR_FL))
		return 0;
	flags |= FS_TOPDIR_FL;
	if (ioctl(fd, FS_IOC_SETFLAGS, &flags) < 0)
		log_debug("Volumes are not spread", "path", path, "err", g_strerror(errno));
	return 0;
}

/* Where volumes are made; finished, they move with their inodes. */
static int make_unfinished_folder(const Pool *pool, const char *folder, Error **err)
{
	g_autofree char *path = g_strconcat(pool->path, "/unfinished/", folder, NULL);
	return file_mkdir_all(path, 0711, err) < 0 ? -1 : spread_children(path, err);
}

int pool_make_folders(Pool *pool, Error **err)
{
	for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
		const char *folder = driver_folder(types[i]);
		if (make_folder(pool, "", folder, "", err) < 0 ||
		    make_unfinished_folder(pool, folder, err) < 0 ||
		    make_folder(pool, "deleted/", folder, "", err) < 0)
			return -1;
		if (types[i] != VOLUME_IMAGE &&
		    (make_folder(pool, "", folder, "-snapshots", err) < 0 ||
			make_folder(pool, "unfinished/", folder, "-snapshots", err) < 0 ||
			make_folder(pool, "deleted/", folder, "-snapshots", err) < 0))
			return -1;
	}
	return make_folder(pool, "", "buckets", "", err);
}

void pool_remove_folders(Pool *pool)
{
	static const char *const tops[] = { "unfinished/", "deleted/", "" },
				 *const suffixes[] = { "", "-snapshots" };
	for (size_t t = 0; t < G_N_ELEMENTS(tops); t++) {
		for (size_t i = 0; i < G_N_ELEMENTS(types) * G_N_ELEMENTS(suffixes); i++) {
			g_autofree char *path = g_strconcat(pool->path, "/", tops[t],
			    driver_folder(types[i / 2]), suffixes[i % 2], NULL);
			rmdir(path);
		}
		g_autofree char *top = g_strconcat(
		    pool->path, "/", *tops[t] ? tops[t] : "buckets", NULL);
		rmdir(top);
	}
}

typedef struct RowsCall {
	Pool *pool;
	GPtrArray *volumes, *renames; /* of volumes[i]: the name it was to get, "" mostly */
} RowsCall;

static int rows_tx(Tx *tx, void *data, Error **err)
{
	RowsCall *call = data;
	g_ptr_array_set_size(call->volumes, 0);
	g_ptr_array_set_size(call->renames, 0);
	g_autoptr(Rows) rows = NULL;
	if (tx_query(tx, &rows, err,
		"SELECT v.type, p.name, v.name, v.content_type, coalesce(c.value, '') FROM storage_volumes v"
		" JOIN projects p ON p.id = v.project_id LEFT JOIN storage_volumes_config c"
		" ON c.storage_volume_id = v.id AND c.key = '" VOLUME_INTENT "'"
		" WHERE v.storage_pool_id = ?",
		"i", call->pool->id) < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0) {
		Volume *volume = volume_new(call->pool, (VolumeType)rows_int(rows, 0),
		    rows_text(rows, 1), rows_text(rows, 2));
		volume->content = (VolumeContent)rows_int(rows, 3);
		g_ptr_array_add(call->volumes, volume);
		g_ptr_array_add(call->renames, g_strdup(rows_text(rows, 4)));
	}
	return more;
}

/* As the driver's volume_mend(). */
static int mend(Pool *pool, const Volume *volume, const Volume *elsewhere, VolumePlace place,
    Error **err)
{
	if (!pool->driver->volume_mend)
		return 0;
	g_autoptr(DriverCall) own = driver_call_new(pool, volume, PLACE_OWN, NULL);
	g_autoptr(DriverCall) other = driver_call_new(pool, elsewhere, place, NULL);
	return pool->driver->volume_mend(&own->pool, &own->volume, &other->volume, err);
}

/* A volume whose renaming was interrupted keeps its old name. */
static int undo_rename(Pool *pool, const Volume *volume, const char *intent, Error **err)
{
	const char *slash = strchr(intent, '/');
	g_autofree char *project = slash ? g_strndup(intent, (gsize)(slash - intent)) :
					   g_strdup(volume->project);
	g_autoptr(Volume) renamed = volume_new(
	    pool, volume->type, project, slash ? slash + 1 : intent);
	renamed->content = volume->content;
	if (mend(pool, volume, renamed, PLACE_OWN, err) < 0)
		return -1;
	if (!volume_exists(pool, volume, PLACE_OWN) && volume_exists(pool, renamed, PLACE_OWN)) {
		g_autoptr(DriverCall) from = driver_call_new(pool, renamed, PLACE_OWN, NULL);
		g_autoptr(DriverCall) to = driver_call_new(pool, volume, PLACE_OWN, NULL);
		if (pool->driver->volume_rename(&from->pool, &from->volume, &to->volume, err) < 0)
			return -1;
	}
	if (volume->type == VOLUME_CONTAINER || volume->type == VOLUME_MACHINE)
		volume_unlink(pool, renamed);
	return volume_row_set(pool, volume, VOLUME_INTENT, NULL, err);
}

/* The volume moves first, so that its snapshots may still be where it was. */
static int move_snapshots(Pool *pool, const Volume *volume, Error **err)
{
	if (pool->driver->snapshot_list) {
		g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
		g_autoptr(DriverCall) call = driver_call_new(pool, volume, PLACE_UNFINISHED, NULL);
		if (pool->driver->snapshot_list(&call->pool, &call->volume, names, err) < 0)
			return -1;
		return names->len && !volume_exists(pool, volume, PLACE_UNFINISHED)
		    ? volume_move(pool, volume, PLACE_UNFINISHED, PLACE_OWN, err) : 0;
	}
	g_autofree char *from = driver_path(
	    pool->path, volume->type, PLACE_UNFINISHED, volume->disk_name, "");
	g_autofree char *to = driver_path(
	    pool->path, volume->type, PLACE_OWN, volume->disk_name, "");
	rmdir(to);
	if (rename(from, to) < 0 && errno != ENOENT)
		log_warn("Snapshots left behind", "pool", pool->name, "path", from, "err",
		    strerror(errno));
	return 0;
}

/* A row whose tree is not in its place: it was being moved in, or out and the row is still there.
 */
static int settle(Pool *pool, const Volume *volume, Error **err)
{
	const VolumePlace from[] = { PLACE_UNFINISHED, PLACE_DELETED };
	int alone = 1;
	for (size_t i = 0; i < G_N_ELEMENTS(from) && alone > 0; i++)
		alone = mend(pool, volume, volume, from[i], err);
	if (alone < 0)
		return -1;
	for (size_t i = 0; i < G_N_ELEMENTS(from) && !volume_exists(pool, volume, PLACE_OWN); i++)
		if (volume_exists(pool, volume, from[i]) &&
		    volume_move(pool, volume, from[i], PLACE_OWN, err) < 0)
			return -1;
	if (!volume_exists(pool, volume, PLACE_OWN)) {
		log_warn(
		    "Storage volume has no data", "pool", pool->name, "volume", volume->disk_name);
		return 0;
	}
	if (move_snapshots(pool, volume, err) < 0)
		return -1;
	gboolean root = volume->type == VOLUME_CONTAINER || volume->type == VOLUME_MACHINE;
	return root ? volume_link(pool, volume, err) : 0;
}

static void list_folder(GHashTable *names, char *folder)
{
	g_autofree char *path = folder;
	g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
	for (const char *name; dir && (name = g_dir_read_name(dir));)
		g_hash_table_add(names, g_strdup(name));
}

int pool_list_place(Pool *pool, VolumeType type, VolumePlace place, GHashTable *names, Error **err)
{
	if (!pool->driver->volume_list) {
		list_folder(names, driver_path(pool->path, type, place, "", NULL));
		list_folder(names, driver_path(pool->path, type, place, "", ""));
		return 0;
	}
	g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(g_free);
	g_autoptr(DriverCall) call = driver_call_new(pool, NULL, place, NULL);
	if (pool->driver->volume_list(&call->pool, type, place, list, err) < 0)
		return -1;
	for (guint i = 0; i < list->len; i++)
		g_hash_table_add(names, g_strdup(list->pdata[i]));
	return 0;
}

/* What is still in these places after the rows were settled belongs to nobody. */
static int sweep(Pool *pool, VolumeType type, VolumePlace place, Error **err)
{
	g_autoptr(GHashTable) names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	if (pool_list_place(pool, type, place, names, err) < 0)
		return -1;
	GHashTableIter iter;
	void *name;
	g_hash_table_iter_init(&iter, names);
	while (g_hash_table_iter_next(&iter, &name, NULL)) {
		g_autofree char *path = driver_path(pool->path, type, place, name, NULL);
		g_autoptr(DriverCall) call = driver_call_new(pool, NULL, place, NULL);
		DriverVolume volume = { .type = type,
			.place = place,
			.name = name,
			.path = path,
			.config = call->empty,
			.content = type == VOLUME_MACHINE ? CONTENT_BLOCK : CONTENT_FILESYSTEM };
		log_info(
		    "Removing what an interrupted change left", "pool", pool->name, "path", path);
		if (pool->driver->volume_delete(&call->pool, &volume, err) < 0)
			return -1;
	}
	return 0;
}

int pool_repair(Pool *pool, Error **err)
{
	g_autoptr(GPtrArray) volumes = g_ptr_array_new_with_free_func((GDestroyNotify)volume_free);
	g_autoptr(GPtrArray) renames = g_ptr_array_new_with_free_func(g_free);
	RowsCall call = { .pool = pool, .volumes = volumes, .renames = renames };
	if (db_read(pool->daemon->db, rows_tx, &call, err) < 0)
		return -1;
	for (guint i = 0; i < volumes->len; i++) {
		const char *new_name = renames->pdata[i];
		if ((*new_name && undo_rename(pool, volumes->pdata[i], new_name, err) < 0) ||
		    settle(pool, volumes->pdata[i], err) < 0)
			return -1;
	}
	for (size_t i = 0; i < G_N_ELEMENTS(types); i++)
		if (sweep(pool, types[i], PLACE_UNFINISHED, err) < 0 ||
		    sweep(pool, types[i], PLACE_DELETED, err) < 0)
			return -1;
	if (snapshot_repair(pool, err) < 0 || custom_move_repair(pool, err) < 0)
		return -1;
	custom_owners_repair(pool);
	/* Those of containers are finished by who knows them. */
	g_ptr_array_unref(shift_interrupted(pool, VOLUME_CONTAINER));
	return 0;
}
