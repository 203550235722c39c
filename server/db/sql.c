#include "server/db/sql.h"

#include "incus/v1/server.pb-c.h"
#include "server/db/private.h"

#include <jansson.h>
#include <string.h>

typedef struct SqlRun {
	const char *query;
	Arena *arena;
	GPtrArray *results; /* Pb__InternalSQLResult in the arena */
} SqlRun;

static json_t *cell_json(sqlite3_stmt *statement, int column)
{
	const char *text;
	g_autofree char *valid = NULL;
	switch (sqlite3_column_type(statement, column)) {
	case SQLITE_INTEGER:
		return json_integer(sqlite3_column_int64(statement, column));
	case SQLITE_FLOAT:
		return json_real(sqlite3_column_double(statement, column));
	case SQLITE_NULL:
		return json_null();
	default:
		text = (const char *)sqlite3_column_text(statement, column);
		valid = g_utf8_make_valid(text ? text : "", -1);
		return json_string(valid);
	}
}

static int run_select(SqlRun *run, Connection *connection, sqlite3_stmt *statement, Pb__InternalSQLResult *result, Error **err)
{
	int code, n = sqlite3_column_count(statement);
	json_t *rows = json_array();
	result->type = arena_strdup(run->arena, "select");
	result->n_columns = (size_t)n;
	result->columns = arena_alloc(run->arena, (size_t)n * sizeof(char *));
	for (int i = 0; i < n; i++)
		result->columns[i] = arena_strdup(run->arena, sqlite3_column_name(statement, i));
	while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
		json_t *row = json_array();
		for (int i = 0; i < n; i++)
			json_array_append_new(row, cell_json(statement, i));
		json_array_append_new(rows, row);
	}
	char *text = json_dumps(rows, JSON_COMPACT);
	result->rows = arena_strdup(run->arena, text);
	free(text);
	json_decref(rows);
	return code == SQLITE_DONE ? 0 : connection_fail(connection, "Failed to execute query", err);
}

static int run_exec(SqlRun *run, Connection *connection, sqlite3_stmt *statement, Pb__InternalSQLResult *result, Error **err)
{
	int before = sqlite3_total_changes(connection->handle);
	int code = sqlite3_step(statement);
	result->type = arena_strdup(run->arena, "exec");
	result->rows_affected = sqlite3_total_changes(connection->handle) - before;
	return code == SQLITE_DONE ? 0 : connection_fail(connection, "Failed to execute query", err);
}

static int run_statements(Tx *tx, void *data, Error **err)
{
	SqlRun *run = data;
	Connection *connection = tx_connection(tx);
	const char *rest = run->query;
	g_ptr_array_set_size(run->results, 0);
	while (*rest) {
		sqlite3_stmt *statement = NULL;
		if (sqlite3_prepare_v2(connection->handle, rest, -1, &statement, &rest) != SQLITE_OK)
			return connection_fail(connection, "Failed to execute query", err);
		if (!statement) /* a comment or white space */
			continue;
		Pb__InternalSQLResult *result = arena_message(run->arena, Pb__InternalSQLResult, pb__internal_sqlresult);
		int failed = sqlite3_column_count(statement)
		    ? run_select(run, connection, statement, result, err)
		    : run_exec(run, connection, statement, result, err);
		sqlite3_finalize(statement);
		if (failed)
			return -1;
		g_ptr_array_add(run->results, result);
	}
	return 0;
}

static Store *named_store(Db *db, const char *database, Error **err)
{
	Store *store = db_store(db, database ? database : "");
	if (!store)
		error_set(err, ERROR_INVALID, "Invalid database \"%s\": must be \"local\" or \"global\"", database);
	return store;
}

static int store_sync(Store *store, Error **err)
{
	g_mutex_lock(&store->write_lock);
	int failed = connection_script(store->writer, "PRAGMA wal_checkpoint(TRUNCATE)", err);
	g_mutex_unlock(&store->write_lock);
	return failed;
}

int sql_run(Db *db, const char *database, const char *query, Arena *arena,
    struct Pb__InternalSQLBatch *out, Error **err)
{
	Store *store = named_store(db, database, err);
	if (!store)
		return -1;
	if (!query || !*query)
		return error_set(err, ERROR_INVALID, "No query provided");
	if (strcmp(query, ".sync") == 0)
		return store_sync(store, err);
	g_autoptr(GPtrArray) results = g_ptr_array_new();
	SqlRun run = {.query = query, .arena = arena, .results = results};
	g_autoptr(Error) failure = NULL;
	if (store_tx(store, run_statements, &run, &failure) < 0) {
		failure->kind = failure->kind == ERROR_UNAVAILABLE ? ERROR_UNAVAILABLE : ERROR_INVALID;
		return error_propagate(err, g_steal_pointer(&failure));
	}
	out->n_results = results->len;
	out->results = arena_memdup(arena, results->pdata, results->len * sizeof(void *));
	return 0;
}

typedef struct SqlDump {
	gboolean schema_only;
	GString *text;
} SqlDump;

/* One row of a table as an INSERT statement; SQLite's quote() knows every type. */
static int dump_rows(Tx *tx, GString *text, const char *table, Error **err)
{
	g_autofree char *pragma = g_strdup_printf("SELECT name FROM pragma_table_info('%s')", table);
	g_autoptr(GString) sql = g_string_new("SELECT ");
	g_autoptr(Rows) columns = NULL, rows = NULL;
	int more, n = 0;
	if (tx_query(tx, &columns, err, pragma, NULL) < 0)
		return -1;
	while ((more = rows_next(columns, err)) > 0)
		g_string_append_printf(sql, "%squote(\"%s\")", n++ ? "," : "", rows_text(columns, 0));
	g_string_append_printf(sql, " FROM \"%s\"", table);
	if (more < 0 || tx_query(tx, &rows, err, sql->str, NULL) < 0)
		return -1;
	while ((more = rows_next(rows, err)) > 0) {
		g_string_append_printf(text, "INSERT INTO %s VALUES(", table);
		for (int i = 0; i < n; i++)
			g_string_append_printf(text, "%s%s", i ? "," : "", rows_text(rows, i));
		g_string_append(text, ");\n");
	}
	return more;
}

/* Tables with their rows first, then what hangs on them. */
static int dump_text(Tx *tx, void *data, Error **err)
{
	static const char order[] = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'sqlite_sequence'"
				    " ORDER BY CASE type WHEN 'table' THEN 0 WHEN 'index' THEN 1 WHEN 'view' THEN 2 ELSE 3 END, rowid";
	SqlDump *dump = data;
	g_autoptr(Rows) rows = NULL;
	int more;
	g_string_assign(dump->text, "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n");
	if (tx_query(tx, &rows, err, order, NULL) < 0)
		return -1;
	while ((more = rows_next(rows, err)) > 0) {
		g_string_append_printf(dump->text, "%s;\n", rows_text(rows, 2));
		if (!dump->schema_only && strcmp(rows_text(rows, 0), "table") == 0 &&
		    dump_rows(tx, dump->text, rows_text(rows, 1), err) < 0)
			return -1;
	}
	if (more < 0)
		return -1;
	if (!dump->schema_only) {
		g_string_append(dump->text, "DELETE FROM sqlite_sequence;\n");
		if (dump_rows(tx, dump->text, "sqlite_sequence", err) < 0)
			return -1;
	}
	g_string_append(dump->text, "COMMIT;\n");
	return 0;
}

int sql_dump(Db *db, const char *database, gboolean schema_only, Arena *arena, char **ret_text, Error **err)
{
	if (!named_store(db, database, err))
		return -1;
	g_autoptr(GString) text = g_string_new(NULL);
	SqlDump dump = {.schema_only = schema_only, .text = text};
	int failed = strcmp(database, "local") == 0 ? db_local_read(db, dump_text, &dump, err)
						   : db_read(db, dump_text, &dump, err);
	if (!failed)
		*ret_text = arena_strdup(arena, text->str);
	return failed;
}
