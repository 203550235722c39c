/* Parts of lxd-to-incus that need no LXD: names of raft's files, paths, tables of text, the
 * journal. */
#include "migrate/act.h"
#include "migrate/compare.h"
#include "migrate/journal.h"
#include "migrate/lxd_database.h"
#include "migrate/options.h"
#include "migrate/progress.h"
#include "migrate/table.h"
#include "migrate/tool.h"
#include "migrate/work.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static gboolean needs(const char *name, const char *const *all)
{
	g_autoptr(GPtrArray) names = g_ptr_array_new();
	for (; *all; all++)
		g_ptr_array_add(names, (void *)*all);
	g_autoptr(GPtrArray) needed = lxd_database_needed(names);
	for (guint i = 0; i < needed->len; i++)
		if (strcmp(needed->pdata[i], name) == 0)
			return TRUE;
	return FALSE;
}

static void test_needed(void **state)
{
	static const char *const plain[] = { "metadata1", "0000000000000001-0000000000000009",
		"open-1", "db.bin", "../evil", "open-1x", NULL };
	static const char *const snapshot[] = { "metadata1", "metadata2",
		"0000000000000001-0000000000000100", "0000000000000101-0000000000000200",
		"0000000000000201-0000000000000210", "snapshot-1-200-99", "snapshot-1-200-99.meta",
		"snapshot-1-150-98", "snapshot-1-150-98.meta", NULL };
	assert_true(needs("0000000000000001-0000000000000009", plain));
	assert_true(needs("open-1", plain) && needs("metadata1", plain));
	assert_false(needs("db.bin", plain) || needs("../evil", plain) || needs("open-1x", plain));
	/* The older snapshot may be the one that is whole. */
	assert_false(needs("0000000000000001-0000000000000100", snapshot));
	assert_true(needs("0000000000000101-0000000000000200", snapshot));
	assert_true(needs("snapshot-1-150-98.meta", snapshot) && needs("metadata2", snapshot));
}

/* 0 while nobody takes the folder of a run for one that was left. */
static int work_often(void)
{
	for (int i = 0; i < 400; i++) {
		Work work;
		if (work_open(&work, NULL) < 0)
			return 1;
		g_autofree char *path = g_build_filename(work.path, "file", NULL);
		if (file_write_plain(path, "x", 0600, NULL) < 0 || unlink(path) < 0)
			return 2;
		work_close(&work);
	}
	return 0;
}

static void test_work_beside_others(void **state)
{
	enum { RUNS = 8 };
	pid_t runs[RUNS];
	for (int i = 0; i < RUNS; i++) {
		runs[i] = fork();
		if (runs[i] == 0)
			_exit(work_often());
	}
	for (int i = 0; i < RUNS; i++) {
		int status = -1;
		assert_int_equal(waitpid(runs[i], &status, 0), runs[i]);
		assert_int_equal(status, 0);
	}
}

static void assert_moved(const char *path, const char *from, const char *expected)
{
	g_autofree char *moved = tool_moved_path(path, from, "/new");
	if (expected)
		assert_string_equal(moved, expected);
	else
		assert_null(moved);
}

static void test_paths(void **state)
{
	assert_moved("/var/lib/lxd/disks/a.img", "/var/lib/lxd", "/new/disks/a.img");
	assert_moved("/var/lib/lxd", "/var/lib/lxd/", "/new");
	assert_moved("/var/lib/lxdx/disks", "/var/lib/lxd", NULL);
	assert_moved("var/lib/lxd", "/var/lib/lxd", NULL);
	assert_true(tool_within("/a/b", "/a") && !tool_within("/ab", "/a"));
}

static void test_table(void **state)
{
	g_autoptr(TextTable) table = text_table_new("A", "LONG", NULL);
	text_table_add(table, "wide", "x\x1b[2J", NULL);
	g_autofree char *text = text_table_text(table);
	assert_string_equal(text, "A     LONG\nwide  x?[2J\n");
}

static void assert_progress(uint64_t done, uint64_t total, double seconds, const char *expected)
{
	g_autofree char *text = progress_text("Copying", done, total, seconds);
	assert_string_equal(text, expected);
}

static void test_progress(void **state)
{
	const uint64_t mib = 1 << 20;
	assert_progress(
	    0, 4 * mib, 0, "Copying:   0% [                              ] 0B of 4.0MiB");
	assert_progress(
	    mib, 4 * mib, 1, "Copying:  25% [#######                       ] 1.0MiB of 4.0MiB");
	assert_progress(mib, 4 * mib, 40,
	    "Copying:  25% [#######                       ] 1.0MiB of 4.0MiB, 3 min left");
	assert_progress(mib, 4 * mib, 4000,
	    "Copying:  25% [#######                       ] 1.0MiB of 4.0MiB, 3 h 20 min left");
	assert_progress(9 * mib, 4 * mib, 9,
	    "Copying: 100% [##############################] 4.0MiB of 4.0MiB, 1 s left");
}

static void test_options(void **state)
{
	char *good[] = { "p", "--source=/a/../b", "--target", "t", "-y", "--json", NULL };
	char *bad[] = { "p", "--source", NULL };
	Options options;
	Error *err = NULL;
	assert_int_equal(options_parse(6, good, &options, &err), 0);
	assert_string_equal(options.source, "/b");
	assert_true(options.yes && options.json && options.target[0] == '/');
	options_clear(&options);
	assert_int_equal(options_parse(2, bad, &options, &err), -1);
	options_clear(&options);
	error_free(err);
}

/* A folder that goes at the end. */
static char *make_folder(void)
{
	char *path = g_strdup("/var/tmp/test-migrate.XXXXXX");
	assert_non_null(mkdtemp(path));
	return path;
}

static void test_journal(void **state)
{
	g_autofree char *top = make_folder(), *from = g_build_filename(top, "a", NULL);
	g_autofree char *target = g_build_filename(top, "t", NULL);
	g_autofree char *to = g_build_filename(target, "deep", "b", NULL);
	Journal *journal = NULL, *second = NULL;
	Error *err = NULL;
	assert_int_equal(file_write_plain(from, "x", 0600, NULL), 0);
	assert_int_equal(journal_create(target, &journal, &err), 0);
	assert_int_equal(act_rename(journal, from, to, &err), 0);
	assert_int_equal(journal_open(target, &second, &err), -1);
	assert_int_equal(err->kind, ERROR_BUSY);
	g_clear_pointer(&err, error_free);
	journal_free(journal);
	/* A line that was cut off says nothing. */
	g_autofree char *file = g_build_filename(target, "lxd-to-incus", "journal", NULL);
	autofd int fd = open(file, O_WRONLY | O_APPEND | O_CLOEXEC);
	assert_int_equal(file_write_all(fd, "{\"action\":\"ren", 14), 0);
	assert_int_equal(journal_open(target, &journal, &err), 0);
	assert_int_equal(json_array_size(journal_lines(journal)), 1);
	for (int round = 0; round < 2; round++) { /* twice is as good as once */
		gboolean known = FALSE;
		assert_int_equal(
		    act_undo(json_array_get(journal_lines(journal), 0), &known, &err), 0);
		assert_true(known && access(from, F_OK) == 0 && access(to, F_OK) < 0);
	}
	assert_int_equal(journal_remove(journal, &err), 0);
	journal_free(journal);
	assert_int_equal(file_remove_all(AT_FDCWD, top, NULL), 0);
}

/* Each change alone is seen. */
static void test_compare(void **state)
{
	static const char *const commands[] = { "chmod 601 b/f", "chown 7 b/f", "touch b/g",
		"echo y >b/f", "rm b/l; ln -s z b/l", "touch -d 2001-01-01 b/f",
		"rm b/h; cp -p b/f b/h", "setfattr -n user.a -v 2 b/f", "rm b/f" };
	for (size_t i = 0; i <= G_N_ELEMENTS(commands); i++) {
		g_autofree char *top = make_folder();
		g_autofree char *script = g_strdup_printf(
		    "cd %s && mkdir a && echo x >a/f && ln a/f a/h && ln -s f a/l && "
		    "setfattr -n user.a -v 1 a/f && cp -a a b && %s",
		    top, i < G_N_ELEMENTS(commands) ? commands[i] : "true");
		g_autofree char *a = g_build_filename(top, "a", NULL);
		g_autofree char *b = g_build_filename(top, "b", NULL);
		Error *err = NULL;
		assert_int_equal(system(script), 0);
		autofd int one = file_open_directory(a, NULL), other = file_open_directory(b, NULL);
		assert_int_equal(compare_trees(one, other, NULL, NULL, &err),
		    i < G_N_ELEMENTS(commands) ? -1 : 0);
		error_free(err);
		file_remove_all(AT_FDCWD, top, NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_needed),
		cmocka_unit_test(test_work_beside_others), cmocka_unit_test(test_paths),
		cmocka_unit_test(test_table), cmocka_unit_test(test_progress),
		cmocka_unit_test(test_options), cmocka_unit_test(test_journal),
		cmocka_unit_test(test_compare) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
