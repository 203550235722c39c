#include "server/sys/id_map.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static GArray *parsed(const char *json)
{
	GArray *map = NULL;
	assert_int_equal(id_map_parse(json, &map, NULL), 0);
	return map;
}

static void test_round(void **state)
{
	static const char json[] =
	    "[{\"Isuid\":true,\"Isgid\":false,\"Hostid\":1000000,\"Nsid\":0,\"Maprange\":65536},"
	    "{\"Isuid\":false,\"Isgid\":true,\"Hostid\":2000000,\"Nsid\":0,\"Maprange\":1000},"
	    "{\"Isuid\":true,\"Isgid\":true,\"Hostid\":1000,\"Nsid\":70000,\"Maprange\":1}]";
	g_autoptr(GArray) map = parsed(json);
	g_autofree char *again = id_map_json(map), *text = id_map_text(map);
	assert_string_equal(again, json);
	assert_string_equal(text, "u 0 1000000 65536\ng 0 2000000 1000\nu 70000 1000 1\ng 70000 1000 1\n");
}

static void test_none(void **state)
{
	static const char *const texts[] = { NULL, "", "[]", "null" };
	for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
		g_autoptr(GArray) map = parsed(texts[i]);
		assert_int_equal(map->len, 0);
		assert_int_equal(id_map_inside(map, TRUE, 7), 7);
	}
}

static void test_ids(void **state)
{
	g_autoptr(GArray) map = parsed(
	    "[{\"Isuid\":true,\"Isgid\":false,\"Hostid\":1000000,\"Nsid\":0,\"Maprange\":65536}]");
	g_autoptr(GArray) none = parsed("[]");
	assert_int_equal(id_map_outside(map, TRUE, 0), 1000000);
	assert_int_equal(id_map_outside(map, TRUE, 65535), 1065535);
	assert_int_equal(id_map_outside(map, TRUE, 65536), 65536); /* it has none */
	assert_int_equal(id_map_outside(map, FALSE, 5), 5);
	assert_int_equal(id_map_inside(map, TRUE, 1000005), 5);
	assert_int_equal(id_map_inside(map, TRUE, 999999), 999999);
	assert_true(id_map_equal(map, map));
	assert_false(id_map_equal(map, none));
}

static void test_nonsense(void **state)
{
	static const char *const texts[] = { "{", "{}", "1", "\"x\"", "[1]", "[[]]", "[{}]",
		"[{\"Isuid\":true,\"Isgid\":false,\"Hostid\":-1,\"Nsid\":0,\"Maprange\":1}]",
		"[{\"Isuid\":true,\"Isgid\":false,\"Hostid\":0,\"Nsid\":0,\"Maprange\":0}]",
		"[{\"Isuid\":true,\"Isgid\":false,\"Hostid\":4294967295,\"Nsid\":0,\"Maprange\":1}]",
		"[{\"Isuid\":true,\"Isgid\":false,\"Hostid\":0,\"Nsid\":1,\"Maprange\":4294967295}]",
		"[{\"Isuid\":1,\"Isgid\":false,\"Hostid\":0,\"Nsid\":0,\"Maprange\":1}]" };
	for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
		g_autoptr(Error) error = NULL;
		GArray *map = NULL;
		assert_int_equal(id_map_parse(texts[i], &map, &error), -1);
		assert_int_equal(error->kind, ERROR_INVALID);
		assert_null(map);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_round),
		cmocka_unit_test(test_none), cmocka_unit_test(test_ids),
		cmocka_unit_test(test_nonsense) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
