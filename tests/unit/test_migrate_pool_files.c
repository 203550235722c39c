/* Pools in loop files below a directory are let go before the files move, and had again on the way
 * back. zpool, pvs and vgchange are scripts that keep in files what is in use; loop devices are
 * real. */
#include "migrate/act.h"
#include "migrate/pool_files.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "server/storage/loop.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

/* $STATE/pools is what `zpool list -vHP` says; $STATE/calls is all that was asked for. */
static const char zpool[] =
    "#!/bin/sh\n"
    "echo \"zpool $*\" >>$STATE/calls\n"
    "case $1 in\n"
    "list) cat $STATE/pools ;;\n"
    "export) [ ! -e $STATE/busy ] || { echo 'pool is busy' >&2; exit 1; }\n"
    "	sed -i \"/^$2/,+1d\" $STATE/pools ;;\n"
    "import) printf '%s\\t1G\\n\\t%s/%s.img\\t1G\\n' $6 $5 $6 >>$STATE/pools ;;\n"
    "esac\n";
static const char pvs[] = "#!/bin/sh\necho '  vg'\n";
static const char vgchange[] = "#!/bin/sh\necho \"vgchange $*\" >>$STATE/calls\n";

typedef struct Place {
	char *top, *lxd, *disks, *file;
	Journal *journal;
} Place;

static void write_program(const char *folder, const char *name, const char *text)
{
	g_autofree char *path = g_build_filename(folder, name, NULL);
	assert_true(g_file_set_contents(path, text, -1, NULL));
	assert_int_equal(chmod(path, 0755), 0);
}

static int set_up(void **state)
{
	Error *err = NULL;
	Place *place = g_new0(Place, 1);
	char *top = g_dir_make_tmp("pool-files-XXXXXX", NULL);
	place->top = realpath(top, NULL);
	g_free(top);
	g_autofree char *target = g_build_filename(place->top, "target", NULL);
	g_autofree char *path = g_strconcat(place->top, ":/usr/sbin:/usr/bin:/sbin:/bin", NULL);
	g_autofree char *pools = g_build_filename(place->top, "pools", NULL);
	place->lxd = g_build_filename(place->top, "lxd", NULL);
	place->disks = g_build_filename(place->lxd, "disks", NULL);
	place->file = g_build_filename(place->disks, "lx.img", NULL);
	g_setenv("STATE", place->top, TRUE);
	g_setenv("PATH", path, TRUE);
	write_program(place->top, "zpool", zpool);
	g_file_set_contents(pools, "", -1, NULL);
	assert_int_equal(file_mkdir_all(place->disks, 0700, &err), 0);
	assert_int_equal(loop_file_create(place->file, 8 << 20, &err), 0);
	assert_int_equal(journal_create(target, &place->journal, &err), 0);
	*state = place;
	return 0;
}

static int tear_down(void **state)
{
	Place *place = *state;
	loop_detach(place->file, NULL);
	journal_free(place->journal);
	file_remove_all(AT_FDCWD, place->top, NULL);
	free(place->top);
	g_free(place->lxd);
	g_free(place->disks);
	g_free(place->file);
	g_free(place);
	return 0;
}

static char *content(const Place *place, const char *name)
{
	g_autofree char *path = g_build_filename(place->top, name, NULL);
	char *text = NULL;
	g_file_get_contents(path, &text, NULL, NULL);
	return text ? text : g_strdup("");
}

static void set_content(const Place *place, const char *name, const char *text)
{
	g_autofree char *path = g_build_filename(place->top, name, NULL);
	assert_true(g_file_set_contents(path, text, -1, NULL));
}

static void undo_last(const Place *place)
{
	gboolean known;
	Error *err = NULL;
	const json_t *lines = journal_lines(place->journal);
	const json_t *line = json_array_get(lines, json_array_size(lines) - 1);
	assert_int_equal(act_undo(line, &known, &err), 0);
	assert_true(known);
}

static void test_zfs(void **state)
{
	const Place *place = *state;
	Error *err = NULL;
	g_autofree char *before = g_strdup_printf(
	    "other\t1G\n\t/dev/sda\t1G\nlx\t1G\n\t%s\t1G\n", place->file);
	set_content(place, "pools", before);
	assert_int_equal(pool_files_release(place->journal, place->lxd, &err), 0);
	g_autofree char *left = content(place, "pools");
	assert_string_equal(left, "other\t1G\n\t/dev/sda\t1G\n");
	assert_non_null(journal_find(place->journal, "export", "pool", "lx"));
	assert_null(journal_find(place->journal, "export", "pool", "other"));
	undo_last(place);
	undo_last(place); /* it may be repeated */
	g_autofree char *after = content(place, "pools");
	assert_string_equal(after, before);
}

/* Incus has a pool of that name from a copy, which is gone when LXD's is to come back. */
static void test_zfs_copy(void **state)
{
	const Place *place = *state;
	Error *err = NULL;
	g_autofree char *before = g_strdup_printf("lx\t1G\n\t%s\t1G\n", place->file);
	set_content(place, "pools", before);
	assert_int_equal(pool_files_release(place->journal, place->lxd, &err), 0);
	set_content(place, "pools", "lx\t1G\n\t/var/lib/incus/disks/lx.img\t1G\n");
	undo_last(place);
	g_autofree char *after = content(place, "pools");
	assert_string_equal(after, before);
}

static void test_zfs_busy(void **state)
{
	const Place *place = *state;
	Error *err = NULL;
	g_autofree char *before = g_strdup_printf("lx\t1G\n\t%s\t1G\n", place->file);
	set_content(place, "pools", before);
	set_content(place, "busy", "");
	assert_int_equal(pool_files_release(place->journal, place->lxd, &err), -1);
	assert_int_equal(err->kind, ERROR_BUSY);
	assert_non_null(strstr(err->message, "\"lx\""));
	assert_non_null(strstr(err->message, "pool is busy"));
	error_free(err);
}

static void test_lvm(void **state)
{
	const Place *place = *state;
	Error *err = NULL;
	char *device = NULL;
	if (geteuid() != 0 || access("/dev/loop-control", F_OK) < 0) {
		print_message("no loop devices here\n");
		skip();
	}
	write_program(place->top, "pvs", pvs);
	write_program(place->top, "vgchange", vgchange);
	int fd = loop_attach(place->file, LOOP_UNTIL_DETACHED, &device, &err);
	assert_true(fd >= 0);
	close(fd);
	g_clear_pointer(&device, g_free);
	assert_int_equal(pool_files_release(place->journal, place->lxd, &err), 0);
	assert_int_equal(loop_find(place->file, &device), -1);
	assert_non_null(journal_find(place->journal, "deactivate", "group", "vg"));
	undo_last(place);
	fd = loop_find(place->file, &device);
	assert_true(fd >= 0);
	close(fd);
	g_free(device);
	g_autofree char *calls = content(place, "calls");
	assert_non_null(strstr(calls, "vgchange -an vg\nvgchange -ay vg\n"));
}

/* Where nothing is in use nothing is noted, and no tools are needed. */
static void test_nothing(void **state)
{
	const Place *place = *state;
	Error *err = NULL;
	g_setenv("PATH", "/nowhere", TRUE);
	assert_int_equal(pool_files_release(place->journal, place->lxd, &err), 0);
	assert_int_equal(pool_files_release(NULL, "/nowhere", &err), 0);
	assert_int_equal(json_array_size(journal_lines(place->journal)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_zfs, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_zfs_copy, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_zfs_busy, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_lvm, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_nothing, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
