/* error, arena, map and log of sdk/base. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "sdk/base/arena.h"
#include "sdk/base/error.h"
#include "sdk/base/log.h"
#include "sdk/base/map.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static void test_error(void **state)
{
	g_autoptr(Error) err = NULL;
	assert_int_equal(error_set(&err, ERROR_NOT_FOUND, "Profile \"%s\" not found", "p"), -1);
	assert_string_equal(err->message, "Profile \"p\" not found");
	error_set(&err, ERROR_INVALID, "second");
	assert_int_equal(err->kind, ERROR_NOT_FOUND); /* the first error stays */
	error_prefix(&err, "Loading \"%s\"", "x");
	assert_string_equal(err->message, "Loading \"x\": Profile \"p\" not found");
	g_autoptr(Error) copy = error_copy(err);
	assert_string_equal(copy->message, err->message);
	assert_int_equal(error_row(err->kind)->http_status, 404);
	g_autoptr(Error) system = NULL;
	error_errno(&system, ERROR_INTERNAL, ENOENT, "Opening \"%s\"", "f");
	assert_string_equal(system->message, "Opening \"f\": No such file or directory");
	for (int i = 0; i < ERROR_KINDS; i++)
		assert_int_equal(error_kind_from_name(error_row(i)->name), i);
	assert_int_equal(error_kind_from_name("nonsense"), ERROR_INTERNAL);
	assert_int_equal(error_kind_from_grpc(5), ERROR_NOT_FOUND);
	assert_int_equal(error_set(NULL, ERROR_INVALID, "nobody listens"), -1);
	Error *moved = NULL;
	error_propagate(&moved, g_steal_pointer(&err));
	assert_non_null(moved);
	error_propagate(NULL, moved);
}

static void count(void *data)
{
	GString *order = ((void **)data)[0];
	g_string_append(order, ((void **)data)[1]);
}

static void test_arena(void **state)
{
	g_autoptr(GString) order = g_string_new(NULL);
	void *first[] = {order, "a"}, *second[] = {order, "b"};
	Arena *arena = arena_new();
	for (size_t size = 0; size < 20000; size += 37) {
		unsigned char *memory = arena_alloc(arena, size);
		assert_int_equal((uintptr_t)memory % _Alignof(max_align_t), 0);
		for (size_t i = 0; i < size; i++)
			assert_int_equal(memory[i], 0);
		memset(memory, 0xff, size);
	}
	assert_string_equal(arena_printf(arena, "%0500d", 7) + 498, "07");
	assert_string_equal(arena_printf(arena, "%s-%d", "x", 1), "x-1");
	assert_string_equal(arena_strndup(arena, "abcdef", 3), "abc");
	assert_null(arena_strdup(arena, NULL));
	arena_defer(arena, count, first);
	arena_defer(arena, count, second);
	arena_free(arena);
	assert_string_equal(order->str, "ba");
	arena_free(NULL);
}

static void test_config(void **state)
{
	g_autoptr(Config) config = config_new();
	config_set(config, "b", "YES");
	config_set(config, "a", "off");
	config_set(config, "c", "3");
	assert_true(config_true(config, "b"));
	assert_false(config_true(config, "missing"));
	assert_true(config_false(config, "a"));
	guint n;
	g_autofree const char **keys = config_sorted_keys(config, &n);
	assert_int_equal(n, 3);
	assert_string_equal(keys[0], "a");
	g_autoptr(Config) copy = config_copy(config);
	assert_true(config_equal(config, copy));
	config_set(copy, "a", "on");
	assert_false(config_equal(config, copy));
	config_set(copy, "a", "off");
	assert_false(config_equal(config, NULL));
	assert_true(config_equal(NULL, NULL));
	config_set(config, "a", "");
	assert_false(config_equal(copy, config));
	assert_null(config_get(config, "a"));
	assert_string_equal(config_get(copy, "a"), "off");
	g_autoptr(GHashTable) devices = devices_new();
	devices_set(devices, "eth0", copy);
	g_autoptr(GHashTable) again = devices_copy(devices);
	assert_string_equal(config_get(devices_get(again, "eth0"), "c"), "3");
}

static char *seen;

static void sink(LogLevel level, const char *message, const char *const *pairs, void *data)
{
	g_free(seen);
	seen = g_strdup_printf("%d %s %s=%s", level, message, pairs[0], pairs[1]);
}

static void test_log(void **state)
{
	g_autofree char *path = NULL;
	int fd = g_file_open_tmp("log-XXXXXX", &path, NULL);
	close(fd);
	assert_int_equal(log_set_file(path), 0);
	log_add_sink(sink, NULL);
	log_info("Hidden", "key", "value");
	assert_string_equal(seen, "2 Hidden key=value");
	log_warn("Shown", "key", "two\nlines \"x\"");
	assert_int_equal(log_set_file(NULL), 0);
	g_autofree char *text = NULL;
	assert_true(g_file_get_contents(path, &text, NULL, NULL));
	assert_null(strstr(text, "Hidden"));
	assert_non_null(strstr(text, "level=WARNING msg=Shown key=\"two\\nlines \\\"x\\\"\"\n"));
	unlink(path);
	assert_int_equal(log_set_file("/nonexistent/x"), -1);
	g_free(seen);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_error),
	    cmocka_unit_test(test_arena),
	    cmocka_unit_test(test_config),
	    cmocka_unit_test(test_log),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
