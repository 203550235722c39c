/* Loop files and where pools are: sizes that nobody gave, options of mounts, devices by file. */
#include "server/storage/filesystem.h"
#include "server/storage/loop.h"
#include "sdk/base/own.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

static void test_default_size(void **state)
{
	const uint64_t gib = 1 << 30;
	assert_int_equal(loop_default_size(0), 5 * gib);
	assert_int_equal(loop_default_size(20 * gib), 5 * gib);
	assert_int_equal(loop_default_size(51 * gib), 10 * gib);
	assert_int_equal(loop_default_size(1000 * gib), 30 * gib);
}

static void check_options(const char *text, unsigned long flags, const char *data)
{
	unsigned long value;
	g_autofree char *rest = NULL;
	filesystem_options(text, &value, &rest);
	assert_int_equal(value, flags);
	assert_string_equal(rest, data);
}

static void test_options(void **state)
{
	check_options(NULL, 0, "");
	check_options("user_subvol_rm_allowed", 0, "user_subvol_rm_allowed");
	check_options("noatime,compress=zstd:3,ro,discard", MS_NOATIME | MS_RDONLY,
	    "compress=zstd:3,discard");
	check_options("ro,rw,,nosuid,defaults", MS_NOSUID, "");
}

/* One file is never shown by two devices; the last user takes the device away. */
static void test_attach(void **state)
{
	Error *err = NULL;
	g_autofree char *folder = g_dir_make_tmp("loop-XXXXXX", NULL);
	g_autofree char *file = g_build_filename(folder, "a.img", NULL);
	g_autofree char *device = NULL, *again = NULL, *type = NULL;
	if (geteuid() != 0 || access("/dev/loop-control", F_OK) < 0) {
		print_message("no loop devices here\n");
		rmdir(folder);
		skip();
	}
	assert_int_equal(loop_file_create(file, 16 << 20, &err), 0);
	assert_int_equal(loop_file_create(file, 16 << 20, &err), -1);
	assert_int_equal(err->kind, ERROR_EXISTS);
	g_clear_pointer(&err, error_free);
	int fd = loop_attach(file, LOOP_UNTIL_UNUSED, &device, &err);
	assert_true(fd >= 0);
	int second = loop_attach(file, LOOP_UNTIL_UNUSED, &again, &err);
	assert_true(second >= 0);
	assert_string_equal(device, again);
	assert_int_equal(filesystem_probe(device, &type, &err), 0);
	assert_null(type);
	assert_int_equal(loop_grow(file, 32 << 20, &err), 0);
	assert_int_equal(lseek(fd, 0, SEEK_END), 32 << 20);
	close(second);
	close(fd);
	assert_int_equal(loop_detach(file, &err), 0);
	unlink(file);
	rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_default_size),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_attach),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
