/* cli/table, cli/yaml, cli/list_filters: what is printed and read, to the letter. */
#include "cli/list.h"
#include "cli/table.h"
#include "cli/yaml.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const char *const headers[] = { "NAME", "IPV4", NULL };

static Table *make_table(void)
{
	Table *table = table_new(headers);
	table_add(table, "web10", "10.0.0.2 (eth0)\n10.0.0.1 (eth1)", NULL);
	table_add(table, "web2", "", NULL);
	table_sort(table);
	return table;
}

static void check_format(const char *format, bool header, const char *wanted)
{
	g_autoptr(Table) table = make_table();
	g_autofree char *text = table_text(table, format, header);
	assert_string_equal(text, wanted);
}

static void test_table(void **state)
{
	check_format("table", true,
	    "+-------+-----------------+\n"
	    "| NAME  |      IPV4       |\n"
	    "+-------+-----------------+\n"
	    "| web2  |                 |\n"
	    "+-------+-----------------+\n"
	    "| web10 | 10.0.0.2 (eth0) |\n"
	    "|       | 10.0.0.1 (eth1) |\n"
	    "+-------+-----------------+\n");
	check_format("compact", true,
	    "  NAME        IPV4        \n"
	    "  web2                    \n"
	    "  web10  10.0.0.2 (eth0)  \n"
	    "         10.0.0.1 (eth1)  \n");
	check_format("csv", false, "web2,\nweb10,\"10.0.0.2 (eth0)\n10.0.0.1 (eth1)\"\n");
	check_format("csv", true, "NAME,IPV4\nweb2,\nweb10,\"10.0.0.2 (eth0)\n10.0.0.1 (eth1)\"\n");
}

static void test_wide_characters(void **state)
{
	g_autoptr(Table) table = table_new(headers);
	table_add(table, "b\xc3\xa4r", "\xe6\x97\xa5\xe6\x9c\xac", NULL);
	table_add(table, "a\"b", "x", NULL);
	g_autofree char *text = table_text(table, "table", true);
	assert_non_null(strstr(text, "| b\xc3\xa4r  | \xe6\x97\xa5\xe6\x9c\xac |\n"));
	g_autofree char *csv = table_text(table, "csv", false);
	assert_non_null(strstr(csv, "\"a\"\"b\",x\n"));
}

static void test_natural_order(void **state)
{
	assert_true(natural_compare("c2", "c10") < 0);
	assert_true(natural_compare("c010", "c9") > 0);
	assert_int_equal(natural_compare("a1b", "a1b"), 0);
	assert_true(natural_compare("a", "ab") < 0);
}

static void check_yaml(const char *json, const char *wanted)
{
	json_t *data = json_loads(json, JSON_DECODE_ANY, NULL);
	g_autofree char *text = yaml_from_json(data);
	assert_string_equal(text, wanted);
	json_decref(data);
}

static void test_yaml_writing(void **state)
{
	check_yaml("{\"config\": {}, \"profiles\": [], \"description\": \"\", \"x\": null}",
	    "config: {}\nprofiles: []\ndescription: \"\"\nx: null\n");
	check_yaml("{\"profiles\": [\"a\", \"b\"], \"x\": [{\"k\": \"v\", \"l\": [1]}]}",
	    "profiles:\n- a\n- b\nx:\n- k: v\n  l:\n  - 1\n");
	check_yaml(
	    "{\"a\": \"15\", \"b\": \"true\", \"c\": \"1.5\", \"d\": \"no\", \"e\": \"0x1f\"}",
	    "a: \"15\"\nb: \"true\"\nc: \"1.5\"\nd: \"no\"\ne: \"0x1f\"\n");
	check_yaml("{\"a\": \"two\\nlines\", \"b\": \"two\\nlines\\n\"}",
	    "a: |-\n  two\n  lines\nb: |\n  two\n  lines\n");
	check_yaml(
	    "{\"a\": \"x: y\", \"b\": \"[::]:8443\", \"c\": \"it's #1\", \"d\": \"127.0.0.1:9999\"}",
	    "a: 'x: y'\nb: '[::]:8443'\nc: 'it''s #1'\nd: 127.0.0.1:9999\n");
	check_yaml("{\"t\": \"2024-01-02T03:04:05Z\", \"b\": true, \"i\": -3}",
	    "t: 2024-01-02T03:04:05Z\nb: true\ni: -3\n");
	check_yaml("\"tab\\there\"", "\"tab\\there\"\n");
	check_yaml("{}", "{}\n");
}

/* What was written is read back as it was. */
static void test_yaml_round_trip(void **state)
{
	static const char *const texts[] = { "", " lead", "trail ", "a: b", "- x", "#no", "a\nb",
		"\nfirst", "end\n\n", "it's", "\"q\"", "null", "~", "12:30:45", "tab\tx",
		"\xc3\xa4", "a\n  indented\nb", "?", "%x", "@x", "---", "line \nnext", "1e3", "0o7",
		"yes" };
	for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
		json_t *data = json_pack("{s:{s:s}, s:[s]}", "m", "k", texts[i], "l", texts[i]);
		g_autofree char *text = yaml_from_json(data);
		json_t *again = yaml_to_json(text, strlen(text), NULL);
		if (!again || !json_equal(data, again))
			fail_msg("\"%s\" came back otherwise from:\n%s", texts[i], text);
		json_decref(again);
		json_decref(data);
	}
}

static void test_yaml_reading(void **state)
{
	static const char text[] = "a: 1\nb: {c: [x, 'y z']}\nd:\ne: true\na: 2\n";
	json_t *data = yaml_to_json(text, strlen(text), NULL);
	char *dumped = json_dumps(data, JSON_COMPACT | JSON_SORT_KEYS);
	assert_string_equal(
	    dumped, "{\"a\":\"2\",\"b\":{\"c\":[\"x\",\"y z\"]},\"d\":null,\"e\":\"true\"}");
	free(dumped);
	json_decref(data);
	static const char *const bad[] = { "a: [", "a: b: c", "&x a: *x", "\t- x", "? [a]: b" };
	for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
		g_autoptr(Error) err = NULL;
		assert_null(yaml_to_json(bad[i], strlen(bad[i]), &err));
		assert_non_null(err);
	}
	g_autofree char *deep = g_strnfill(1000, '[');
	assert_null(yaml_to_json(deep, 1000, NULL));
}

static void test_filters(void **state)
{
	json_t *c1 = json_loads(
	    "{\"name\": \"web-01\", \"type\": \"container\", \"status\": \"Running\","
	    "\"expanded_config\": {\"user.team\": \"ops\"},"
	    "\"state\": {\"network\": {\"eth0\": {\"addresses\": [{\"family\": \"inet\","
	    "\"address\": \"10.1.2.3\"}]}}}}",
	    0, NULL);
	static const struct {
		char *filter;
		bool matches;
	} rows[] = { { "web", true }, { "eb", false }, { ".*01", true }, { "web-0[2-9]", false },
		{ "user.team=ops", true }, { "u.t=ops", true }, { "u.t=o.*", true },
		{ "u.t=dev", false }, { "user=ops", false }, { "type=container", true },
		{ "status=running", true }, { "status=stopped,running", true },
		{ "status=stopped", false }, { "ipv4=10.1.2.0/24", true },
		{ "ipv4=10.1.3.0/24", false }, { "ipv4=10.1.2.3", true } };
	for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
		char *filters[] = { rows[i].filter };
		if (filters_match(c1, filters, 1) != rows[i].matches)
			fail_msg("filter %s", rows[i].filter);
	}
	json_decref(c1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_wide_characters),
		cmocka_unit_test(test_natural_order),
		cmocka_unit_test(test_yaml_writing),
		cmocka_unit_test(test_yaml_round_trip),
		cmocka_unit_test(test_yaml_reading),
		cmocka_unit_test(test_filters),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
