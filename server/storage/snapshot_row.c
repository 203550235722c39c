/* The rows of volumes' snapshots: storage_volumes_snapshots and its configuration. */
#include "server/operation/schedule.h"
#include "server/storage/pool_private.h"
#include "server/storage/snapshot.h"

void snapshot_row_free(SnapshotRow *row)
{
	if (!row)
		return;
	g_free(row->name);
	g_free(row->description);
	g_clear_pointer(&row->config, g_hash_table_unref);
	g_free(row);
}

typedef struct SnapshotCall {
	Pool *pool;
	const Volume *volume;
	const char *name, *new_name;
	const SnapshotRow *row;
	const char *description;
	const Moment *expires;
	GPtrArray *rows;
	PoolAlso also;
	void *also_data;
} SnapshotCall;

#define OF_VOLUME                                                                                  \
	" FROM storage_volumes_snapshots s JOIN storage_volumes v ON v.id = s.storage_volume_id"   \
	" JOIN projects p ON p.id = v.project_id"                                                  \
	" WHERE v.storage_pool_id = ? AND v.type = ? AND v.name = ? AND p.name = ? AND (? IS NULL OR s.name = ?)"
#define OF_VOLUME_FORMAT "iissss"

static int load_rows(Tx *tx, SnapshotCall *call, Error **err)
{
	const Volume *v = call->volume;
	g_autoptr(Rows) rows = NULL;
	if (tx_query(tx, &rows, err,
		"SELECT s.id, s.name, s.description, s.creation_date, s.expiry_date" OF_VOLUME
		" ORDER BY s.creation_date, s.id",
		OF_VOLUME_FORMAT, call->pool->id, (int64_t)v->type, v->name, v->project, call->name,
		call->name) < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0) {
		SnapshotRow *row = g_new0(SnapshotRow, 1);
		row->id = rows_int(rows, 0);
		row->name = g_strdup(rows_text(rows, 1));
		row->description = g_strdup(rows_null(rows, 2) ? "" : rows_text(rows, 2));
		row->created = rows_time(rows, 3);
		row->expires = rows_moment(rows, 4);
		row->config = config_new();
		g_ptr_array_add(call->rows, row);
	}
	return more;
}

static int list_tx(Tx *tx, void *data, Error **err)
{
	SnapshotCall *call = data;
	const Volume *v = call->volume;
	g_ptr_array_set_size(call->rows, 0);
	if (load_rows(tx, call, err) < 0)
		return -1;
	if (call->rows->len == 0)
		return 0;
	g_autoptr(GHashTable) by_id = g_hash_table_new(g_int64_hash, g_int64_equal);
	for (guint i = 0; i < call->rows->len; i++)
		g_hash_table_insert(
		    by_id, &((SnapshotRow *)call->rows->pdata[i])->id, call->rows->pdata[i]);
	g_autoptr(Rows) rows = NULL;
	if (tx_query(tx, &rows, err,
		"SELECT c.storage_volume_snapshot_id, c.key, c.value FROM storage_volumes_snapshots_config c"
		" WHERE c.storage_volume_snapshot_id IN (SELECT s.id" OF_VOLUME ")",
		OF_VOLUME_FORMAT, call->pool->id, (int64_t)v->type, v->name, v->project, call->name,
		call->name) < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0) {
		int64_t id = rows_int(rows, 0);
		SnapshotRow *row = g_hash_table_lookup(by_id, &id);
		if (row)
			config_set(row->config, rows_text(rows, 1), rows_text(rows, 2));
	}
	return more;
}

static int list(
    Pool *pool, const Volume *volume, const char *name, GPtrArray **ret_rows, Error **err)
{
	g_autoptr(GPtrArray) rows = g_ptr_array_new_with_free_func(
	    (GDestroyNotify)snapshot_row_free);
	SnapshotCall call = { .pool = pool, .volume = volume, .name = name, .rows = rows };
	if (db_read(pool->daemon->db, list_tx, &call, err) < 0)
		return -1;
	*ret_rows = g_steal_pointer(&rows);
	return 0;
}

int snapshot_row_list(Pool *pool, const Volume *volume, GPtrArray **ret_rows, Error **err)
{
	return list(pool, volume, NULL, ret_rows, err);
}

int snapshot_row_find(
    Pool *pool, const Volume *volume, const char *name, SnapshotRow **ret_row, Error **err)
{
	g_autoptr(GPtrArray) rows = NULL;
	if (list(pool, volume, name, &rows, err) < 0)
		return -1;
	if (rows->len == 0)
		return error_set(err, ERROR_NOT_FOUND, "Snapshot not found");
	if (ret_row)
		*ret_row = g_ptr_array_steal_index(rows, 0);
	return 0;
}

int snapshot_row_insert_in(Tx *tx, Pool *pool, const Volume *v, const SnapshotRow *row, Error **err)
{
	int64_t volume, id;
	if (tx_int(tx, &volume, err,
		"SELECT v.id FROM storage_volumes v JOIN projects p ON p.id = v.project_id"
		" WHERE v.storage_pool_id = ? AND v.type = ? AND v.name = ? AND p.name = ?",
		"iiss", pool->id, (int64_t)v->type, v->name, v->project) < 0)
		return error_prefix(err, "Storage volume \"%s\"", v->name);
	/* Volumes and their snapshots share one space of ids: that of the volumes. */
	if (tx_exec(tx, err,
		"UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'storage_volumes'",
		"") < 0 ||
	    tx_int(tx, &id, err, "SELECT seq FROM sqlite_sequence WHERE name = 'storage_volumes'",
		"") < 0)
		return -1;
	if (tx_exec(tx, err,
		"INSERT INTO storage_volumes_snapshots (id, storage_volume_id, name, description, expiry_date,"
		" creation_date) VALUES (?, ?, ?, ?, ?, ?)",
		"iissTt", id, volume, row->name, row->description ? row->description : "",
		&row->expires,
		row->created ? row->created : (int64_t)(g_get_real_time() / G_USEC_PER_SEC)) < 0)
		return -1;
	return row->config ? tx_config_replace(tx, "storage_volumes_snapshots_config",
				 "storage_volume_snapshot_id", id, row->config, err) :
			     0;
}

static int insert_tx(Tx *tx, void *data, Error **err)
{
	SnapshotCall *call = data;
	return snapshot_row_insert_in(tx, call->pool, call->volume, call->row, err);
}

/* Whoever deletes it then may have to wake earlier. */
static void expiry_changed(Pool *pool, const Moment *expires)
{
	if (expires->seconds)
		schedule_changed(pool->daemon);
}

int snapshot_row_insert(Pool *pool, const Volume *volume, const SnapshotRow *row, Error **err)
{
	SnapshotCall call = { .pool = pool, .volume = volume, .row = row };
	Error *inner = NULL;
	if (db_tx(pool->daemon->db, insert_tx, &call, &inner) == 0) {
		expiry_changed(pool, &row->expires);
		return 0;
	}
	if (inner->kind != ERROR_EXISTS)
		return error_propagate(err, inner);
	error_free(inner);
	return error_set(err, ERROR_EXISTS, "Snapshot \"%s\" already in use", row->name);
}

#define THE_SNAPSHOT " WHERE id = (SELECT s.id" OF_VOLUME ")"

static int changed(Tx *tx, Error **err)
{
	return tx_changes(tx) ? 0 : error_set(err, ERROR_NOT_FOUND, "Snapshot not found");
}

static int delete_tx(Tx *tx, void *data, Error **err)
{
	SnapshotCall *call = data;
	const Volume *v = call->volume;
	return tx_exec(tx, err, "DELETE FROM storage_volumes_snapshots" THE_SNAPSHOT,
	    OF_VOLUME_FORMAT, call->pool->id, (int64_t)v->type, v->name, v->project, call->name,
	    call->name);
}

int snapshot_row_delete(Pool *pool, const Volume *volume, const char *name, Error **err)
{
	SnapshotCall call = { .pool = pool, .volume = volume, .name = name };
	return db_tx(pool->daemon->db, delete_tx, &call, err);
}

static int rename_tx(Tx *tx, void *data, Error **err)
{
	SnapshotCall *call = data;
	const Volume *v = call->volume;
	if (tx_exec(tx, err, "UPDATE storage_volumes_snapshots SET name = ?" THE_SNAPSHOT,
		"s" OF_VOLUME_FORMAT, call->new_name, call->pool->id, (int64_t)v->type, v->name,
		v->project, call->name, call->name) < 0 ||
	    changed(tx, err) < 0 ||
	    volume_row_set_in(tx, call->pool, v, VOLUME_SNAPSHOT_INTENT, NULL, err) < 0)
		return -1;
	return call->also ? call->also(tx, call->also_data, err) : 0;
}

int snapshot_row_rename(Pool *pool, const Volume *volume, const char *name, const char *new_name,
    PoolAlso also, void *data, Error **err)
{
	SnapshotCall call = { .pool = pool,
		.volume = volume,
		.name = name,
		.new_name = new_name,
		.also = also,
		.also_data = data };
	return db_tx(pool->daemon->db, rename_tx, &call, err);
}

static int update_tx(Tx *tx, void *data, Error **err)
{
	SnapshotCall *call = data;
	const Volume *v = call->volume;
	if (tx_exec(tx, err,
		"UPDATE storage_volumes_snapshots SET description = ?, expiry_date = ?" THE_SNAPSHOT,
		"sT" OF_VOLUME_FORMAT, call->description, call->expires, call->pool->id,
		(int64_t)v->type, v->name, v->project, call->name, call->name) < 0)
		return -1;
	return changed(tx, err);
}

int snapshot_row_update(Pool *pool, const Volume *volume, const char *name, const char *description,
    const Moment *expires, Error **err)
{
	SnapshotCall call = { .pool = pool,
		.volume = volume,
		.name = name,
		.description = description,
		.expires = expires };
	if (db_tx(pool->daemon->db, update_tx, &call, err) < 0)
		return -1;
	expiry_changed(pool, expires);
	return 0;
}

static void expiring_free(void *data)
{
	ExpiringSnapshot *s = data;
	g_free(s->pool);
	g_free(s->project);
	g_free(s->volume);
	g_free(s->name);
	g_free(s);
}

static int expiring_tx(Tx *tx, void *data, Error **err)
{
	GPtrArray *list = data;
	g_autoptr(Rows) rows = NULL;
	g_ptr_array_set_size(list, 0);
	if (tx_query(tx, &rows, err,
		"SELECT o.name, p.name, v.name, s.name, s.expiry_date FROM storage_volumes_snapshots s"
		" JOIN storage_volumes v ON v.id = s.storage_volume_id JOIN projects p ON p.id = v.project_id"
		" JOIN storage_pools o ON o.id = v.storage_pool_id WHERE v.type = ? AND s.expiry_date IS NOT NULL",
		"i", (int64_t)VOLUME_CUSTOM) < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0) {
		int64_t expires = rows_time(rows, 4);
		if (expires <= 0)
			continue;
		ExpiringSnapshot *s = g_new0(ExpiringSnapshot, 1);
		*s = (ExpiringSnapshot){ g_strdup(rows_text(rows, 0)), g_strdup(rows_text(rows, 1)),
			g_strdup(rows_text(rows, 2)), g_strdup(rows_text(rows, 3)), expires };
		g_ptr_array_add(list, s);
	}
	return more;
}

int snapshot_row_expiring(Daemon *d, GPtrArray **ret_snapshots, Error **err)
{
	g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(expiring_free);
	if (db_read(d->db, expiring_tx, list, err) < 0)
		return -1;
	*ret_snapshots = g_steal_pointer(&list);
	return 0;
}
