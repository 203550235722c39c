/* The filter language, over messages of the schema. */
#include "sdk/base/filter.h"
#include "sdk/base/map.h"
#include "incus/v1/image.pb-c.h"
#include "incus/v1/instance.pb-c.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

static Pb__Image *image(Arena *arena)
{
	Pb__Image *m = arena_message(arena, Pb__Image, pb__image);
	m->fingerprint = (char *)"abc123";
	m->public_ = TRUE;
	m->size = 42;
	m->architecture = (char *)"x86_64";
	g_autoptr(Config) properties = config_new();
	config_set(properties, "os", "BusyBox");
	config_set(properties, "image.os", "dotted");
	config_set(properties, "description", "two words");
	config_to_map(properties, arena, &pb__image__properties_entry__descriptor, &m->n_properties,
	    &m->properties);
	m->created_at = arena_message(
	    arena, Google__Protobuf__Timestamp, google__protobuf__timestamp);
	return m;
}

static gboolean matches(const char *text)
{
	g_autoptr(Arena) arena = arena_new();
	g_autoptr(Filter) filter = NULL;
	Error *err = NULL;
	if (filter_parse(text, &filter, &err) < 0) {
		print_error("%s: %s\n", text, err->message);
		assert_null(err);
	}
	return filter_match(filter, image(arena));
}

static void refused(const char *text, const char *message)
{
	Filter *filter;
	g_autoptr(Error) err = NULL;
	assert_int_equal(filter_parse(text, &filter, &err), -1);
	assert_int_equal(err->kind, ERROR_INVALID);
	assert_string_equal(err->message, message);
}

static void test_clauses(void **state)
{
	assert_true(matches(NULL));
	assert_true(matches(""));
	assert_true(matches("public eq true"));
	assert_false(matches("public ne true"));
	assert_true(matches("not public eq false"));
	assert_true(matches("NOT public eq false"));
	assert_true(matches("size eq 42"));
	assert_true(matches("properties.os eq busybox"));
	assert_true(matches("properties.os eq busy.*"));
	assert_false(matches("properties.os eq busy"));
	assert_true(matches("properties.os eq ^busy"));
	assert_true(matches("properties.image.os eq dotted"));
	assert_true(matches("properties.description eq \"two words\""));
	assert_false(matches("properties.none eq x"));
	assert_true(matches("properties.none ne x"));
	assert_true(matches("created_at eq 1970-01-01T00:00:00Z"));
	/* A value that is no regular expression is compared as text. */
	assert_false(matches("properties.os eq [a"));
}

static void test_composition(void **state)
{
	assert_true(matches("size eq 1 or size eq 42"));
	assert_false(matches("size eq 42 or size eq 1 and size eq 2"));
	assert_true(matches("size eq 1 and size eq 2 or size eq 42"));
	assert_true(matches("size eq 42 and not public eq false and architecture eq x86_64"));
}

static void test_errors(void **state)
{
	refused("not", "incomplete not clause");
	refused("size", "clause has no operator");
	refused("size eq", "clause has no value");
	refused("size eq \"a b", "unterminated quote");
	refused("size eq 1 and", "unterminated compound clause");
	refused("size eq 1 size eq 2", "invalid clause composition");
	refused("size eq 1 AND size eq 2", "invalid clause composition");
	refused("size gt 1", "Unsupported operator \"gt\" in the filter");
}

static void test_uses(void **state)
{
	g_autoptr(Filter) filter = NULL;
	assert_int_equal(filter_parse("state.status eq Running and name eq a", &filter, NULL), 0);
	assert_true(filter_uses(filter, "state"));
	assert_true(filter_uses(filter, "name"));
	assert_false(filter_uses(filter, "stat"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clauses),
		cmocka_unit_test(test_composition),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_uses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
