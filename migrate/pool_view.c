#include "migrate/pool_view.h"
#include "sdk/base/file.h"
#include <unistd.h>

struct PoolView {
	Db *db;
	char *name, *driver_name, *path, *loop_file;
	Config *config, *volume_config;
	DriverPool pool;
	char *volume_name, *volume_path;
	DriverVolume volume; /* the one that is entered */
	int64_t id;
};

static void view_free(PoolView *view)
{
	g_free(view->name);
	g_free(view->driver_name);
	g_free(view->path);
	g_free(view->loop_file);
	g_free(view->volume_name);
	g_free(view->volume_path);
	g_hash_table_unref(view->config);
	g_hash_table_unref(view->volume_config);
	g_free(view);
}

static int read_pool(Tx *tx, void *data, Error **err)
{
	PoolView *view = data;
	g_autoptr(Rows) rows = NULL;
	if (tx_query(tx, &rows, err,
		"SELECT p.driver, c.key, c.value FROM storage_pools p"
		" LEFT JOIN storage_pools_config c ON c.storage_pool_id = p.id WHERE p.name = ?",
		"s", view->name) < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0) {
		g_free(view->driver_name);
		view->driver_name = g_strdup(rows_text(rows, 0));
		if (!rows_null(rows, 1))
			config_set(view->config, rows_text(rows, 1), rows_text(rows, 2));
	}
	return more;
}

static int open_pool(PoolView *view, Error **err)
{
	if (db_read(view->db, read_pool, view, err) < 0)
		return -1;
	if (!view->driver_name)
		return error_set(err, ERROR_NOT_FOUND, "There is no such storage pool");
	const StorageDriver *driver;
	if (driver_find(view->driver_name, &driver, err) < 0 ||
	    file_mkdir_all(view->path, 0711, err) < 0)
		return -1;
	view->pool = (DriverPool){ .driver = driver,
		.name = view->name,
		.path = view->path,
		.loop_file = view->loop_file,
		.config = view->config };
	return driver->pool_mount(&view->pool, err);
}

int pool_view_open(
    const char *directory, Db *db, const char *name, PoolView **ret_view, Error **err)
{
	PoolView *view = g_new0(PoolView, 1);
	view->db = db;
	view->name = g_strdup(name);
	view->path = g_build_filename(directory, "storage-pools", name, NULL);
	view->loop_file = g_strdup_printf("%s/disks/%s.img", directory, name);
	view->config = config_new();
	view->volume_config = config_new();
	if (open_pool(view, err) < 0) {
		if (view->pool.driver) /* what was made of it by then */
			view->pool.driver->pool_unmount(&view->pool, NULL);
		view_free(view);
		return error_prefix(err, "Storage pool \"%s\"", name);
	}
	*ret_view = view;
	return 0;
}

int pool_view_close(PoolView *view, Error **err)
{
	if (!view)
		return 0;
	int result = pool_view_leave(view, err);
	if (view->pool.driver->pool_unmount(&view->pool, result == 0 ? err : NULL) < 0)
		result = -1;
	view_free(view);
	return result;
}

/* ---- volumes ---- */

static int read_volume(Tx *tx, void *data, Error **err)
{
	PoolView *view = data;
	g_autoptr(Rows) rows = NULL;
	g_hash_table_remove_all(view->volume_config);
	if (tx_query(tx, &rows, err,
		"SELECT key, value FROM storage_volumes_config WHERE storage_volume_id = ?", "i",
		view->id) < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0)
		config_set(view->volume_config, rows_text(rows, 0), rows_text(rows, 1));
	return more;
}

static gboolean is_there(PoolView *view)
{
	const StorageDriver *driver = view->pool.driver;
	return driver->volume_exists ? driver->volume_exists(&view->pool, &view->volume) :
				       access(view->volume_path, F_OK) == 0;
}

int pool_view_enter(PoolView *view, VolumeType type, const char *name, int64_t id,
    const char **ret_path, Error **err)
{
	const StorageDriver *driver = view->pool.driver;
	if (pool_view_leave(view, err) < 0)
		return -1;
	view->id = id;
	if (db_read(view->db, read_volume, view, err) < 0)
		return -1;
	view->volume_name = g_strdup(name);
	view->volume_path = driver_path(view->path, type, PLACE_OWN, name, NULL);
	view->volume = (DriverVolume){ .type = type,
		.content = CONTENT_FILESYSTEM,
		.name = view->volume_name,
		.path = view->volume_path,
		.config = view->volume_config };
	gboolean there = is_there(view);
	if (there && driver->volume_mount &&
	    driver->volume_mount(&view->pool, &view->volume, err) < 0)
		return error_prefix(err, "Volume \"%s\" of storage pool \"%s\"", name, view->name);
	*ret_path = there ? view->volume_path : NULL;
	return 0;
}

int pool_view_leave(PoolView *view, Error **err)
{
	const StorageDriver *driver = view->pool.driver;
	if (view->volume_path && driver->volume_unmount &&
	    driver->volume_unmount(&view->pool, &view->volume, err) < 0)
		return -1;
	g_clear_pointer(&view->volume_name, g_free);
	g_clear_pointer(&view->volume_path, g_free);
	return 0;
}
