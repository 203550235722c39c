/* server/storage/spread: what is made is one plain directory, wherever it comes to lie. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "server/storage/spread.h"
#include <errno.h>
#include <glib.h>
#include <sys/stat.h>
#include <unistd.h>

static unsigned count_names(const char *path)
{
	unsigned n = 0;
	g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
	while (g_dir_read_name(dir))
		n++;
	return n;
}

static void makes_one_directory(void **state)
{
	g_autofree char *top = g_dir_make_tmp("spread-XXXXXX", NULL);
	g_autofree char *path = g_build_filename(top, "volume", NULL);
	g_autofree char *beside = g_build_filename(top, "other", NULL);
	struct stat st;
	assert_int_equal(spread_mkdir(path, beside), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISDIR(st.st_mode));
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(count_names(top), 1);
	/* There already: refused, and nothing is left of the attempt. */
	errno = 0;
	assert_int_equal(spread_mkdir(path, beside), -1);
	assert_int_equal(errno, EEXIST);
	assert_int_equal(count_names(top), 1);
	/* Every place near was freed a moment ago: one is taken all the same. */
	spread_removing(path);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(spread_mkdir(path, beside), 0);
	assert_int_equal(count_names(top), 1);
	rmdir(path);
	rmdir(top);
}

static void tells_why_not(void **state)
{
	g_autofree char *top = g_dir_make_tmp("spread-XXXXXX", NULL);
	g_autofree char *path = g_build_filename(top, "nowhere", "volume", NULL);
	const char *beside = path;
	assert_int_equal(spread_mkdir(path, beside), -1);
	assert_int_equal(errno, ENOENT);
	spread_removing(path); /* nothing there: nothing to remember */
	assert_int_equal(count_names(top), 0);
	rmdir(top);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(makes_one_directory),
	    cmocka_unit_test(tells_why_not),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
