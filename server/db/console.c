#include "server/db/console.h"
#include "sdk/base/json_text.h"
#include <sqlite3.h>
#include <string.h>

#define BUSY_MS 10000
#define TEXT_MAX (16 * 1024 * 1024)

static void connection_cleanup(sqlite3 **handle)
{
	sqlite3_close(*handle);
}

static void statement_cleanup(sqlite3_stmt **statement)
{
	sqlite3_finalize(*statement);
}

#define auto_connection __attribute__((cleanup(connection_cleanup))) sqlite3
#define auto_statement __attribute__((cleanup(statement_cleanup))) sqlite3_stmt

void sql_result_free(SqlResult *result)
{
	g_ptr_array_unref(result->columns);
	g_string_free(result->rows, TRUE);
	g_free(result);
}

static int fail(sqlite3 *handle, Error **err)
{
	return error_set(err, ERROR_INVALID, "Failed to execute query: %s", sqlite3_errmsg(handle));
}

static int open_database(
    const char *directory, const char *database, sqlite3 **ret_handle, Error **err)
{
	const char *file = NULL;
	if (g_str_equal(database, "local"))
		file = "database/local.db";
	else if (g_str_equal(database, "global"))
		file = "database/global/db.bin";
	else
		return error_set(err, ERROR_INVALID,
		    "Invalid database \"%s\": it is \"local\" or \"global\"", database);
	g_autofree char *path = g_build_filename(directory, file, NULL);
	if (sqlite3_open_v2(path, ret_handle, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
		return error_set(err, ERROR_INTERNAL, "Failed to open database \"%s\"", path);
	sqlite3_busy_timeout(*ret_handle, BUSY_MS);
	sqlite3_exec(*ret_handle, "PRAGMA foreign_keys=ON", NULL, NULL, NULL);
	return 0;
}

static void append_value(GString *json, sqlite3_stmt *statement, int column)
{
	switch (sqlite3_column_type(statement, column)) {
	case SQLITE_INTEGER:
		g_string_append_printf(
		    json, "%lld", (long long)sqlite3_column_int64(statement, column));
		break;
	case SQLITE_FLOAT: {
		char text[G_ASCII_DTOSTR_BUF_SIZE];
		g_string_append(json,
		    g_ascii_dtostr(text, sizeof(text), sqlite3_column_double(statement, column)));
		break;
	}
	case SQLITE_NULL:
		g_string_append(json, "null");
		break;
	default:
		json_text_append(json, (const char *)sqlite3_column_text(statement, column));
	}
}

static int collect_rows(sqlite3 *handle, sqlite3_stmt *statement, SqlResult *result, Error **err)
{
	int columns = sqlite3_column_count(statement), step;
	for (int i = 0; i < columns; i++)
		g_ptr_array_add(result->columns, g_strdup(sqlite3_column_name(statement, i)));
	g_string_append_c(result->rows, '[');
	while ((step = sqlite3_step(statement)) == SQLITE_ROW) {
		g_string_append(result->rows, result->rows->len > 1 ? ",[" : "[");
		for (int i = 0; i < columns; i++) {
			if (i)
				g_string_append_c(result->rows, ',');
			append_value(result->rows, statement, i);
		}
		g_string_append_c(result->rows, ']');
		if (result->rows->len > TEXT_MAX)
			return error_set(err, ERROR_INVALID,
			    "The result is larger than %d MiB: ask for less", TEXT_MAX >> 20);
	}
	g_string_append_c(result->rows, ']');
	return step == SQLITE_DONE ? 0 : fail(handle, err);
}

static int run_statement(sqlite3 *handle, sqlite3_stmt *statement, GPtrArray *results, Error **err)
{
	SqlResult *result = g_new0(SqlResult, 1);
	result->columns = g_ptr_array_new_with_free_func(g_free);
	result->rows = g_string_new(NULL);
	result->select = sqlite3_column_count(statement) > 0;
	g_ptr_array_add(results, result);
	if (collect_rows(handle, statement, result, err) < 0)
		return -1;
	if (!result->select)
		result->rows_affected = sqlite3_changes64(handle);
	return 0;
}

static int run_all(sqlite3 *handle, const char *text, GPtrArray *results, Error **err)
{
	while (*text) {
		auto_statement *statement = NULL;
		if (sqlite3_prepare_v2(handle, text, -1, &statement, &text) != SQLITE_OK)
			return fail(handle, err);
		if (statement && run_statement(handle, statement, results, err) < 0)
			return -1;
	}
	return 0;
}

int sql_run(const char *directory, const char *database, const char *text, GPtrArray **ret_results,
    Error **err)
{
	auto_connection *handle = NULL;
	g_autoptr(GPtrArray) results = g_ptr_array_new_with_free_func(
	    (GDestroyNotify)sql_result_free);
	if (open_database(directory, database, &handle, err) < 0)
		return -1;
	if (sqlite3_exec(handle, "BEGIN", NULL, NULL, NULL) != SQLITE_OK)
		return fail(handle, err);
	if (run_all(handle, text, results, err) < 0) {
		sqlite3_exec(handle, "ROLLBACK", NULL, NULL, NULL);
		return -1;
	}
	if (sqlite3_exec(handle, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
		return fail(handle, err);
	*ret_results = g_steal_pointer(&results);
	return 0;
}

int sql_sync(const char *directory, Error **err)
{
	auto_connection *handle = NULL;
	if (open_database(directory, "global", &handle, err) < 0)
		return -1;
	if (sqlite3_wal_checkpoint_v2(handle, NULL, SQLITE_CHECKPOINT_FULL, NULL, NULL) !=
	    SQLITE_OK)
		return fail(handle, err);
	return 0;
}

/* One row as a statement: SQLite's quote() writes every value. */
static int dump_rows(sqlite3 *handle, const char *table, GString *text, Error **err)
{
	auto_statement *columns = NULL, *rows = NULL;
	g_autoptr(GString) list = g_string_new(NULL);
	char *sql = sqlite3_mprintf("SELECT name FROM pragma_table_info(%Q)", table);
	int prepared = sqlite3_prepare_v2(handle, sql, -1, &columns, NULL);
	sqlite3_free(sql);
	if (prepared != SQLITE_OK)
		return fail(handle, err);
	while (sqlite3_step(columns) == SQLITE_ROW) {
		char *part = sqlite3_mprintf("%squote(\"%w\")", list->len ? "||','||" : "",
		    (const char *)sqlite3_column_text(columns, 0));
		g_string_append(list, part);
		sqlite3_free(part);
	}
	sql = sqlite3_mprintf("SELECT %s FROM \"%w\"", list->str, table);
	prepared = sqlite3_prepare_v2(handle, sql, -1, &rows, NULL);
	sqlite3_free(sql);
	if (prepared != SQLITE_OK)
		return fail(handle, err);
	while (sqlite3_step(rows) == SQLITE_ROW)
		g_string_append_printf(text, "INSERT INTO %s VALUES(%s);\n", table,
		    (const char *)sqlite3_column_text(rows, 0));
	return 0;
}

static int dump_kind(sqlite3 *handle, const char *where, gboolean rows, GString *text, Error **err)
{
	auto_statement *statement = NULL;
	g_autofree char *sql =
	    g_strdup_printf("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND %s "
			    "AND name NOT LIKE 'sqlite_%%' ORDER BY rowid",
		where);
	if (sqlite3_prepare_v2(handle, sql, -1, &statement, NULL) != SQLITE_OK)
		return fail(handle, err);
	while (sqlite3_step(statement) == SQLITE_ROW) {
		g_string_append_printf(
		    text, "%s;\n", (const char *)sqlite3_column_text(statement, 1));
		if (rows &&
		    dump_rows(handle, (const char *)sqlite3_column_text(statement, 0), text, err) <
			0)
			return -1;
	}
	return 0;
}

int sql_dump(const char *directory, const char *database, gboolean schema_only, char **ret_text,
    Error **err)
{
	auto_connection *handle = NULL;
	g_autoptr(GString) text = g_string_new("PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n");
	if (open_database(directory, database, &handle, err) < 0)
		return -1;
	sqlite3_exec(handle, "BEGIN", NULL, NULL, NULL); /* one snapshot for all of it */
	int result = dump_kind(handle, "type = 'table'", !schema_only, text, err);
	if (result == 0)
		result = dump_kind(handle, "type <> 'table'", FALSE, text, err);
	sqlite3_exec(handle, "COMMIT", NULL, NULL, NULL);
	if (result < 0)
		return -1;
	g_string_append(text, "COMMIT;\n");
	*ret_text = g_string_free(g_steal_pointer(&text), FALSE);
	return 0;
}
