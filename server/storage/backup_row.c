#include "server/storage/backup_row.h"
#include "server/db/db.h"

void backup_free(Backup *backup)
{
	if (!backup)
		return;
	g_free(backup->name);
	g_free(backup);
}

static void place_free(void *data)
{
	BackupPlace *place = data;
	g_free(place->place);
	g_free(place->project);
	g_free(place->pool);
	g_free(place->owner);
	g_free(place->name);
	g_free(place);
}

typedef struct ListCall {
	const BackupOwner *owner;
	const char *name; /* NULL: all */
	GPtrArray *list;
} ListCall;

static int list_tx(Tx *tx, void *data, Error **err)
{
	ListCall *call = data;
	const BackupKind *kind = call->owner->kind;
	g_autoptr(Rows) rows = NULL;
	g_autofree char *sql = g_strdup_printf(
	    "SELECT id, name, creation_date, expiry_date, %s, optimized_storage FROM %s"
	    " WHERE %s = ? AND (? IS NULL OR name = ?) ORDER BY creation_date, id",
	    kind->only, kind->table, kind->owner);
	g_ptr_array_set_size(call->list, 0);
	if (tx_query(tx, &rows, err, sql, "iss", call->owner->id, call->name, call->name) < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0) {
		Backup *b = g_new0(Backup, 1);
		b->id = rows_int(rows, 0);
		b->name = g_strdup(rows_text(rows, 1));
		b->created = rows_time(rows, 2);
		b->expires = MAX(rows_time(rows, 3), 0);
		b->only = rows_int(rows, 4) != 0;
		b->optimized = rows_int(rows, 5) != 0;
		g_ptr_array_add(call->list, b);
	}
	return more;
}

static int load(const BackupOwner *owner, const char *name, GPtrArray **ret_list, Error **err)
{
	g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func((GDestroyNotify)backup_free);
	ListCall call = { .owner = owner, .name = name, .list = list };
	if (db_read(owner->daemon->db, list_tx, &call, err) < 0)
		return -1;
	*ret_list = g_steal_pointer(&list);
	return 0;
}

int backup_list(const BackupOwner *owner, GPtrArray **ret_backups, Error **err)
{
	return load(owner, NULL, ret_backups, err);
}

int backup_find(const BackupOwner *owner, const char *name, Backup **ret_backup, Error **err)
{
	g_autoptr(GPtrArray) list = NULL;
	if (load(owner, name, &list, err) < 0)
		return -1;
	if (list->len == 0)
		return error_set(err, ERROR_NOT_FOUND, "%s", owner->kind->missing);
	*ret_backup = g_ptr_array_steal_index(list, 0);
	return 0;
}

typedef struct AllCall {
	const BackupKind *kind;
	GPtrArray *list;
} AllCall;

static int all_tx(Tx *tx, void *data, Error **err)
{
	AllCall *call = data;
	g_autoptr(Rows) rows = NULL;
	g_ptr_array_set_size(call->list, 0);
	if (tx_query(tx, &rows, err, call->kind->select_all, "") < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0) {
		BackupPlace *place = g_new0(BackupPlace, 1);
		place->place = g_strdup(rows_text(rows, 0));
		place->project = g_strdup(rows_text(rows, 1));
		place->pool = g_strdup(rows_text(rows, 2));
		place->owner = g_strdup(rows_text(rows, 3));
		place->name = g_strdup(rows_text(rows, 4));
		place->id = rows_int(rows, 5);
		place->expires = MAX(rows_time(rows, 6), 0);
		g_ptr_array_add(call->list, place);
	}
	return more;
}

int backup_row_list_all(Daemon *d, const BackupKind *kind, GPtrArray **ret_places, Error **err)
{
	g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(place_free);
	AllCall call = { .kind = kind, .list = list };
	if (db_read(d->db, all_tx, &call, err) < 0)
		return -1;
	*ret_places = g_steal_pointer(&list);
	return 0;
}

typedef struct ChangeCall {
	const BackupKind *kind;
	int64_t owner, id;
	Backup *backup;
	const char *name;
} ChangeCall;

static int insert_tx(Tx *tx, void *data, Error **err)
{
	const ChangeCall *call = data;
	const BackupKind *kind = call->kind;
	Backup *b = call->backup;
	g_autofree char *sql = g_strdup_printf(
	    "INSERT INTO %s (%s, name, creation_date, expiry_date, %s, optimized_storage)"
	    " VALUES (?, ?, ?, ?, ?, ?)",
	    kind->table, kind->owner, kind->only);
	return tx_insert(tx, &b->id, err, sql, "isttii", call->owner, b->name, b->created,
	    b->expires, (int64_t)b->only, (int64_t)b->optimized);
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

int backup_row_insert(const BackupOwner *owner, Backup *backup, Error **err)
{
	ChangeCall call = { .kind = owner->kind, .owner = owner->id, .backup = backup };
	Error *inner = NULL;
	int result = db_tx(owner->daemon->db, insert_tx, &call, &inner);
	return say_exists(result, inner, backup->name, err);
}

static int delete_tx(Tx *tx, void *data, Error **err)
{
	const ChangeCall *call = data;
	g_autofree char *sql = g_strdup_printf("DELETE FROM %s WHERE id = ?", call->kind->table);
	return tx_exec(tx, err, sql, "i", call->id);
}

int backup_row_delete(Daemon *d, const BackupKind *kind, int64_t id, Error **err)
{
	ChangeCall call = { .kind = kind, .id = id };
	return db_tx(d->db, delete_tx, &call, err);
}

static int rename_tx(Tx *tx, void *data, Error **err)
{
	const ChangeCall *call = data;
	g_autofree char *sql = g_strdup_printf(
	    "UPDATE %s SET name = ? WHERE id = ?", call->kind->table);
	return tx_exec(tx, err, sql, "si", call->name, call->id);
}

int backup_row_rename(Daemon *d, const BackupKind *kind, int64_t id, const char *name, Error **err)
{
	ChangeCall call = { .kind = kind, .id = id, .name = name };
	Error *inner = NULL;
	int result = db_tx(d->db, rename_tx, &call, &inner);
	return say_exists(result, inner, name, err);
}
