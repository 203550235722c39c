/* spawn: output, errors with the program's words, timeouts, fds that must not leak. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "sdk/base/own.h"
#include "sdk/base/spawn.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>

#define ARGV(...) (const char *const[]){__VA_ARGS__, NULL}

static void test_output(void **state)
{
	g_autoptr(Error) err = NULL;
	g_autofree char *large = g_strnfill(1 << 20, 'y');
	Spawn spawn = {.argv = ARGV("cat"), .input = large, .input_length = 1 << 20};
	g_autofree char *output = NULL;
	size_t length = 0;
	assert_int_equal(spawn_run(&spawn, &output, &length, &err), 0);
	assert_int_equal(length, 1 << 20);
	assert_string_equal(output, large);
	spawn.output_limit = 1000;
	char *none = NULL;
	assert_int_equal(spawn_run(&spawn, &none, NULL, &err), -1);
	assert_int_equal(err->kind, ERROR_TOO_LARGE);
}

static void test_failures(void **state)
{
	g_autoptr(Error) err = NULL;
	assert_int_equal(spawn_simple(&err, "sh", "-c", "echo words >&2; exit 3", NULL), -1);
	assert_string_equal(err->message, "\"sh\" failed with exit status 3: words");
	g_clear_pointer(&err, error_free);
	assert_int_equal(spawn_simple(&err, "/nonexistent/program", NULL), -1);
	assert_non_null(strstr(err->message, "No such file"));
	g_clear_pointer(&err, error_free);
	int status = 0;
	assert_int_equal(
	    spawn_status(&(Spawn){ .argv = ARGV("sh", "-c", "kill -9 $$") }, NULL, &status, &err),
	    0);
	assert_int_equal(status, 128 + SIGKILL);
}

static void test_timeout(void **state)
{
	g_autoptr(Error) err = NULL;
	Spawn spawn = {.argv = ARGV("sh", "-c", "sleep 30 & wait"), .timeout_ms = 100};
	gint64 start = g_get_monotonic_time();
	assert_int_equal(spawn_run(&spawn, NULL, NULL, &err), -1);
	assert_int_equal(err->kind, ERROR_TIMEOUT);
	assert_true(g_get_monotonic_time() - start < 5 * G_USEC_PER_SEC);
}

static void test_fds(void **state)
{
	g_autoptr(Error) err = NULL;
	autofd int leak = open("/dev/null", O_RDWR); /* not close-on-exec, on purpose */
	autofd int passed = open("/dev/zero", O_RDWR | O_CLOEXEC);
	Spawn spawn = { .argv = ARGV(
			    "sh", "-c", "ls -l /proc/self/fd | grep -c -E 'null|zero'; pwd"),
		.directory = "/",
		.fds = &passed,
		.n_fds = 1 };
	g_autofree char *output = NULL;
	assert_int_equal(spawn_run(&spawn, &output, NULL, &err), 0);
	assert_string_equal(output, "2\n/\n"); /* stdin and fd 3 */
	(void)leak;
}

static void test_start_stop(void **state)
{
	g_autoptr(Error) err = NULL;
	pid_t pid = 0;
	assert_int_equal(spawn_start(&(Spawn){.argv = ARGV("sleep", "100")}, &pid, &err), 0);
	assert_int_equal(kill(pid, 0), 0);
	spawn_stop(pid, 1000);
	assert_int_equal(kill(pid, 0), -1);
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_output),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_timeout),
		cmocka_unit_test(test_fds),
		cmocka_unit_test(test_start_stop),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
