#include "sdk/base/file.h"
#include "sdk/base/log.h"
#include "sdk/base/own.h"
#include "server/db/db.h"
#include "server/storage/pool_private.h"
#include "server/storage/volume.h"
#include <errno.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>

static const VolumeType types[] = { VOLUME_CONTAINER, VOLUME_IMAGE, VOLUME_CUSTOM, VOLUME_MACHINE };

static int make_folder(const Pool *pool, const char *prefix, const char *folder, const char *suffix, Error **err)
{
	g_autofree char *path = g_strconcat(pool->path, "/", prefix, folder, suffix, NULL);
	return file_mkdir_all(path, 0711, err);
}

/* ext4 puts a directory near its parent, and new files near their directory: there it steps over every
 * inode that was freed in the last minutes, one by one, which makes a volume's creation ten times slower
 * on a busy pool. Told that the children are unrelated (`chattr +T`) it spreads them over the disk. Other
 * file systems refuse the flag. */
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
		const char *folder = volume_folder(types[i]);
		if (make_folder(pool, "", folder, "", err) < 0 || make_unfinished_folder(pool, folder, err) < 0 ||
		    make_folder(pool, "deleted/", folder, "", err) < 0)
			return -1;
		if (types[i] != VOLUME_IMAGE && make_folder(pool, "", folder, "-snapshots", err) < 0)
			return -1;
	}
	return make_folder(pool, "", "buckets", "", err);
}

typedef struct RowsCall {
	Pool *pool;
	GPtrArray *volumes;
} RowsCall;

static int rows_tx(Tx *tx, void *data, Error **err)
{
	RowsCall *call = data;
	g_ptr_array_set_size(call->volumes, 0);
	g_autoptr(Rows) rows = NULL;
	if (tx_query(tx, &rows, err,
		"SELECT v.type, p.name, v.name FROM storage_volumes v JOIN projects p ON p.id = v.project_id"
		" WHERE v.storage_pool_id = ?", "i", call->pool->id) < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0)
		g_ptr_array_add(call->volumes,
		    volume_new(call->pool, (VolumeType)rows_int(rows, 0), rows_text(rows, 1), rows_text(rows, 2)));
	return more;
}

static gboolean exists(const char *path)
{
	return g_file_test(path, G_FILE_TEST_IS_DIR);
}

/* A row whose tree is not in its place: it was being moved in, or out and the row is still there. */
static int settle(Pool *pool, const Volume *volume, Error **err)
{
	if (!exists(volume->path)) {
		const VolumePlace from[] = { PLACE_UNFINISHED, PLACE_DELETED };
		for (size_t i = 0; i < G_N_ELEMENTS(from); i++) {
			g_autofree char *path = volume_path(pool, volume, from[i]);
			if (exists(path) && volume_move(pool, volume, from[i], PLACE_OWN, err) < 0)
				return -1;
		}
	}
	if (!exists(volume->path)) {
		log_warn("Storage volume has no data", "pool", pool->name, "volume", volume->disk_name);
		return 0;
	}
	gboolean root = volume->type == VOLUME_CONTAINER || volume->type == VOLUME_MACHINE;
	return root ? volume_link(pool, volume, err) : 0;
}

/* What is still in these places after the rows were settled belongs to nobody. */
static int sweep(Pool *pool, const char *place, VolumeType type, Error **err)
{
	g_autofree char *folder = g_strdup_printf("%s/%s/%s", pool->path, place, volume_folder(type));
	autodir DIR *dir = opendir(folder);
	for (struct dirent *d; dir && (d = readdir(dir));) {
		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		/* In project "default" the name on disk is the name; a driver looks only at that. */
		g_autofree char *path = g_build_filename(folder, d->d_name, NULL);
		g_autoptr(DriverCall) call = driver_call_new(pool, NULL, PLACE_OWN, NULL);
		DriverVolume volume = { .type = type, .name = d->d_name, .path = path, .config = call->empty };
		log_info("Removing what an interrupted change left", "pool", pool->name, "path", path);
		if (pool->driver->volume_delete(&call->pool, &volume, err) < 0)
			return -1;
	}
	return 0;
}

int pool_repair(Pool *pool, Error **err)
{
	g_autoptr(GPtrArray) volumes = g_ptr_array_new_with_free_func((GDestroyNotify)volume_free);
	RowsCall call = { .pool = pool, .volumes = volumes };
	if (db_read(pool->daemon->db, rows_tx, &call, err) < 0)
		return -1;
	for (guint i = 0; i < volumes->len; i++)
		if (settle(pool, volumes->pdata[i], err) < 0)
			return -1;
	for (size_t i = 0; i < G_N_ELEMENTS(types); i++)
		if (sweep(pool, "unfinished", types[i], err) < 0 || sweep(pool, "deleted", types[i], err) < 0)
			return -1;
	return 0;
}
