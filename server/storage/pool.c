#include "server/storage/pool.h"
#include "sdk/base/file.h"
#include "sdk/base/log.h"
#include "server/db/db.h"
#include "server/storage/pool_private.h"
#include "server/storage/volume.h"
#include "server/warning/warning.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

Pool *pool_new(Daemon *d, int64_t id, const char *name, const char *driver, const char *description,
    Config *config)
{
	Pool *pool = g_new0(Pool, 1);
	pool->refs = 1;
	pool->daemon = d;
	pool->id = id;
	pool->name = g_strdup(name);
	pool->path = g_strdup_printf("%s/storage-pools/%s", d->dir, name);
	pool->loop_file = g_strdup_printf("%s/disks/%s.img", d->dir, name);
	pool->driver_name = g_strdup(driver);
	pool->description = g_strdup(description);
	pool->config = config_copy(config);
	pool->status = "Pending";
	pool->locks = volume_locks_new();
	pool->mounts = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	pool->passed_on = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	g_mutex_init(&pool->lock);
	g_cond_init(&pool->unmounted);
	g_mutex_init(&pool->mounting);
	return pool;
}

Pool *pool_ref(Pool *pool)
{
	g_atomic_int_inc(&pool->refs);
	return pool;
}

void pool_unref(Pool *pool)
{
	if (!pool || !g_atomic_int_dec_and_test(&pool->refs))
		return;
	g_free(pool->name);
	g_free(pool->path);
	g_free(pool->loop_file);
	g_free(pool->driver_name);
	g_free(pool->description);
	g_hash_table_unref(pool->config);
	g_hash_table_unref(pool->mounts);
	g_hash_table_unref(pool->passed_on);
	volume_locks_free(pool->locks);
	g_cond_clear(&pool->unmounted);
	g_mutex_clear(&pool->lock);
	g_mutex_clear(&pool->mounting);
	g_free(pool);
}

Daemon *pool_daemon(const Pool *pool)
{
	return pool->daemon;
}

const char *pool_name(const Pool *pool)
{
	return pool->name;
}

const char *pool_driver(const Pool *pool)
{
	return pool->driver_name;
}

int64_t pool_id(const Pool *pool)
{
	return pool->id;
}

const char *pool_path(const Pool *pool)
{
	return pool->path;
}

const char *pool_status(const Pool *pool)
{
	return pool->status;
}

void pool_set_status(Pool *pool, const char *status)
{
	pool->status = status;
}

int64_t pool_member(const Pool *pool)
{
	return 1;
}

Config *pool_config(Pool *pool)
{
	g_mutex_lock(&pool->lock);
	Config *config = config_copy(pool->config);
	g_mutex_unlock(&pool->lock);
	return config;
}

gboolean pool_snapshots_at_once(const Pool *pool)
{
	return pool->driver && pool->driver->snapshot_create;
}

int pool_get(Daemon *d, const char *name, Pool **ret_pool, Error **err)
{
	g_mutex_lock(&d->pools->lock);
	Pool *pool = g_hash_table_lookup(d->pools->pools, name);
	if (pool)
		*ret_pool = pool_ref(pool);
	g_mutex_unlock(&d->pools->lock);
	return pool ? 0 : error_set(err, ERROR_NOT_FOUND, "Storage pool not found");
}

void pool_table_add(PoolTable *table, Pool *pool)
{
	g_mutex_lock(&table->lock);
	g_hash_table_replace(table->pools, pool->name, pool);
	g_mutex_unlock(&table->lock);
}

void pool_table_remove(PoolTable *table, const char *name)
{
	g_mutex_lock(&table->lock);
	g_hash_table_remove(table->pools, name);
	g_mutex_unlock(&table->lock);
}

GPtrArray *pool_list(Daemon *d)
{
	GPtrArray *list = g_ptr_array_new_with_free_func((GDestroyNotify)pool_unref);
	g_mutex_lock(&d->pools->lock);
	g_autoptr(GList) pools = g_hash_table_get_values(d->pools->pools);
	for (GList *l = pools; l; l = l->next)
		g_ptr_array_add(list, pool_ref(l->data));
	g_mutex_unlock(&d->pools->lock);
	return list;
}

int pool_open(Pool *pool, Error **err)
{
	if (file_mkdir_all(pool->path, 0711, err) < 0)
		return -1;
	g_autoptr(DriverCall) call = driver_call_new(pool, NULL, PLACE_OWN, NULL);
	return pool->driver->pool_mount(&call->pool, err) < 0 ? -1 : pool_make_folders(pool, err);
}

typedef struct LoadCall {
	Daemon *daemon;
	GPtrArray *pools;
} LoadCall;

static int load_rows(Tx *tx, LoadCall *load, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	if (tx_query(tx, &rows, err,
		"SELECT id, name, driver, coalesce(description, ''), state FROM storage_pools ORDER BY name",
		"") < 0)
		return -1;
	g_autoptr(Config) none = config_new();
	int more;
	while ((more = rows_next(rows, err)) > 0) {
		Pool *pool = pool_new(load->daemon, rows_int(rows, 0), rows_text(rows, 1),
		    rows_text(rows, 2), rows_text(rows, 3), none);
		pool->pending = rows_int(rows, 4) == POOL_ROW_PENDING;
		g_ptr_array_add(load->pools, pool);
	}
	return more;
}

static int load_tx(Tx *tx, void *data, Error **err)
{
	LoadCall *load = data;
	g_ptr_array_set_size(load->pools, 0);
	if (load_rows(tx, load, err) < 0)
		return -1;
	g_autoptr(Rows) rows = NULL;
	if (tx_query(tx, &rows, err,
		"SELECT storage_pool_id, key, value FROM storage_pools_config WHERE node_id IS NULL OR node_id = ?",
		"i", (int64_t)1) < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0)
		for (guint i = 0; i < load->pools->len; i++) {
			Pool *pool = load->pools->pdata[i];
			if (pool->id == rows_int(rows, 0))
				config_set(pool->config, rows_text(rows, 1), rows_text(rows, 2));
		}
	return more;
}

/* Its creation was interrupted. What it has is only what was made then: pool_prepare() saw to that.
 */
static int discard_pending(Pool *pool, Error **err)
{
	g_autoptr(DriverCall) call = driver_call_new(pool, NULL, PLACE_OWN, NULL);
	log_info("Removing a storage pool whose creation was interrupted", "pool", pool->name);
	pool->driver->pool_mount(&call->pool, NULL); /* it may not have come so far */
	return pool_discard(pool, err);
}

/* FALSE: it is no pool any more. */
static gboolean start_pool(Pool *pool)
{
	g_autoptr(Error) err = NULL;
	gboolean fine = driver_find(pool->driver_name, &pool->driver, &err) == 0;
	if (fine && pool->pending && discard_pending(pool, &err) == 0)
		return FALSE;
	fine = fine && !err && pool_open(pool, &err) == 0 && pool_repair(pool, &err) == 0;
	if (!fine)
		log_error("Storage pool not available", "pool", pool->name, "err", err->message);
	pool->status = fine ? "Created" : "Unavailable";
	warning_report(pool->daemon, WARNING_POOL_UNAVAILABLE, WARNING_ENTITY_POOL, pool->id, NULL,
	    fine ? NULL : err->message);
	return TRUE;
}

static int make_top_folders(Daemon *d, Error **err)
{
	static const char *const folders[] = { "storage-pools", "containers",
		"containers-snapshots", "custom", "custom-snapshots", "virtual-machines",
		"virtual-machines-snapshots" };
	for (size_t i = 0; i < G_N_ELEMENTS(folders); i++) {
		g_autofree char *path = g_build_filename(d->dir, folders[i], NULL);
		if (file_mkdir_all(path, 0711, err) < 0)
			return -1;
	}
	return 0;
}

/* Links to volumes that an interrupted deletion or rename took away. Those of volumes were made
 * again. */
static void remove_dangling(Daemon *d, const char *folder)
{
	g_autofree char *path = g_build_filename(d->dir, folder, NULL);
	g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
	for (const char *name; dir && (name = g_dir_read_name(dir));) {
		g_autofree char *link = g_build_filename(path, name, NULL);
		if (g_file_test(link, G_FILE_TEST_IS_SYMLINK) &&
		    !g_file_test(link, G_FILE_TEST_EXISTS))
			unlink(link);
	}
}

int pool_table_start(Daemon *d, Error **err)
{
	g_autoptr(GPtrArray) pools = g_ptr_array_new();
	LoadCall load = { .daemon = d, .pools = pools };
	g_ptr_array_set_free_func(pools, (GDestroyNotify)pool_unref);
	if (make_top_folders(d, err) < 0 || db_read(d->db, load_tx, &load, err) < 0)
		return error_prefix(err, "Cannot load storage pools");
	PoolTable *table = g_new0(PoolTable, 1);
	g_mutex_init(&table->lock);
	g_mutex_init(&table->change);
	table->pools = g_hash_table_new_full(
	    g_str_hash, g_str_equal, NULL, (GDestroyNotify)pool_unref);
	d->pools = table;
	/* Before: those of volumes without snapshots point at nothing. */
	remove_dangling(d, "containers-snapshots");
	remove_dangling(d, "virtual-machines-snapshots");
	for (guint i = 0; i < pools->len; i++) {
		if (start_pool(pools->pdata[i]))
			pool_table_add(table, pool_ref(pools->pdata[i]));
	}
	remove_dangling(d, "containers");
	remove_dangling(d, "virtual-machines");
	return 0;
}

static void stop_pool(Pool *pool)
{
	if (!pool->driver)
		return;
	g_autoptr(DriverCall) call = driver_call_new(pool, NULL, PLACE_OWN, NULL);
	Error *err = NULL;
	if (pool->driver->pool_unmount(&call->pool, &err) == 0)
		return;
	log_warn("Storage pool not unmounted", "pool", pool->name, "err", err->message);
	error_free(err);
}

void pool_table_stop(Daemon *d)
{
	if (!d->pools)
		return;
	GHashTableIter iter;
	void *pool;
	g_hash_table_iter_init(&iter, d->pools->pools);
	while (g_hash_table_iter_next(&iter, NULL, &pool))
		stop_pool(pool);
	g_hash_table_unref(d->pools->pools);
	g_mutex_clear(&d->pools->lock);
	g_mutex_clear(&d->pools->change);
	g_clear_pointer(&d->pools, g_free);
}
