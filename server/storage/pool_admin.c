#include "server/storage/pool_admin.h"
#include "sdk/base/file.h"
#include "sdk/base/log.h"
#include "sdk/base/names.h"
#include "server/db/db.h"
#include "server/storage/image_volume.h"
#include "server/storage/pool_config.h"
#include "server/storage/pool_private.h"
#include "server/storage/pool_used.h"
#include "server/storage/volume.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

typedef struct RowCall {
	const char *name, *driver, *description;
	const Config *config;
	int64_t id;
} RowCall;

static int write_config(Tx *tx, const RowCall *call, Error **err)
{
	if (tx_exec(tx, err, "DELETE FROM storage_pools_config WHERE storage_pool_id = ?", "i",
		call->id) < 0)
		return -1;
	guint n;
	g_autofree const char **keys = config_sorted_keys(call->config, &n);
	for (guint i = 0; i < n; i++) {
		const char *value = config_get(call->config, keys[i]);
		int r = pool_config_is_local(call->driver, keys[i]) ?
		    tx_exec(tx, err,
			"INSERT INTO storage_pools_config (storage_pool_id, node_id, key, value) VALUES (?, ?, ?, ?)",
			"iiss", call->id, (int64_t)1, keys[i], value) :
		    tx_exec(tx, err,
			"INSERT INTO storage_pools_config (storage_pool_id, key, value) VALUES (?, ?, ?)",
			"iss", call->id, keys[i], value);
		if (r < 0)
			return -1;
	}
	return 0;
}

static int insert_tx(Tx *tx, void *data, Error **err)
{
	RowCall *call = data;
	if (tx_insert(tx, &call->id, err,
		"INSERT INTO storage_pools (name, driver, description, state) VALUES (?, ?, ?, ?)",
		"sssi", call->name, call->driver, call->description,
		(int64_t)POOL_ROW_PENDING) < 0 ||
	    tx_exec(tx, err,
		"INSERT INTO storage_pools_nodes (storage_pool_id, node_id, state) VALUES (?, ?, ?)",
		"iii", call->id, (int64_t)1, (int64_t)POOL_ROW_PENDING) < 0)
		return -1;
	return write_config(tx, call, err);
}

/* The pool is there: its row says so from now on. */
static int created_tx(Tx *tx, void *data, Error **err)
{
	RowCall *call = data;
	if (tx_exec(tx, err, "UPDATE storage_pools SET state = ? WHERE id = ?", "ii",
		(int64_t)POOL_ROW_CREATED, call->id) < 0 ||
	    tx_exec(tx, err,
		"UPDATE storage_pools_nodes SET state = ? WHERE storage_pool_id = ? AND node_id = ?",
		"iii", (int64_t)POOL_ROW_CREATED, call->id, (int64_t)1) < 0)
		return -1;
	return write_config(tx, call, err);
}

static int update_tx(Tx *tx, void *data, Error **err)
{
	RowCall *call = data;
	if (tx_exec(tx, err, "UPDATE storage_pools SET description = ? WHERE id = ?", "si",
		call->description, call->id) < 0)
		return -1;
	return write_config(tx, call, err);
}

static int delete_tx(Tx *tx, void *data, Error **err)
{
	RowCall *call = data;
	return tx_exec(tx, err, "DELETE FROM storage_pools WHERE id = ?", "i", call->id);
}

int pool_discard(Pool *pool, Error **err)
{
	g_autoptr(DriverCall) call = driver_call_new(pool, NULL, PLACE_OWN, NULL);
	if (pool->driver->pool_delete(&call->pool, err) < 0)
		return -1;
	pool_remove_folders(pool);
	if (rmdir(pool->path) < 0 && errno != ENOENT)
		log_warn(
		    "Storage pool directory stays", "pool", pool->name, "err", g_strerror(errno));
	RowCall row = { .id = pool->id };
	return db_tx(pool->daemon->db, delete_tx, &row, err);
}

/* The row is there, pending: from here a crash is cleaned up by the next start. */
static int build(Pool *pool, DriverCall *call, RowCall *row, Error **err)
{
	if (file_mkdir_all(pool->path, 0711, err) < 0 ||
	    pool->driver->pool_create(&call->pool, err) < 0)
		return -1;
	g_hash_table_unref(pool->config);
	row->config = pool->config = config_copy(call->config);
	return pool_open(pool, err) < 0 ? -1 : db_tx(pool->daemon->db, created_tx, row, err);
}

static int create_locked(Daemon *d, const char *name, const StorageDriver *driver,
    const char *description, const Config *config, Error **err)
{
	g_autoptr(Pool) known = NULL;
	if (pool_get(d, name, &known, NULL) == 0)
		return error_set(err, ERROR_EXISTS, "The storage pool already exists");
	g_autoptr(Pool) pool = pool_new(d, 0, name, driver->name, description, (Config *)config);
	pool->driver = driver;
	const char *source = config_get(config, "source");
	if (source)
		config_set(pool->config, "volatile.initial_source", source);
	g_autoptr(DriverCall) call = driver_call_new(pool, NULL, PLACE_OWN, NULL);
	if (driver->pool_prepare(&call->pool, err) < 0)
		return -1;
	RowCall row = { .name = name,
		.driver = driver->name,
		.description = pool->description,
		.config = call->config };
	if (db_tx(d->db, insert_tx, &row, err) < 0)
		return -1;
	pool->id = row.id;
	if (build(pool, call, &row, err) < 0) {
		Error *left = NULL;
		if (pool_discard(pool, &left) == 0)
			return -1;
		log_warn("Storage pool not removed; the next start tries again", "pool", name,
		    "err", left->message);
		error_free(left);
		return -1;
	}
	pool->status = "Created";
	pool_table_add(d->pools, pool_ref(pool));
	return 0;
}

static int adopt_tx(Tx *tx, void *data, Error **err)
{
	return insert_tx(tx, data, err) < 0 ? -1 : created_tx(tx, data, err);
}

static int adopt_locked(Pool *pool, RowCall *row, Error **err)
{
	g_autoptr(Pool) known = NULL;
	if (pool_get(pool->daemon, pool->name, &known, NULL) == 0)
		return error_set(err, ERROR_EXISTS, "The storage pool already exists");
	if (pool_make_folders(pool, err) < 0 || db_tx(pool->daemon->db, adopt_tx, row, err) < 0)
		return -1;
	pool->id = row->id;
	pool->status = "Created";
	pool_table_add(pool->daemon->pools, pool_ref(pool));
	return 0;
}

int pool_adopt(Pool *pool, const char *description, const Config *config, Error **err)
{
	PoolTable *table = pool->daemon->pools;
	g_free(pool->description);
	pool->description = g_strdup(description);
	g_hash_table_unref(pool->config);
	pool->config = config_copy(config);
	RowCall row = { .name = pool->name,
		.driver = pool->driver_name,
		.description = pool->description,
		.config = pool->config };
	g_mutex_lock(&table->change);
	int result = adopt_locked(pool, &row, err);
	g_mutex_unlock(&table->change);
	return result;
}

int pool_create(Daemon *d, const char *name, const char *driver_name, const char *description,
    const Config *config, Error **err)
{
	const StorageDriver *driver;
	if (name_check_pool(name, err) < 0)
		return error_prefix(err, "Invalid storage pool name");
	if (!driver_name || !*driver_name)
		return error_set(err, ERROR_INVALID, "No driver provided");
	if (driver_find(driver_name, &driver, err) < 0 ||
	    pool_config_check(driver_name, config, err) < 0)
		return -1;
	g_mutex_lock(&d->pools->change);
	int r = create_locked(d, name, driver, description ? description : "", config, err);
	g_mutex_unlock(&d->pools->change);
	return r;
}

/* Keys that stay as they are: taken over when left out, refused when changed. */
static int keep_fixed(const char *driver, const Config *old, Config *config, Error **err)
{
	guint n;
	g_autofree const char **keys = config_sorted_keys(old, &n);
	for (guint i = 0; i < n; i++) {
		if (!pool_config_is_fixed(driver, keys[i]))
			continue;
		const char *value = config_get(config, keys[i]);
		if (value && strcmp(value, config_get(old, keys[i])) != 0)
			return error_set(err, ERROR_INVALID,
			    "Storage pool option \"%s\" cannot be changed", keys[i]);
		config_set(config, keys[i], config_get(old, keys[i]));
	}
	return 0;
}

static int update_locked(Pool *pool, const char *description, const Config *config, Error **err)
{
	g_autoptr(Config) old = pool_config(pool);
	g_autoptr(Config) wanted = config_copy(config);
	if (config_get(wanted, "source") && !config_get(old, "source"))
		return error_set(
		    err, ERROR_INVALID, "Storage pool option \"source\" cannot be changed");
	if (keep_fixed(pool->driver_name, old, wanted, err) < 0 ||
	    pool_config_check(pool->driver_name, wanted, err) < 0)
		return -1;
	if (pool->driver && pool->driver->pool_update) {
		g_autoptr(DriverCall) call = driver_call_new(pool, NULL, PLACE_OWN, NULL);
		call->pool.config = wanted;
		if (pool->driver->pool_update(&call->pool, old, err) < 0)
			return -1;
	}
	RowCall row = { .id = pool->id,
		.driver = pool->driver_name,
		.description = description ? description : "",
		.config = wanted };
	if (db_tx(pool->daemon->db, update_tx, &row, err) < 0)
		return -1;
	g_mutex_lock(&pool->lock);
	g_free(pool->description);
	pool->description = g_strdup(row.description);
	g_hash_table_unref(pool->config);
	pool->config = g_steal_pointer(&wanted);
	g_mutex_unlock(&pool->lock);
	return 0;
}

int pool_update(Pool *pool, const char *description, const Config *config, Error **err)
{
	PoolTable *table = pool->daemon->pools;
	g_mutex_lock(&table->change);
	int r = update_locked(pool, description, config, err);
	g_mutex_unlock(&table->change);
	return r;
}

static int delete_locked(Daemon *d, Pool *pool, Error **err)
{
	gboolean used;
	g_autoptr(GPtrArray) images = NULL;
	if (pool_used_check(d, pool->name, &used, &images, err) < 0)
		return -1;
	if (used)
		return error_set(err, ERROR_INVALID, "The storage pool is currently in use");
	RowCall row = { .id = pool->id };
	if (!pool->driver)
		return db_tx(d->db, delete_tx, &row, err);
	for (guint i = 0; i < images->len; i++)
		if (image_volume_delete(pool, images->pdata[i], err) < 0)
			return -1;
	return pool_discard(pool, err);
}

int pool_delete(Daemon *d, const char *name, Error **err)
{
	g_mutex_lock(&d->pools->change);
	g_autoptr(Pool) pool = NULL;
	int r = pool_get(d, name, &pool, err);
	if (r == 0)
		r = delete_locked(d, pool, err);
	if (r == 0)
		pool_table_remove(d->pools, name);
	g_mutex_unlock(&d->pools->change);
	return r;
}

char *pool_description(Pool *pool)
{
	g_mutex_lock(&pool->lock);
	char *description = g_strdup(pool->description);
	g_mutex_unlock(&pool->lock);
	return description;
}

static int compare_pools(const void *a, const void *b)
{
	return strcmp((*(Pool *const *)a)->name, (*(Pool *const *)b)->name);
}

static void render(
    Pool *pool, const GPtrArray *used, gboolean with_config, Arena *arena, Pb__StoragePool *out)
{
	g_autofree char *description = pool_description(pool);
	out->name = arena_strdup(arena, pool->name);
	out->driver = arena_strdup(arena, pool->driver_name);
	out->description = arena_strdup(arena, description);
	out->status = arena_strdup(arena, pool->status);
	if (with_config) {
		g_autoptr(Config) config = pool_config(pool);
		config_to_map(config, arena, &pb__storage_pool__config_entry__descriptor,
		    &out->n_config, &out->config);
	}
	out->n_used_by = used ? used->len : 0;
	out->used_by = arena_alloc(arena, (out->n_used_by + 1) * sizeof(char *));
	for (guint i = 0; i < out->n_used_by; i++)
		out->used_by[i] = arena_strdup(arena, used->pdata[i]);
	out->n_locations = 1;
	out->locations = arena_alloc(arena, sizeof(char *));
	out->locations[0] = arena_strdup(arena, "none");
}

int pool_describe(Daemon *d, const char *name, gboolean with_config, Arena *arena, size_t *ret_n,
    Pb__StoragePool ***ret_pools, Error **err)
{
	g_autoptr(GPtrArray) pools = NULL;
	if (name) {
		Pool *pool;
		if (pool_get(d, name, &pool, err) < 0)
			return -1;
		pools = g_ptr_array_new_with_free_func((GDestroyNotify)pool_unref);
		g_ptr_array_add(pools, pool);
	} else {
		pools = pool_list(d);
		g_ptr_array_sort(pools, compare_pools);
	}
	g_autoptr(GHashTable) used = NULL;
	if (pool_used_load(d, name, &used, err) < 0)
		return -1;
	*ret_n = pools->len;
	*ret_pools = arena_alloc(arena, (pools->len + 1) * sizeof(void *));
	for (guint i = 0; i < pools->len; i++) {
		Pool *pool = pools->pdata[i];
		Pb__StoragePool *out = arena_message(arena, Pb__StoragePool, pb__storage_pool);
		render(pool, g_hash_table_lookup(used, pool->name), with_config, arena, out);
		(*ret_pools)[i] = out;
	}
	return 0;
}

int pool_resources(Pool *pool, Arena *arena, Pb__ResourcesStoragePool *ret, Error **err)
{
	if (!pool->driver || strcmp(pool->status, "Created") != 0)
		return error_set(
		    err, ERROR_UNAVAILABLE, "Storage pool \"%s\" is not available", pool->name);
	DriverResources resources;
	g_autoptr(DriverCall) call = driver_call_new(pool, NULL, PLACE_OWN, NULL);
	if (pool->driver->pool_resources(&call->pool, &resources, err) < 0)
		return -1;
	ret->space = arena_message(
	    arena, Pb__ResourcesStoragePoolSpace, pb__resources_storage_pool_space);
	ret->space->used = resources.space_used;
	ret->space->total = resources.space_total;
	ret->inodes = arena_message(
	    arena, Pb__ResourcesStoragePoolInodes, pb__resources_storage_pool_inodes);
	ret->inodes->used = resources.inodes_used;
	ret->inodes->total = resources.inodes_total;
	return 0;
}
