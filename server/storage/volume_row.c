#include "server/project/project.h"
#include "server/storage/volume.h"
#include "server/storage/pool_private.h"

/* One transaction on one volume's row; every function below fills what its statement needs. */
typedef struct RowCall {
	Pool *pool;
	const Volume *volume;
	const Volume *renamed;
	const char *description, *key, *value;
	const Config *config;
	gboolean want_config;
	int64_t id, content;
	Config *loaded;
	char *text;
	PoolAlso also;
	void *also_data;
} RowCall;

static int find_id(Tx *tx, RowCall *call, Error **err)
{
	Error *inner = NULL;
	int r = tx_int(tx, &call->id, &inner,
	    "SELECT v.id FROM storage_volumes v JOIN projects p ON p.id = v.project_id"
	    " WHERE v.storage_pool_id = ? AND v.type = ? AND v.name = ? AND p.name = ?",
	    "iiss", call->pool->id, (int64_t)call->volume->type, call->volume->name,
	    call->volume->project);
	if (r == 0)
		return 0;
	if (inner->kind != ERROR_NOT_FOUND)
		return error_propagate(err, inner);
	error_free(inner);
	return error_set(err, ERROR_NOT_FOUND, "Storage volume not found");
}

static int find_tx(Tx *tx, void *data, Error **err)
{
	RowCall *call = data;
	g_clear_pointer(&call->loaded, g_hash_table_unref);
	if (find_id(tx, call, err) < 0)
		return -1;
	if (tx_int(tx, &call->content, err, "SELECT content_type FROM storage_volumes WHERE id = ?",
		"i", call->id) < 0)
		return -1;
	if (!call->want_config)
		return 0;
	return tx_config_load(
	    tx, "storage_volumes_config", "storage_volume_id", call->id, &call->loaded, err);
}

int volume_load(Pool *pool, Volume *volume, int64_t *ret_id, Config **ret_config, Error **err)
{
	RowCall call = { .pool = pool, .volume = volume, .want_config = ret_config != NULL };
	if (db_read(pool->daemon->db, find_tx, &call, err) < 0) {
		g_clear_pointer(&call.loaded, g_hash_table_unref);
		return -1;
	}
	volume->content = (VolumeContent)call.content;
	if (ret_id)
		*ret_id = call.id;
	if (ret_config)
		*ret_config = call.loaded;
	return 0;
}

int volume_row_find(
    Pool *pool, const Volume *volume, int64_t *ret_id, Config **ret_config, Error **err)
{
	Volume copy = *volume;
	return volume_load(pool, &copy, ret_id, ret_config, err);
}

/* What its project may use together with the rest: custom volumes only, root disks are their
 * instances'. */
static int verify(Tx *tx, const RowCall *call, Error **err)
{
	int64_t project;
	if (call->volume->type != VOLUME_CUSTOM)
		return 0;
	if (tx_int(tx, &project, err, "SELECT project_id FROM storage_volumes WHERE id = ?", "i",
		call->id) < 0)
		return -1;
	return project_verify_volume(tx, project, err);
}

static int insert_tx(Tx *tx, void *data, Error **err)
{
	RowCall *call = data;
	const Volume *v = call->volume;
	int64_t project;
	if (tx_int(tx, &project, err, "SELECT id FROM projects WHERE name = ?", "s", v->project) <
	    0)
		return error_prefix(err, "Project \"%s\"", v->project);
	if (tx_insert(tx, &call->id, err,
		"INSERT INTO storage_volumes (name, storage_pool_id, node_id, type, description, project_id,"
		" content_type, creation_date) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		"siiisiit", v->name, call->pool->id, pool_member(call->pool), (int64_t)v->type,
		call->description ? call->description : "", project, (int64_t)v->content,
		(int64_t)(g_get_real_time() / G_USEC_PER_SEC)) < 0)
		return -1;
	if (call->config &&
	    tx_config_replace(
		tx, "storage_volumes_config", "storage_volume_id", call->id, call->config, err) < 0)
		return -1;
	if (call->also && call->also(tx, call->also_data, err) < 0)
		return -1;
	return verify(tx, call, err);
}

int volume_row_insert(Pool *pool, const Volume *volume, const char *description,
    const Config *config, PoolAlso also, void *data, Error **err)
{
	RowCall call = { .pool = pool,
		.volume = volume,
		.description = description,
		.config = config,
		.also = also,
		.also_data = data };
	Error *inner = NULL;
	if (db_tx(pool->daemon->db, insert_tx, &call, &inner) == 0)
		return 0;
	if (inner->kind != ERROR_EXISTS)
		return error_propagate(err, inner);
	error_free(inner);
	return error_set(err, ERROR_EXISTS,
	    "Storage volume \"%s\" already exists on storage pool \"%s\"", volume->name,
	    pool->name);
}

static int delete_tx(Tx *tx, void *data, Error **err)
{
	RowCall *call = data;
	if (call->also && call->also(tx, call->also_data, err) < 0)
		return -1;
	return tx_exec(tx, err,
	    "DELETE FROM storage_volumes WHERE storage_pool_id = ? AND type = ? AND name = ?"
	    " AND project_id = (SELECT id FROM projects WHERE name = ?)",
	    "iiss", call->pool->id, (int64_t)call->volume->type, call->volume->name,
	    call->volume->project);
}

int volume_row_delete(Pool *pool, const Volume *volume, Error **err)
{
	return volume_row_delete_with(pool, volume, NULL, NULL, err);
}

int volume_row_delete_with(Pool *pool, const Volume *volume, PoolAlso also, void *data, Error **err)
{
	RowCall call = { .pool = pool, .volume = volume, .also = also, .also_data = data };
	return db_tx(pool->daemon->db, delete_tx, &call, err);
}

static int set_key(Tx *tx, int64_t id, const char *key, const char *value, Error **err)
{
	if (tx_exec(tx, err,
		"DELETE FROM storage_volumes_config WHERE storage_volume_id = ? AND key = ?", "is",
		id, key) < 0)
		return -1;
	return value ?
	    tx_exec(tx, err,
		"INSERT INTO storage_volumes_config (storage_volume_id, key, value) VALUES (?, ?, ?)",
		"iss", id, key, value) :
	    0;
}

static int set_tx(Tx *tx, void *data, Error **err)
{
	RowCall *call = data;
	return find_id(tx, call, err) < 0 ? -1 : set_key(tx, call->id, call->key, call->value, err);
}

int volume_row_set(
    Pool *pool, const Volume *volume, const char *key, const char *value, Error **err)
{
	RowCall call = { .pool = pool, .volume = volume, .key = key, .value = value };
	return db_tx(pool->daemon->db, set_tx, &call, err);
}

int volume_row_set_in(Tx *tx, Pool *pool, const Volume *volume, const char *key,
    const char *value, Error **err)
{
	RowCall call = { .pool = pool, .volume = volume, .key = key, .value = value };
	return set_tx(tx, &call, err);
}

static int rename_tx(Tx *tx, void *data, Error **err)
{
	RowCall *call = data;
	if (find_id(tx, call, err) < 0 || set_key(tx, call->id, VOLUME_INTENT, NULL, err) < 0 ||
	    (call->also && call->also(tx, call->also_data, err) < 0))
		return -1;
	if (tx_exec(tx, err,
		"UPDATE storage_volumes SET name = ?, project_id = (SELECT id FROM projects WHERE name = ?) WHERE id = ?",
		"ssi", call->renamed->name, call->renamed->project, call->id) < 0)
		return -1;
	return verify(tx, call, err);
}

int volume_row_rename(
    Pool *pool, const Volume *volume, const Volume *renamed, PoolAlso also, void *data, Error **err)
{
	RowCall call = {
		.pool = pool, .volume = volume, .renamed = renamed, .also = also, .also_data = data
	};
	return db_tx(pool->daemon->db, rename_tx, &call, err);
}

typedef struct HandOver {
	RowCall from, to;
	guint snapshots;
} HandOver;

static int hand_over_tx(Tx *tx, void *data, Error **err)
{
	HandOver *call = data;
	int64_t snapshots;
	if (find_id(tx, &call->from, err) < 0 || find_id(tx, &call->to, err) < 0 ||
	    tx_int(tx, &snapshots, err,
		"SELECT count(*) FROM storage_volumes_snapshots WHERE storage_volume_id = ?", "i",
		call->from.id) < 0)
		return -1;
	if (snapshots != call->snapshots)
		return error_set(err, ERROR_BUSY,
		    "Snapshots of storage volume \"%s\" changed while it was moved",
		    call->from.volume->name);
	if (set_key(tx, call->to.id, VOLUME_MOVING, NULL, err) < 0 ||
	    set_key(tx, call->from.id, VOLUME_MOVING, "true", err) < 0 ||
	    tx_exec(tx, err,
		"UPDATE storage_volumes_backups SET storage_volume_id = ? WHERE storage_volume_id = ?",
		"ii", call->to.id, call->from.id) < 0)
		return -1;
	return call->from.also ? call->from.also(tx, call->from.also_data, err) : 0;
}

int volume_row_hand_over(const VolumeHandOver *over, Error **err)
{
	HandOver call = { .snapshots = over->snapshots };
	call.from = (RowCall){ .pool = over->from_pool,
		.volume = over->from,
		.also = over->also,
		.also_data = over->data };
	call.to = (RowCall){ .pool = over->to_pool, .volume = over->to };
	return db_tx(over->to_pool->daemon->db, hand_over_tx, &call, err);
}

static int update_tx(Tx *tx, void *data, Error **err)
{
	RowCall *call = data;
	if (find_id(tx, call, err) < 0 ||
	    tx_exec(tx, err, "UPDATE storage_volumes SET description = ? WHERE id = ?", "si",
		call->description, call->id) < 0)
		return -1;
	if (tx_config_replace(
		tx, "storage_volumes_config", "storage_volume_id", call->id, call->config, err) < 0)
		return -1;
	return verify(tx, call, err);
}

int volume_row_update(
    Pool *pool, const Volume *volume, const char *description, const Config *config, Error **err)
{
	RowCall call = { .pool = pool,
		.volume = volume,
		.description = description ? description : "",
		.config = config };
	return db_tx(pool->daemon->db, update_tx, &call, err);
}

static int description_tx(Tx *tx, void *data, Error **err)
{
	RowCall *call = data;
	g_autoptr(Rows) rows = NULL;
	g_clear_pointer(&call->text, g_free);
	if (find_id(tx, call, err) < 0 ||
	    tx_query(tx, &rows, err,
		"SELECT coalesce(description, '') FROM storage_volumes WHERE id = ?", "i",
		call->id) < 0)
		return -1;
	int more = rows_next(rows, err);
	call->text = g_strdup(more > 0 ? rows_text(rows, 0) : "");
	return more < 0 ? -1 : 0;
}

int volume_row_description(Pool *pool, const Volume *volume, char **ret_description, Error **err)
{
	RowCall call = { .pool = pool, .volume = volume };
	if (db_read(pool->daemon->db, description_tx, &call, err) < 0) {
		g_free(call.text);
		return -1;
	}
	*ret_description = call.text;
	return 0;
}
