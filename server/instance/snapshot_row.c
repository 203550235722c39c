/* The rows of instances' snapshots. */
#include "server/instance/private.h"
#include "server/instance/snapshot.h"
#include "server/instance/snapshot_row.h"
#include "server/operation/schedule.h"
#include "server/profile/profile.h"
#include <string.h>

void instance_snapshot_free(InstanceSnapshot *s)
{
	if (!s)
		return;
	g_free(s->name);
	g_free(s->description);
	g_clear_pointer(&s->config, g_hash_table_unref);
	g_clear_pointer(&s->devices, g_hash_table_unref);
	g_free(s);
}

typedef struct LoadCall {
	int64_t instance; /* -1: all */
	const char *name; /* NULL: all */
	GPtrArray *list;
	GHashTable *by_id;
} LoadCall;

#define CHOSEN " WHERE (? < 0 OR s.instance_id = ?) AND (? IS NULL OR s.name = ?)"
#define CHOSEN_ARGUMENTS call->instance, call->instance, call->name, call->name

static int load_rows(Tx *tx, LoadCall *call, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	if (tx_query(tx, &rows, err,
		"SELECT s.id, s.instance_id, s.name, s.description, s.creation_date, s.expiry_date, s.stateful"
		" FROM instances_snapshots AS s" CHOSEN " ORDER BY s.creation_date, s.id",
		"iiss", CHOSEN_ARGUMENTS) < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0) {
		InstanceSnapshot *s = g_new0(InstanceSnapshot, 1);
		s->id = rows_int(rows, 0);
		s->instance_id = rows_int(rows, 1);
		s->name = g_strdup(rows_text(rows, 2));
		s->description = g_strdup(rows_null(rows, 3) ? "" : rows_text(rows, 3));
		s->created = rows_time(rows, 4);
		s->expires = rows_moment(rows, 5);
		s->stateful = rows_int(rows, 6) != 0;
		s->config = config_new();
		s->devices = devices_new();
		g_ptr_array_add(call->list, s);
		g_hash_table_insert(call->by_id, &s->id, s);
	}
	return more;
}

static int load_config(Tx *tx, LoadCall *call, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	if (tx_query(tx, &rows, err,
		"SELECT c.instance_snapshot_id, c.key, c.value FROM instances_snapshots_config AS c"
		" JOIN instances_snapshots AS s ON s.id = c.instance_snapshot_id" CHOSEN,
		"iiss", CHOSEN_ARGUMENTS) < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0) {
		int64_t id = rows_int(rows, 0);
		InstanceSnapshot *s = g_hash_table_lookup(call->by_id, &id);
		if (s)
			config_set(s->config, rows_text(rows, 1), rows_text(rows, 2));
	}
	return more;
}

static int load_devices(Tx *tx, LoadCall *call, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	if (tx_query(tx, &rows, err,
		"SELECT d.instance_snapshot_id, d.name, d.type, c.key, c.value FROM instances_snapshots_devices AS d"
		" JOIN instances_snapshots AS s ON s.id = d.instance_snapshot_id"
		" LEFT JOIN instances_snapshots_devices_config AS c ON c.instance_snapshot_device_id = d.id" CHOSEN,
		"iiss", CHOSEN_ARGUMENTS) < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0) {
		int64_t id = rows_int(rows, 0);
		InstanceSnapshot *s = g_hash_table_lookup(call->by_id, &id);
		if (!s)
			continue;
		if (!devices_get(s->devices, rows_text(rows, 1))) {
			g_autoptr(Config) fresh = config_new();
			config_set(fresh, "type", device_type_from_number((int)rows_int(rows, 2)));
			devices_set(s->devices, rows_text(rows, 1), fresh);
		}
		if (!rows_null(rows, 3))
			config_set(devices_get(s->devices, rows_text(rows, 1)), rows_text(rows, 3),
			    rows_text(rows, 4));
	}
	return more;
}

static int load_tx(Tx *tx, void *data, Error **err)
{
	LoadCall *call = data;
	g_hash_table_remove_all(call->by_id);
	g_ptr_array_set_size(call->list, 0);
	if (load_rows(tx, call, err) < 0)
		return -1;
	if (call->list->len == 0)
		return 0;
	return load_config(tx, call, err) < 0 ? -1 : load_devices(tx, call, err);
}

static int load(Daemon *d, int64_t instance, const char *name, GPtrArray **ret_list, Error **err)
{
	g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(
	    (GDestroyNotify)instance_snapshot_free);
	g_autoptr(GHashTable) by_id = g_hash_table_new(g_int64_hash, g_int64_equal);
	LoadCall call = { .instance = instance, .name = name, .list = list, .by_id = by_id };
	if (db_read(d->db, load_tx, &call, err) < 0)
		return -1;
	*ret_list = g_steal_pointer(&list);
	return 0;
}

int instance_snapshot_list(Instance *i, GPtrArray **ret_snapshots, Error **err)
{
	return load(i->daemon, i->id, NULL, ret_snapshots, err);
}

int instance_snapshot_find(
    Instance *i, const char *name, InstanceSnapshot **ret_snapshot, Error **err)
{
	g_autoptr(GPtrArray) list = NULL;
	if (load(i->daemon, i->id, name, &list, err) < 0)
		return -1;
	if (list->len == 0)
		return error_set(err, ERROR_NOT_FOUND, "Instance snapshot not found");
	*ret_snapshot = g_ptr_array_steal_index(list, 0);
	return 0;
}

int instance_snapshot_list_all(Daemon *d, GHashTable **ret_by_instance, Error **err)
{
	g_autoptr(GPtrArray) list = NULL;
	if (load(d, -1, NULL, &list, err) < 0)
		return -1;
	g_autoptr(GHashTable) all = g_hash_table_new_full(
	    g_int64_hash, g_int64_equal, g_free, (GDestroyNotify)g_ptr_array_unref);
	g_ptr_array_set_free_func(list, NULL);
	for (guint n = 0; n < list->len; n++) {
		InstanceSnapshot *s = list->pdata[n];
		GPtrArray *own = g_hash_table_lookup(all, &s->instance_id);
		if (!own) {
			own = g_ptr_array_new_with_free_func(
			    (GDestroyNotify)instance_snapshot_free);
			g_hash_table_insert(
			    all, g_memdup2(&s->instance_id, sizeof(s->instance_id)), own);
		}
		g_ptr_array_add(own, s);
	}
	*ret_by_instance = g_steal_pointer(&all);
	return 0;
}

static int count_tx(Tx *tx, void *data, Error **err)
{
	GHashTable *counts = data;
	g_autoptr(Rows) rows = NULL;
	g_hash_table_remove_all(counts);
	if (tx_query(tx, &rows, err,
		"SELECT instance_id, count(*) FROM instances_snapshots GROUP BY instance_id",
		"") < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0) {
		int64_t id = rows_int(rows, 0);
		g_hash_table_insert(
		    counts, g_memdup2(&id, sizeof(id)), GUINT_TO_POINTER((guint)rows_int(rows, 1)));
	}
	return more;
}

int instance_snapshot_count_all(Daemon *d, GHashTable **ret_by_instance, Error **err)
{
	g_autoptr(GHashTable) counts = g_hash_table_new_full(
	    g_int64_hash, g_int64_equal, g_free, NULL);
	if (db_read(d->db, count_tx, counts, err) < 0)
		return -1;
	*ret_by_instance = g_steal_pointer(&counts);
	return 0;
}

static int insert_tx(Tx *tx, void *data, Error **err)
{
	InstanceSnapshot *s = data;
	if (tx_insert(tx, &s->id, err,
		"INSERT INTO instances_snapshots (instance_id, name, creation_date, stateful, description, expiry_date)"
		" VALUES (?, ?, ?, ?, ?, ?)",
		"istisT", s->instance_id, s->name, s->created, (int64_t)s->stateful, s->description,
		&s->expires) < 0)
		return -1;
	return tx_config_replace(tx, "instances_snapshots_config", "instance_snapshot_id", s->id,
		   s->config, err) < 0 ?
	    -1 :
	    devices_replace(tx, "instances_snapshots", "instance_snapshot_id",
		"instance_snapshot_device_id", s->id, s->devices, err);
}

int snapshot_insert_in(Tx *tx, InstanceSnapshot *s, Error **err)
{
	return insert_tx(tx, s, err);
}

/* Whoever deletes it then may have to wake earlier. */
static void expiry_changed(Daemon *d, const Moment *expires)
{
	if (expires->seconds)
		schedule_changed(d);
}

int snapshot_insert(Daemon *d, InstanceSnapshot *s, Error **err)
{
	Error *inner = NULL;
	if (db_tx(d->db, insert_tx, s, &inner) == 0) {
		expiry_changed(d, &s->expires);
		return 0;
	}
	if (inner->kind != ERROR_EXISTS)
		return error_propagate(err, inner);
	error_free(inner);
	return error_set(err, ERROR_EXISTS, "Snapshot \"%s\" already in use", s->name);
}

static int delete_tx(Tx *tx, void *data, Error **err)
{
	return tx_exec(
	    tx, err, "DELETE FROM instances_snapshots WHERE id = ?", "i", *(int64_t *)data);
}

int snapshot_forget(Daemon *d, int64_t id, Error **err)
{
	return db_tx(d->db, delete_tx, &id, err);
}

typedef struct ChangeCall {
	int64_t id;
	const Moment *expires;
} ChangeCall;

static int change_tx(Tx *tx, void *data, Error **err)
{
	const ChangeCall *call = data;
	return tx_exec(tx, err, "UPDATE instances_snapshots SET expiry_date = ? WHERE id = ?", "Ti",
	    call->expires, call->id);
}

int snapshot_set_name_in(Tx *tx, int64_t id, const char *name, Error **err)
{
	return tx_exec(
	    tx, err, "UPDATE instances_snapshots SET name = ? WHERE id = ?", "si", name, id);
}

int snapshot_set_expiry(Daemon *d, int64_t id, const Moment *expires, Error **err)
{
	ChangeCall call = { .id = id, .expires = expires };
	if (db_tx(d->db, change_tx, &call, err) < 0)
		return -1;
	expiry_changed(d, expires);
	return 0;
}

/* Volumes of instances have the instance's name, project and kind (0 container, 3 virtual machine).
 */
static int repair_tx(Tx *tx, void *data, Error **err)
{
	/* A list that is made once: asked for every snapshot, thousands of them take seconds. */
	return tx_exec(tx, err,
	    "DELETE FROM instances_snapshots WHERE ? IN (0, instance_id) AND (instance_id, name) NOT IN"
	    " (SELECT i.id, s.name FROM instances AS i"
	    " JOIN storage_volumes AS v ON v.project_id = i.project_id AND v.name = i.name"
	    " AND v.type = (CASE i.type WHEN 1 THEN 3 ELSE 0 END)"
	    " JOIN storage_volumes_snapshots AS s ON s.storage_volume_id = v.id"
	    " WHERE ? IN (0, i.id))",
	    "ii", *(const int64_t *)data, *(const int64_t *)data);
}

int instance_snapshot_repair(Daemon *d, int64_t instance_id, Error **err)
{
	return db_tx(d->db, repair_tx, &instance_id, err);
}

static int expiring_tx(Tx *tx, void *data, Error **err)
{
	GPtrArray *list = data;
	g_autoptr(Rows) rows = NULL;
	g_ptr_array_set_size(list, 0);
	if (tx_query(tx, &rows, err,
		"SELECT id, instance_id, name, expiry_date FROM instances_snapshots WHERE expiry_date IS NOT NULL",
		"") < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0) {
		int64_t expires = rows_time(rows, 3);
		if (expires <= 0)
			continue;
		InstanceSnapshot *s = g_new0(InstanceSnapshot, 1);
		*s = (InstanceSnapshot){ .id = rows_int(rows, 0),
			.instance_id = rows_int(rows, 1),
			.name = g_strdup(rows_text(rows, 2)),
			.expires = { .seconds = expires } };
		g_ptr_array_add(list, s);
	}
	return more;
}

int instance_snapshot_expiring(Daemon *d, GPtrArray **ret_snapshots, Error **err)
{
	g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(
	    (GDestroyNotify)instance_snapshot_free);
	if (db_read(d->db, expiring_tx, list, err) < 0)
		return -1;
	*ret_snapshots = g_steal_pointer(&list);
	return 0;
}
