/* The database: transactions, constraints, readers beside a writer, crashes, full disks, patches.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "sdk/base/file.h"
#include "server/db/private.h"
#include "server/db/console.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

static char *top;

static int setup(void **state)
{
	top = g_strdup("/var/tmp/test-db-XXXXXX");
	return g_mkdtemp(top) ? 0 : -1;
}

static int teardown(void **state)
{
	file_remove_all(AT_FDCWD, top, NULL);
	g_free(top);
	return 0;
}

static Db *open_db(void)
{
	Db *db = NULL;
	g_autoptr(Error) err = NULL;
	if (db_open(top, &db, &err) < 0)
		fail_msg("%s", err->message);
	return db;
}

static int count(Tx *tx, void *data, Error **err)
{
	return tx_int(tx, data, err, "SELECT COUNT(*) FROM config", NULL);
}

static int insert_pair(Tx *tx, void *data, Error **err)
{
	const char *key = data;
	g_autofree char *second = g_strconcat(key, ".pair", NULL);
	if (tx_exec(tx, err, "INSERT INTO config (key, value) VALUES (?, ?)", "ss", key, "x") < 0)
		return -1;
	return tx_exec(
	    tx, err, "INSERT INTO config (key, value) VALUES (?, ?)", "ss", second, NULL);
}

static int insert_then_fail(Tx *tx, void *data, Error **err)
{
	if (insert_pair(tx, data, err) < 0)
		return -1;
	return error_set(err, ERROR_INVALID, "Changed my mind");
}

static int64_t rows_in(Db *db)
{
	int64_t n = -1;
	assert_int_equal(db_read(db, count, &n, NULL), 0);
	return n;
}

static void test_transactions(void **state)
{
	Db *db = open_db();
	g_autoptr(Error) err = NULL;
	char key[] = "k";
	assert_int_equal(db_tx(db, insert_pair, key, &err), 0);
	assert_int_equal(rows_in(db), 2);
	assert_int_equal(db_tx(db, insert_pair, key, &err), -1);
	assert_int_equal(err->kind, ERROR_EXISTS);
	g_clear_pointer(&err, error_free);
	char other[] = "other";
	assert_int_equal(db_tx(db, insert_then_fail, other, &err), -1);
	assert_string_equal(err->message, "Changed my mind");
	assert_int_equal(rows_in(db), 2);
	db_close(db);
	db = open_db();
	assert_int_equal(rows_in(db), 2);
	db_close(db);
}

static int defaults(Tx *tx, void *data, Error **err)
{
	int64_t n;
	g_autoptr(Config) config = NULL;
	assert_int_equal(tx_int(tx, &n, err, "SELECT MAX(version) FROM schema", NULL), 0);
	assert_int_equal(n, 69);
	assert_int_equal(tx_config_load(tx, "projects_config", "project_id", 1, &config, err), 0);
	assert_true(config_true(config, "features.images"));
	assert_int_equal(g_hash_table_size(config), 6);
	config_set(config, "user.x", "y");
	assert_int_equal(tx_config_replace(tx, "projects_config", "project_id", 1, config, err), 0);
	assert_int_equal(tx_int(tx, &n, err, "SELECT COUNT(*) FROM projects_config", NULL), 0);
	assert_int_equal(n, 7);
	g_autoptr(Rows) rows = NULL;
	assert_int_equal(
	    tx_query(tx, &rows, err, "SELECT name, description FROM profiles", NULL), 0);
	assert_int_equal(rows_next(rows, err), 1);
	assert_string_equal(rows_text(rows, 0), "default");
	assert_int_equal(rows_next(rows, err), 0);
	/* a foreign key that points nowhere */
	assert_int_equal(
	    tx_exec(tx, err,
		"INSERT INTO profiles (name, description, project_id) VALUES ('x', '', ?)", "i",
		(int64_t)99),
	    -1);
	assert_int_equal((*err)->kind, ERROR_INVALID);
	error_free(*err);
	*err = NULL;
	assert_int_equal(
	    tx_int(tx, &n, err, "SELECT id FROM profiles WHERE name = ?", "s", "missing"), -1);
	assert_int_equal((*err)->kind, ERROR_NOT_FOUND);
	error_free(*err);
	*err = NULL;
	assert_int_equal(tx_exec(tx, err, "VACUUM", NULL), -1);
	error_free(*err);
	*err = NULL;
	assert_int_equal(tx_exec(tx, err, "DELETE FROM config\nreturning id", NULL), -1);
	assert_non_null(strstr((*err)->message, "RETURNING"));
	error_free(*err);
	*err = NULL;
	assert_int_equal(tx_exec(tx, err, "DELETE FROM config; DELETE FROM nodes", NULL), -1);
	error_free(*err);
	*err = NULL;
	assert_int_equal(
	    tx_exec(tx, err, "UPDATE nodes SET heartbeat = ?", "t", (int64_t)1700000000), 0);
	assert_int_equal(tx_changes(tx), 1);
	g_autoptr(Rows) times = NULL;
	assert_int_equal(tx_query(tx, &times, err, "SELECT heartbeat FROM nodes", NULL), 0);
	assert_int_equal(rows_next(times, err), 1);
	assert_string_equal(rows_text(times, 0), "2023-11-14 22:13:20+00:00");
	assert_int_equal(rows_time(times, 0), 1700000000);
	return 0;
}

static void test_defaults(void **state)
{
	Db *db = open_db();
	g_autoptr(Error) err = NULL;
	if (db_tx(db, defaults, NULL, &err) < 0)
		fail_msg("%s", err->message);
	db_close(db);
}

static void *reader_thread(void *data)
{
	for (int i = 0; i < 200; i++)
		assert_true(rows_in(data) % 2 == 0); /* never half a transaction */
	return NULL;
}

static void *writer_thread(void *data)
{
	for (int i = 0; i < 50; i++) {
		g_autofree char *key = g_strdup_printf("%p-%d", (void *)g_thread_self(), i);
		assert_int_equal(db_tx(data, insert_pair, key, NULL), 0);
	}
	return NULL;
}

static void test_threads(void **state)
{
	Db *db = open_db();
	GThread *threads[12];
	for (int i = 0; i < 12; i++)
		threads[i] = g_thread_new("t", i < 2 ? writer_thread : reader_thread, db);
	for (int i = 0; i < 12; i++)
		g_thread_join(threads[i]);
	assert_int_equal(rows_in(db), 200);
	db_close(db);
}

/* A child writes pairs until it is killed; each time the database opens and holds whole pairs. */
static void test_kill(void **state)
{
	int64_t before = 0;
	db_close(open_db());
	for (int round = 0; round < 8; round++) {
		pid_t pid = fork();
		if (pid == 0) {
			Db *db = NULL;
			if (db_open(top, &db, NULL) < 0)
				_exit(1);
			for (int i = 0;; i++) {
				g_autofree char *key = g_strdup_printf(
				    "%d-%d-%d", round, (int)getpid(), i);
				db_tx(db, insert_pair, key, NULL);
			}
		}
		g_usleep((gulong)(20000 + 7000 * round));
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		Db *db = open_db();
		int64_t n = rows_in(db);
		assert_true(n % 2 == 0 && n >= before);
		before = n;
		db_close(db);
	}
	assert_true(before > 0);
}

static int insert_large(Tx *tx, void *data, Error **err)
{
	g_autofree char *large = g_strnfill(1 << 20, 'x');
	for (int i = 0; i < 16; i++) {
		g_autofree char *key = g_strdup_printf("large-%d", i);
		if (tx_exec(tx, err, "INSERT INTO config (key, value) VALUES (?, ?)", "ss", key,
			large) < 0)
			return -1;
	}
	return 0;
}

static void test_full_disk(void **state)
{
	if (mount("none", top, "tmpfs", 0, "size=8m") < 0) {
		print_message("no right to mount here\n");
		skip();
	}
	Db *db = open_db();
	g_autoptr(Error) err = NULL;
	char key[] = "k";
	assert_int_equal(db_tx(db, insert_pair, key, &err), 0);
	assert_int_equal(db_tx(db, insert_large, NULL, &err), -1);
	assert_non_null(strstr(err->message, "full"));
	assert_int_equal(rows_in(db), 2);
	char again[] = "again";
	g_clear_pointer(&err, error_free);
	if (db_tx(db, insert_pair, again, &err) < 0)
		fail_msg("%s", err->message);
	db_close(db);
	assert_int_equal(umount(top), 0);
}

static void test_sql(void **state)
{
	Db *db = open_db();
	g_autoptr(Error) err = NULL;
	g_autoptr(GPtrArray) results = NULL;
	static const char text[] = "INSERT INTO config (key, value) VALUES ('a', 'b'), ('c', 'd;');"
				   " SELECT key, value, NULL, 1 FROM config";
	assert_int_equal(sql_run(top, "global", text, &results, &err), 0);
	assert_int_equal(results->len, 2);
	const SqlResult *select = g_ptr_array_index(results, 1);
	assert_int_equal(((SqlResult *)g_ptr_array_index(results, 0))->rows_affected, 2);
	assert_string_equal(select->rows->str, "[[\"a\",\"b\",null,1],[\"c\",\"d;\",null,1]]");
	assert_int_equal(rows_in(db), 2);
	GPtrArray *none = NULL;
	assert_int_equal(sql_run(top, "global", "SELECT * FROM nowhere", &none, &err), -1);
	g_clear_pointer(&err, error_free);
	assert_int_equal(sql_run(top, "other", "SELECT 1", &none, &err), -1);
	g_clear_pointer(&err, error_free);
	assert_int_equal(sql_sync(top, &err), 0);
	g_autofree char *dump = NULL, *schema = NULL;
	assert_int_equal(sql_dump(top, "global", FALSE, &dump, &err), 0);
	assert_non_null(strstr(dump, "CREATE TRIGGER"));
	assert_non_null(strstr(dump, "CREATE VIEW"));
	assert_non_null(strstr(dump, "CREATE INDEX"));
	assert_non_null(strstr(dump, "'d;'"));
	sqlite3 *copy = NULL; /* the dump must load */
	assert_int_equal(sqlite3_open(":memory:", &copy), SQLITE_OK);
	assert_int_equal(sqlite3_exec(copy, dump, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(copy);
	assert_int_equal(sql_dump(top, "local", TRUE, &schema, &err), 0);
	assert_null(strstr(schema, "INSERT"));
	assert_non_null(strstr(schema, "raft_nodes"));
	db_close(db);
}

static int make_newer(Tx *tx, void *data, Error **err)
{
	return tx_exec(tx, err, "INSERT INTO schema (version, updated_at) VALUES (999, 0)", NULL);
}

static void test_patch_and_versions(void **state)
{
	g_autoptr(Error) err = NULL;
	g_autofree char *patch = g_build_filename(top, "database", "patch.global.sql", NULL);
	db_close(open_db());
	static const char sql[] =
	    "INSERT INTO config (key, value) VALUES ('from.patch', '1'); DELETE FROM cluster_groups;";
	assert_int_equal(file_write_atomic(AT_FDCWD, patch, sql, strlen(sql), 0600, &err), 0);
	Db *db = open_db();
	assert_int_equal(rows_in(db), 1);
	assert_int_equal(access(patch, F_OK), -1);
	g_autofree char *kept = g_build_filename(top, "database", "global.bak", "db.bin", NULL);
	assert_int_equal(access(kept, F_OK), 0); /* as it was before the patch */
	assert_int_equal(db_tx(db, make_newer, NULL, &err), 0);
	db_close(db);
	db = NULL;
	assert_int_equal(db_open(top, &db, &err), -1);
	assert_non_null(strstr(err->message, "newer"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_transactions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_defaults, setup, teardown),
		cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kill, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sql, setup, teardown),
		cmocka_unit_test_setup_teardown(test_patch_and_versions, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
