#include "server/db/private.h"

#include "sdk/base/fault.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "sdk/base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

enum { READERS_MAX = 8, BUSY_MS = 10000, PARAMETERS_MAX = 255, STATEMENTS_MAX = 256 };

struct Tx {
	Connection *connection;
	int64_t changes;
};

struct Rows {
	Connection *connection;
	sqlite3_stmt *statement;
};

/* The transaction that this thread is in: nesting would deadlock on the writer's lock. */
static GPrivate current = G_PRIVATE_INIT(NULL);

int connection_fail(Connection *connection, const char *what, Error **err)
{
	int code = sqlite3_extended_errcode(connection->handle);
	const char *message = sqlite3_errmsg(connection->handle);
	ErrorKind kind = ERROR_INTERNAL;
	if (code == SQLITE_CONSTRAINT_UNIQUE || code == SQLITE_CONSTRAINT_PRIMARYKEY)
		kind = ERROR_EXISTS;
	else if ((code & 0xff) == SQLITE_CONSTRAINT)
		kind = ERROR_INVALID;
	else if ((code & 0xff) == SQLITE_BUSY)
		kind = ERROR_UNAVAILABLE;
	return error_set(err, kind, "%s: %s", what, message);
}

int connection_script(Connection *connection, const char *sql, Error **err)
{
	if (sqlite3_exec(connection->handle, sql, NULL, NULL, NULL) != SQLITE_OK)
		return connection_fail(connection, "Database statement failed", err);
	return 0;
}

static void statement_free(void *statement)
{
	sqlite3_finalize(statement);
}

int connection_open(const char *path, Connection **ret_connection, Error **err)
{
	/* NORMAL with WAL loses no consistency in any crash, and no committed row when only the
	 * process dies. */
	static const char pragmas[] = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
				      "PRAGMA foreign_keys=ON; PRAGMA temp_store=MEMORY;";
	Connection *connection = g_new0(Connection, 1);
	connection->statements = g_hash_table_new_full(
	    g_str_hash, g_str_equal, g_free, statement_free);
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
	if (sqlite3_open_v2(path, &connection->handle, flags, NULL) != SQLITE_OK) {
		error_set(err, ERROR_INTERNAL, "Failed to open database \"%s\": %s", path,
		    connection->handle ? sqlite3_errmsg(connection->handle) : "out of memory");
		connection_close(connection);
		return -1;
	}
	sqlite3_extended_result_codes(connection->handle, 1);
	sqlite3_busy_timeout(connection->handle, BUSY_MS);
	if (connection_script(connection, pragmas, err) < 0) {
		connection_close(connection);
		return error_prefix(err, "Failed to open database \"%s\"", path);
	}
	*ret_connection = connection;
	return 0;
}

void connection_close(Connection *connection)
{
	if (!connection)
		return;
	g_hash_table_unref(connection->statements);
	sqlite3_close(connection->handle);
	g_free(connection);
}

static int store_open(Store *store, const char *name, char *path, Error **err)
{
	*store = (Store){.name = name, .path = path};
	g_mutex_init(&store->write_lock);
	g_mutex_init(&store->read_lock);
	g_cond_init(&store->read_free);
	store->readers = g_ptr_array_new_with_free_func((GDestroyNotify)connection_close);
	return connection_open(path, &store->writer, err);
}

static void store_close(Store *store)
{
	if (!store->path)
		return;
	g_ptr_array_unref(store->readers);
	connection_close(store->writer); /* the last one out folds the journal into the file */
	g_mutex_clear(&store->write_lock);
	g_mutex_clear(&store->read_lock);
	g_cond_clear(&store->read_free);
	g_free(store->path);
}

int db_open(const char *directory, Db **ret_db, Error **err)
{
	g_autofree char *folder = g_build_filename(directory, "database", NULL);
	g_autofree char *global = g_build_filename(folder, "global", NULL);
	g_autofree char *global_patch = g_build_filename(folder, "patch.global.sql", NULL);
	g_autofree char *local_patch = g_build_filename(folder, "patch.local.sql", NULL);
	if (file_mkdir_all(folder, 0700, err) < 0 || file_mkdir_all(global, 0750, err) < 0)
		return -1;
	Db *db = g_new0(Db, 1);
	if (store_open(&db->local, "local", g_build_filename(folder, "local.db", NULL), err) < 0 ||
	    store_open(&db->global, "global", g_build_filename(global, "db.bin", NULL), err) < 0 ||
	    store_migrate(&db->local, schema_local, local_patch, err) < 0 ||
	    store_migrate(&db->global, schema_global, global_patch, err) < 0) {
		db_close(db);
		return -1;
	}
	*ret_db = db;
	return 0;
}

int db_open_existing(const char *directory, Db **ret_db, Error **err)
{
	g_autofree char *local = g_build_filename(directory, "database", "local.db", NULL);
	g_autofree char *global = g_build_filename(directory, "database", "global", "db.bin", NULL);
	*ret_db = NULL;
	if (!g_file_test(local, G_FILE_TEST_IS_REGULAR) ||
	    !g_file_test(global, G_FILE_TEST_IS_REGULAR))
		return 0;
	Db *db = g_new0(Db, 1);
	if (store_open(&db->local, "local", g_steal_pointer(&local), err) < 0 ||
	    store_open(&db->global, "global", g_steal_pointer(&global), err) < 0) {
		db_close(db);
		return -1;
	}
	*ret_db = db;
	return 0;
}

void db_close(Db *db)
{
	if (!db)
		return;
	store_close(&db->global);
	store_close(&db->local);
	g_free(db);
}

Store *db_store(Db *db, const char *name)
{
	return strcmp(name, "global") == 0 ? &db->global :
	    strcmp(name, "local") == 0	   ? &db->local :
					     NULL;
}

sqlite3 *tx_handle(Tx *tx)
{
	return tx->connection->handle;
}

Connection *tx_connection(Tx *tx)
{
	return tx->connection;
}

static int run_tx(Connection *connection, const char *begin,
    int (*fn)(Tx *tx, void *data, Error **err), void *data, Error **err)
{
	Tx tx = {.connection = connection};
	if (g_private_get(&current))
		g_error("Nested database transactions");
	if (sqlite3_exec(connection->handle, begin, NULL, NULL, NULL) != SQLITE_OK)
		return connection_fail(connection, "Failed to begin a transaction", err);
	g_private_set(&current, &tx);
	int failed = fn(&tx, data, err);
	g_private_set(&current, NULL);
	if (!failed && sqlite3_exec(connection->handle, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
		failed = connection_fail(connection, "Failed to commit", err);
	/* SQLite rolls back on its own when the disk is full. */
	if (failed && !sqlite3_get_autocommit(connection->handle))
		sqlite3_exec(connection->handle, "ROLLBACK", NULL, NULL, NULL);
	return failed ? -1 : 0;
}

int store_tx(Store *store, int (*fn)(Tx *tx, void *data, Error **err), void *data, Error **err)
{
	if (g_private_get(&current))
		g_error("Nested database transactions");
	if (fault_point("database transaction", err) < 0)
		return -1;
	g_mutex_lock(&store->write_lock);
	int failed = run_tx(store->writer, "BEGIN IMMEDIATE", fn, data, err);
	g_mutex_unlock(&store->write_lock);
	return failed;
}

static Connection *reader_take(Store *store, Error **err)
{
	Connection *reader = NULL;
	g_mutex_lock(&store->read_lock);
	while (!store->readers->len && store->n_readers >= READERS_MAX)
		g_cond_wait(&store->read_free, &store->read_lock);
	if (store->readers->len)
		reader = g_ptr_array_steal_index_fast(store->readers, store->readers->len - 1);
	else
		store->n_readers++;
	g_mutex_unlock(&store->read_lock);
	if (!reader && connection_open(store->path, &reader, err) < 0) {
		g_mutex_lock(&store->read_lock);
		store->n_readers--;
		g_cond_signal(&store->read_free);
		g_mutex_unlock(&store->read_lock);
	}
	return reader;
}

/* A connection costs a parse of the whole schema and a cache: as long as nobody has to wait for it,
 * the writer's serves reads too. */
static gboolean writer_take(Store *store)
{
	g_mutex_lock(&store->read_lock);
	gboolean alone = !store->n_readers;
	g_mutex_unlock(&store->read_lock);
	return alone && g_mutex_trylock(&store->write_lock);
}

static int store_read(
    Store *store, int (*fn)(Tx *tx, void *data, Error **err), void *data, Error **err)
{
	if (g_private_get(&current))
		g_error("Nested database transactions");
	if (writer_take(store)) {
		int result = run_tx(store->writer, "BEGIN", fn, data, err);
		g_mutex_unlock(&store->write_lock);
		return result;
	}
	Connection *reader = reader_take(store, err);
	if (!reader)
		return -1;
	int failed = run_tx(reader, "BEGIN", fn, data, err);
	g_mutex_lock(&store->read_lock);
	g_ptr_array_add(store->readers, reader);
	g_cond_signal(&store->read_free);
	g_mutex_unlock(&store->read_lock);
	return failed;
}

int db_tx(Db *db, int (*fn)(Tx *tx, void *data, Error **err), void *data, Error **err)
{
	return store_tx(&db->global, fn, data, err);
}

int db_read(Db *db, int (*fn)(Tx *tx, void *data, Error **err), void *data, Error **err)
{
	return store_read(&db->global, fn, data, err);
}

int db_local_tx(Db *db, int (*fn)(Tx *tx, void *data, Error **err), void *data, Error **err)
{
	return store_tx(&db->local, fn, data, err);
}

int db_local_read(Db *db, int (*fn)(Tx *tx, void *data, Error **err), void *data, Error **err)
{
	return store_read(&db->local, fn, data, err);
}

/* The journal is where it is until it is folded into the file, which happens with a flush. */
int db_sync(Db *db, Error **err)
{
	g_autofree char *path = g_strconcat(db->global.path, "-wal", NULL);
	autofd int fd = open(path, O_RDONLY | O_CLOEXEC);
	return (fd < 0 && errno != ENOENT) || (fd >= 0 && fsync(fd) < 0) ?
	    error_errno(err, ERROR_INTERNAL, errno, "Cannot flush \"%s\"", path) :
	    0;
}

/* Portability: what Cowsql cannot run must fail here already, so that tests see it. */
/* In any case, as a word of its own; inside a text it counts too. */
static gboolean has_word(const char *sql, const char *word)
{
	size_t n = strlen(word);
	for (const char *at = sql; (at = strcasestr(at, word)); at += n)
		if (at > sql && !g_ascii_isalnum(at[-1]) && at[-1] != '_' &&
		    !g_ascii_isalnum(at[n]) && at[n] != '_')
			return TRUE;
	return FALSE;
}

static int check_portable(const char *sql, const char *tail, Error **err)
{
	static const char *const banned[] = {"VACUUM", "ATTACH", "DETACH", "PRAGMA", NULL};
	while (tail && (g_ascii_isspace(*tail) || *tail == ';'))
		tail++;
	if (tail && *tail)
		return error_set(err, ERROR_INTERNAL, "More than one statement: %s", sql);
	for (const char *const *word = banned; *word; word++)
		if (g_ascii_strncasecmp(sql, *word, strlen(*word)) == 0)
			return error_set(err, ERROR_INTERNAL, "Statement is not portable: %s", sql);
	if (has_word(sql, "RETURNING"))
		return error_set(err, ERROR_INTERNAL, "RETURNING is not portable: %s", sql);
	return 0;
}

static sqlite3_stmt *statement_take(Connection *connection, const char *sql, Error **err)
{
	void *key, *found;
	if (g_hash_table_steal_extended(connection->statements, sql, &key, &found)) {
		g_free(key);
		return found;
	}
	sqlite3_stmt *statement = NULL;
	const char *tail = NULL;
	if (sqlite3_prepare_v3(connection->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement,
		&tail) != SQLITE_OK) {
		connection_fail(connection, "Database statement failed", err);
		return NULL;
	}
	if (!statement || check_portable(sql, tail, err) < 0) {
		error_set(err, ERROR_INTERNAL, "Empty database statement");
		sqlite3_finalize(statement);
		return NULL;
	}
	return statement;
}

static void statement_give_back(Connection *connection, sqlite3_stmt *statement)
{
	const char *sql = sqlite3_sql(statement);
	sqlite3_reset(statement);
	sqlite3_clear_bindings(statement);
	if (g_hash_table_size(connection->statements) >= STATEMENTS_MAX ||
	    g_hash_table_contains(connection->statements, sql))
		sqlite3_finalize(statement);
	else
		g_hash_table_insert(connection->statements, g_strdup(sql), statement);
}

static int bind_time(sqlite3_stmt *statement, int index, int64_t seconds)
{
	char text[64];
	g_autoptr(GDateTime) date = seconds ? g_date_time_new_from_unix_utc(seconds) : NULL;
	if (!date)
		return sqlite3_bind_null(statement, index);
	g_snprintf(text, sizeof(text), "%04d-%02d-%02d %02d:%02d:%02d+00:00",
	    g_date_time_get_year(date), g_date_time_get_month(date),
	    g_date_time_get_day_of_month(date), g_date_time_get_hour(date),
	    g_date_time_get_minute(date), g_date_time_get_second(date));
	return sqlite3_bind_text(statement, index, text, -1, SQLITE_TRANSIENT);
}

static int bind_moment(sqlite3_stmt *statement, int index, const Moment *moment)
{
	if (moment->seconds == 0)
		return sqlite3_bind_null(statement, index);
	g_autofree char *text = moment_format(moment);
	char *zone = strpbrk(text + 19, "Z+-");
	text[10] = ' ';
	g_autofree char *stored = g_strdup_printf(
	    "%.*s%s", (int)(zone - text), text, *zone == 'Z' ? "+00:00" : zone);
	return sqlite3_bind_text(statement, index, stored, -1, SQLITE_TRANSIENT);
}

static int bind_all(sqlite3_stmt *statement, const char *format, va_list args)
{
	int index = 0, code = SQLITE_OK;
	for (const char *type = format; *type && code == SQLITE_OK; type++) {
		const void *pointer;
		index++;
		switch (*type) {
		case 's':
			code = sqlite3_bind_text(
			    statement, index, va_arg(args, const char *), -1, SQLITE_TRANSIENT);
			break;
		case 'i':
			code = sqlite3_bind_int64(statement, index, va_arg(args, int64_t));
			break;
		case 'd':
			code = sqlite3_bind_double(statement, index, va_arg(args, double));
			break;
		case 't':
			code = bind_time(statement, index, va_arg(args, int64_t));
			break;
		case 'T':
			code = bind_moment(statement, index, va_arg(args, const Moment *));
			break;
		case 'b':
			pointer = va_arg(args, const void *);
			code = sqlite3_bind_blob64(
			    statement, index, pointer, va_arg(args, size_t), SQLITE_TRANSIENT);
			break;
		default:
			g_error("Unknown parameter type '%c'", *type);
		}
	}
	if (code == SQLITE_OK &&
	    (index != sqlite3_bind_parameter_count(statement) || index > PARAMETERS_MAX))
		g_error("%d parameters for: %s", index, sqlite3_sql(statement));
	return code;
}

static sqlite3_stmt *statement_bound(
    Tx *tx, const char *sql, const char *format, va_list args, Error **err)
{
	sqlite3_stmt *statement = statement_take(tx->connection, sql, err);
	if (statement && bind_all(statement, format ? format : "", args) != SQLITE_OK) {
		connection_fail(tx->connection, "Database statement failed", err);
		statement_give_back(tx->connection, statement);
		return NULL;
	}
	return statement;
}

static int exec_with(Tx *tx, Error **err, const char *sql, const char *format, va_list args)
{
	sqlite3_stmt *statement = statement_bound(tx, sql, format, args, err);
	if (!statement)
		return -1;
	int code;
	while ((code = sqlite3_step(statement)) == SQLITE_ROW)
		;
	tx->changes = sqlite3_changes(tx->connection->handle);
	int failed = code == SQLITE_DONE ?
	    0 :
	    connection_fail(tx->connection, "Database statement failed", err);
	statement_give_back(tx->connection, statement);
	return failed;
}

int tx_exec(Tx *tx, Error **err, const char *sql, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	int failed = exec_with(tx, err, sql, format, args);
	va_end(args);
	return failed;
}

int tx_insert(Tx *tx, int64_t *ret_id, Error **err, const char *sql, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	int failed = exec_with(tx, err, sql, format, args);
	va_end(args);
	if (!failed && ret_id)
		*ret_id = sqlite3_last_insert_rowid(tx->connection->handle);
	return failed;
}

int64_t tx_changes(Tx *tx)
{
	return tx->changes;
}

int tx_query(Tx *tx, Rows **ret_rows, Error **err, const char *sql, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	sqlite3_stmt *statement = statement_bound(tx, sql, format, args, err);
	va_end(args);
	if (!statement)
		return -1;
	Rows *rows = g_new(Rows, 1);
	*rows = (Rows){.connection = tx->connection, .statement = statement};
	*ret_rows = rows;
	return 0;
}

int rows_next(Rows *rows, Error **err)
{
	int code = sqlite3_step(rows->statement);
	if (code == SQLITE_ROW)
		return 1;
	if (code == SQLITE_DONE)
		return 0;
	return connection_fail(rows->connection, "Database query failed", err);
}

void rows_free(Rows *rows)
{
	if (!rows)
		return;
	statement_give_back(rows->connection, rows->statement);
	g_free(rows);
}

const char *rows_text(Rows *rows, int column)
{
	return (const char *)sqlite3_column_text(rows->statement, column);
}

int64_t rows_int(Rows *rows, int column)
{
	return sqlite3_column_int64(rows->statement, column);
}

double rows_double(Rows *rows, int column)
{
	return sqlite3_column_double(rows->statement, column);
}

gboolean rows_null(Rows *rows, int column)
{
	return sqlite3_column_type(rows->statement, column) == SQLITE_NULL;
}

int rows_columns(Rows *rows)
{
	return sqlite3_column_count(rows->statement);
}

const char *rows_column_name(Rows *rows, int column)
{
	return sqlite3_column_name(rows->statement, column);
}

int tx_int(Tx *tx, int64_t *ret_value, Error **err, const char *sql, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	sqlite3_stmt *statement = statement_bound(tx, sql, format, args, err);
	va_end(args);
	if (!statement)
		return -1;
	int code = sqlite3_step(statement), failed = 0;
	if (code == SQLITE_ROW)
		*ret_value = sqlite3_column_int64(statement, 0);
	else if (code == SQLITE_DONE)
		failed = error_set(err, ERROR_NOT_FOUND, "Not found");
	else
		failed = connection_fail(tx->connection, "Database query failed", err);
	statement_give_back(tx->connection, statement);
	return failed;
}

int tx_config_load(
    Tx *tx, const char *table, const char *owner_column, int64_t owner, Config **ret, Error **err)
{
	g_autofree char *sql = g_strdup_printf(
	    "SELECT key, value FROM %s WHERE %s = ?", table, owner_column);
	g_autoptr(Rows) rows = NULL;
	g_autoptr(Config) config = config_new();
	int more;
	if (tx_query(tx, &rows, err, sql, "i", owner) < 0)
		return -1;
	while ((more = rows_next(rows, err)) > 0)
		config_set(config, rows_text(rows, 0), rows_text(rows, 1));
	if (more < 0)
		return -1;
	*ret = g_steal_pointer(&config);
	return 0;
}

int tx_config_replace(Tx *tx, const char *table, const char *owner_column, int64_t owner,
    const Config *config, Error **err)
{
	g_autofree char *erase = g_strdup_printf(
	    "DELETE FROM %s WHERE %s = ?", table, owner_column);
	g_autofree char *insert = g_strdup_printf(
	    "INSERT INTO %s (%s, key, value) VALUES (?, ?, ?)", table, owner_column);
	guint n;
	g_autofree const char **keys = config_sorted_keys(config, &n);
	if (tx_exec(tx, err, erase, "i", owner) < 0)
		return -1;
	for (guint i = 0; i < n; i++)
		if (*config_get(config, keys[i]) &&
		    tx_exec(tx, err, insert, "iss", owner, keys[i], config_get(config, keys[i])) <
			0)
			return -1;
	return 0;
}
