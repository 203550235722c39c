#include "server/instance/backup_row.h"
#include "server/instance/private.h"

void instance_backup_free(InstanceBackup *backup)
{
	if (!backup)
		return;
	g_free(backup->name);
	g_free(backup);
}

static void place_free(void *data)
{
	BackupPlace *place = data;
	g_free(place->project);
	g_free(place->instance);
	g_free(place->name);
	g_free(place);
}

typedef struct ListCall {
	int64_t instance;
	const char *name; /* NULL: all */
	GPtrArray *list;
} ListCall;

static int list_tx(Tx *tx, void *data, Error **err)
{
	ListCall *call = data;
	g_autoptr(Rows) rows = NULL;
	g_ptr_array_set_size(call->list, 0);
	if (tx_query(tx, &rows, err,
		"SELECT id, name, creation_date, expiry_date, container_only, optimized_storage FROM instances_backups"
		" WHERE instance_id = ? AND (? IS NULL OR name = ?) ORDER BY creation_date, id",
		"iss", call->instance, call->name, call->name) < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0) {
		InstanceBackup *b = g_new0(InstanceBackup, 1);
		b->instance_id = call->instance;
		b->id = rows_int(rows, 0);
		b->name = g_strdup(rows_text(rows, 1));
		b->created = rows_time(rows, 2);
		b->expires = MAX(rows_time(rows, 3), 0);
		b->instance_only = rows_int(rows, 4) != 0;
		b->optimized = rows_int(rows, 5) != 0;
		g_ptr_array_add(call->list, b);
	}
	return more;
}

static int load(Instance *i, const char *name, GPtrArray **ret_list, Error **err)
{
	g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(
	    (GDestroyNotify)instance_backup_free);
	ListCall call = { .instance = i->id, .name = name, .list = list };
	if (db_read(i->daemon->db, list_tx, &call, err) < 0)
		return -1;
	*ret_list = g_steal_pointer(&list);
	return 0;
}

int instance_backup_list(Instance *i, GPtrArray **ret_backups, Error **err)
{
	return load(i, NULL, ret_backups, err);
}

int instance_backup_find(Instance *i, const char *name, InstanceBackup **ret_backup, Error **err)
{
	g_autoptr(GPtrArray) list = NULL;
	if (load(i, name, &list, err) < 0)
		return -1;
	if (list->len == 0)
		return error_set(err, ERROR_NOT_FOUND, "Instance backup not found");
	*ret_backup = g_ptr_array_steal_index(list, 0);
	return 0;
}

static int all_tx(Tx *tx, void *data, Error **err)
{
	GPtrArray *list = data;
	g_autoptr(Rows) rows = NULL;
	g_ptr_array_set_size(list, 0);
	if (tx_query(tx, &rows, err,
		"SELECT p.name, i.name, b.name, b.id, b.expiry_date FROM instances_backups AS b"
		" JOIN instances AS i ON i.id = b.instance_id JOIN projects AS p ON p.id = i.project_id",
		"") < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0) {
		BackupPlace *place = g_new0(BackupPlace, 1);
		place->project = g_strdup(rows_text(rows, 0));
		place->instance = g_strdup(rows_text(rows, 1));
		place->name = g_strdup(rows_text(rows, 2));
		place->id = rows_int(rows, 3);
		place->expires = MAX(rows_time(rows, 4), 0);
		g_ptr_array_add(list, place);
	}
	return more;
}

int backup_row_list_all(Daemon *d, GPtrArray **ret_places, Error **err)
{
	g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(place_free);
	if (db_read(d->db, all_tx, list, err) < 0)
		return -1;
	*ret_places = g_steal_pointer(&list);
	return 0;
}

static int insert_tx(Tx *tx, void *data, Error **err)
{
	InstanceBackup *b = data;
	return tx_insert(tx, &b->id, err,
	    "INSERT INTO instances_backups (instance_id, name, creation_date, expiry_date, container_only, optimized_storage)"
	    " VALUES (?, ?, ?, ?, ?, ?)",
	    "isttii", b->instance_id, b->name, b->created, b->expires, (int64_t)b->instance_only,
	    (int64_t)b->optimized);
}

static int say_exists(int result, Error *inner, const char *name, Error **err)
{
	if (result == 0)
		return 0;
	if (inner->kind != ERROR_EXISTS)
		return error_propagate(err, inner);
	error_free(inner);
	return error_set(err, ERROR_EXISTS, "Backup \"%s\" already exists", name);
}

int backup_row_insert(Daemon *d, InstanceBackup *backup, Error **err)
{
	Error *inner = NULL;
	int result = db_tx(d->db, insert_tx, backup, &inner);
	return say_exists(result, inner, backup->name, err);
}

static int delete_tx(Tx *tx, void *data, Error **err)
{
	return tx_exec(
	    tx, err, "DELETE FROM instances_backups WHERE id = ?", "i", *(int64_t *)data);
}

int backup_row_delete(Daemon *d, int64_t id, Error **err)
{
	return db_tx(d->db, delete_tx, &id, err);
}

typedef struct RenameCall {
	int64_t id;
	const char *name;
} RenameCall;

static int rename_tx(Tx *tx, void *data, Error **err)
{
	const RenameCall *call = data;
	return tx_exec(tx, err, "UPDATE instances_backups SET name = ? WHERE id = ?", "si",
	    call->name, call->id);
}

int backup_row_rename(Daemon *d, int64_t id, const char *name, Error **err)
{
	RenameCall call = { .id = id, .name = name };
	Error *inner = NULL;
	int result = db_tx(d->db, rename_tx, &call, &inner);
	return say_exists(result, inner, name, err);
}
