#include "sdk/base/json.h"
#include "sdk/base/map.h"
#include "sdk/base/schema.h"
#include "incus/v1/instance.pb-c.h"
#include "incus/v1/operation.pb-c.h"
#include "incus/v1/profile.pb-c.h"
#include "incus/v1/server.pb-c.h"
#include "google/protobuf/empty.pb-c.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

static char *text_of(const void *message, unsigned recursion, unsigned flags)
{
	GString *out = g_string_new(NULL);

	json_write(out, message, recursion, flags);
	assert_int_equal(strlen(out->str), out->len);
	return g_string_free(out, FALSE);
}

static void assert_text(const void *message, const char *expected)
{
	g_autofree char *text = text_of(message, 0, 0);

	assert_string_equal(text, expected);
}

static void read_ok(const char *text, void *message, Arena *arena)
{
	g_autoptr(Error) err = NULL;

	if (json_read(text, strlen(text), message, arena, &err) < 0)
		fail_msg("%s: %s", text, err->message);
}

static void read_bad(const char *text, const char *words)
{
	g_autoptr(Arena) arena = arena_new();
	g_autoptr(Error) err = NULL;
	Pb__InstancesPost *message = arena_message(arena, Pb__InstancesPost, pb__instances_post);

	assert_int_equal(json_read(text, strlen(text), message, arena, &err), -1);
	assert_int_equal(err->kind, ERROR_INVALID);
	if (!strstr(err->message, words))
		fail_msg("\"%s\" does not say \"%s\"", err->message, words);
}

static void empty_messages(void **state)
{
	Pb__Profile profile = PB__PROFILE__INIT;
	Pb__Operation operation = PB__OPERATION__INIT;
	Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;

	assert_text(&profile,
	    "{\"config\":{},\"description\":\"\",\"devices\":{},\"name\":\"\",\"used_by\":[]}");
	assert_text(&operation,
	    "{\"id\":\"\",\"class\":\"\",\"description\":\"\",\"created_at\":\"0001-01-01T00:00:"
	    "00Z\","
	    "\"updated_at\":\"0001-01-01T00:00:00Z\",\"status\":\"\",\"status_code\":0,"
	    "\"resources\":{},"
	    "\"metadata\":null,\"may_cancel\":false,\"err\":\"\",\"location\":\"\"}");
	assert_text(&empty, "{}");
}

static void maps_are_sorted_and_flat(void **state)
{
	g_autoptr(Arena) arena = arena_new();
	Pb__Profile *profile = arena_message(arena, Pb__Profile, pb__profile);

	read_ok("{\"config\":{\"b\":\"2\",\"a\":\"1\",\"c\":\"\"},\"devices\":{\"root\":{\"type\":"
		"\"disk\",\"path\":\"/\"},"
		"\"eth0\":{}},\"used_by\":[\"/1.0/instances/c1\"],\"unknown\":[1,2]}",
	    profile, arena);
	assert_text(profile,
	    "{\"config\":{\"a\":\"1\",\"b\":\"2\",\"c\":\"\"},\"description\":\"\",\"devices\":{"
	    "\"eth0\":{},"
	    "\"root\":{\"path\":\"/\",\"type\":\"disk\"}},\"name\":\"\",\"used_by\":[\"/1.0/"
	    "instances/c1\"]}");
	assert_string_equal(map_get(profile->n_config, profile->config, "b"), "2");
}

/* Text is looked at in words of eight bytes: each byte at each place must come out as it does
 * alone. */
static void text_at_every_place(void **state)
{
	for (unsigned c = 1; c < 0x80; c++)
		for (size_t at = 0; at < 20; at++)
			for (unsigned flags = 0; flags <= JSON_HTML; flags += JSON_HTML) {
				char text[21] = "abcdefghijklmnopqrst", alone[2] = {(char)c, '\0'};
				Pb__Profile profile = PB__PROFILE__INIT;
				text[at] = (char)c;
				profile.description = alone;
				g_autofree char *one = text_of(&profile, 0, flags);
				profile.description = text;
				g_autofree char *all = text_of(&profile, 0, flags);
				char *quote = strstr(one, "\",\"devices\"");
				g_autofree char *escaped = g_strndup(
				    one + strlen("{\"config\":{},\"description\":\""),
				    (gsize)(quote - one) -
					strlen("{\"config\":{},\"description\":\""));
				g_autofree char *expected = g_strdup_printf(
				    "{\"config\":{},\"description\":\"%.*s%s%s\",", (int)at,
				    "abcdefghijklmnopqrst", escaped, text + at + 1);
				assert_true(g_str_has_prefix(all, expected));
			}
}

static void text_is_escaped(void **state)
{
	Pb__Profile profile = PB__PROFILE__INIT;
	g_autofree char *html = NULL;

	profile.description =
	    (char *)"a\"b\\c\n\r\t\x01\x7f<&>\xff\xc0\x80\xe2\x82\xac\xed\xa0\x80\xe2\x80\xa8";
	assert_text(&profile,
	    "{\"config\":{},\"description\":\"a\\\"b\\\\c\\n\\r\\t\\u0001\x7f<&>"
	    "\\ufffd\\ufffd\\ufffd\xe2\x82\xac"
	    "\\ufffd\\ufffd\\ufffd\\u2028\",\"devices\":{},\"name\":\"\",\"used_by\":[]}");
	profile.description = (char *)"<&>";
	html = text_of(&profile, 0, JSON_HTML);
	assert_non_null(strstr(html, "\"\\u003c\\u0026\\u003e\""));
}

static void operations_embed_json(void **state)
{
	g_autoptr(Arena) arena = arena_new();
	Pb__Operation *operation = arena_message(arena, Pb__Operation, pb__operation);
	g_autofree char *text = NULL;

	read_ok("{\"metadata\":{\"fds\":{\"0\":\"s\"},\"n\":1},\"resources\":{\"instances\":[\"/"
		"1.0/instances/a\"]},"
		"\"created_at\":\"2024-01-02T03:04:05.000000006+01:00\",\"status_code\":103,\"may_"
		"cancel\":true}",
	    operation, arena);
	assert_string_equal(operation->metadata, "{\"fds\":{\"0\":\"s\"},\"n\":1}");
	text = text_of(operation, 0, 0);
	assert_non_null(strstr(text, "\"resources\":{\"instances\":[\"/1.0/instances/"
				     "a\"]},\"metadata\":{\"fds\":{\"0\":\"s\"},\"n\":1}"));
	assert_non_null(strstr(text, "\"created_at\":\"2024-01-02T02:04:05.000000006Z\""));
	assert_non_null(strstr(text, "\"status_code\":103"));
}

static void recursion_shows_more(void **state)
{
	Pb__Instance instance = PB__INSTANCE__INIT;
	g_autofree char *few = text_of(&instance, 1, 0);
	g_autofree char *all = text_of(&instance, 2, 0);

	assert_null(strstr(few, "\"snapshots\""));
	assert_non_null(strstr(all, "\"snapshots\":[]"));
	assert_non_null(strstr(all, "\"state\":null"));
	assert_null(strstr(all, "\"restore\"")); /* omitted when empty */
}

/* The text made once is the one that would be written, and only for that very array. */
static void kept_arrays(void **state)
{
	static char *const list[] = { (char *)"/1.0/a", (char *)"\"<" };
	char *same[] = { list[0], list[1] };
	Pb__Profile kept = PB__PROFILE__INIT, other = PB__PROFILE__INIT;
	kept.used_by = (char **)(uintptr_t)list;
	other.used_by = same;
	kept.n_used_by = other.n_used_by = 2;
	g_autofree char *before = text_of(&kept, 0, 0);

	json_keep(&kept, "used_by");
	same[1] = (char *)"changed";
	g_autofree char *after = text_of(&kept, 0, 0), *html = text_of(&kept, 0, JSON_HTML);
	g_autofree char *others = text_of(&other, 0, 0);
	assert_string_equal(after, before);
	assert_non_null(strstr(html, "\\u003c"));
	assert_non_null(strstr(others, "\"changed\""));
	kept.n_used_by = 1;
	g_autofree char *shorter = text_of(&kept, 0, 0);
	assert_non_null(strstr(shorter, "\"used_by\":[\"/1.0/a\"]"));
}

static void one_field(void **state)
{
	g_autoptr(Arena) arena = arena_new();
	g_autoptr(GString) out = g_string_new("[");
	Pb__Profile *profile = arena_message(arena, Pb__Profile, pb__profile);
	const JsonMessage *json = schema_json(&pb__profile__descriptor);

	read_ok("{\"config\":{\"k\":\"v\"}}", profile, arena);
	json_write_field(
	    out, profile, (unsigned)schema_field_by_json_name(json, "config", 6), JSON_HTML);
	assert_string_equal(out->str, "[{\"k\":\"v\"}");
	assert_int_equal(schema_field_by_json_name(json, "conf", 4), -1);
	assert_int_equal(schema_field_by_json_name(json, "config", 4), -1);
}

static void flattened_replies(void **state)
{
	char *versions[] = {(char *)"/1.0"};
	Pb__ApiVersions list = PB__API_VERSIONS__INIT;

	list.n_versions = 1;
	list.versions = versions;
	assert_text(&list, "[\"/1.0\"]");
}

static void wrong_types_name_the_key(void **state)
{
	read_bad("{\"config\":{\"limits.cpu\":2}}", "limits.cpu");
	read_bad("{\"config\":{\"limits.cpu\":2}}", "a string");
	read_bad("{\"config\":[]}", "config");
	read_bad("{\"name\":{}}", "name");
	read_bad("{\"ephemeral\":\"yes\"}", "ephemeral");
	read_bad("{\"profiles\":\"default\"}", "profiles");
	read_bad("{\"profiles\":[1]}", "profiles");
	read_bad("{\"devices\":{\"eth0\":\"x\"}}", "eth0");
	read_bad("{\"devices\":{\"eth0\":{\"mtu\":1500}}}", "mtu");
	read_bad("[]", "request body");
	read_bad("\"x\"", "request body");
	read_bad("", "Invalid JSON");
	read_bad("{\"name\":\"a\\u0000b\"}", "Invalid JSON");
	read_bad("{\"name\":\"\xff\"}", "Invalid JSON");
	read_bad("{\"name\":\"x\"", "Invalid JSON");
}

static void depth_is_limited(void **state)
{
	g_autoptr(GString) text = g_string_new("{\"name\":");

	for (int i = 0; i < 100000; i++)
		g_string_append_c(text, '[');
	read_bad(text->str, "nested");
	g_string_assign(text,
	    "{\"x\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["
	    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[[\"}");
	g_autoptr(Arena) arena = arena_new();
	Pb__ProfilePost *message = arena_message(arena, Pb__ProfilePost, pb__profile_post);
	read_ok(text->str, message, arena);
}

static void null_and_case(void **state)
{
	g_autoptr(Arena) arena = arena_new();
	Pb__InstancesPost *post = arena_message(arena, Pb__InstancesPost, pb__instances_post);

	read_ok("{\"Name\":\"c1\",\"config\":null,\"profiles\":null,\"source\":null}", post, arena);
	assert_string_equal(post->name, "c1");
	assert_int_equal(post->n_config, 0);
	assert_null(post->source);
}

static void all_messages_have_tables(void **state)
{
	for (unsigned i = 0; i < schema_n_messages; i++) {
		const JsonMessage *row = &schema_messages[i];
		unsigned seen = 0;
		assert_ptr_equal(schema_json(row->descriptor), row);
		for (unsigned k = 0; k < row->descriptor->n_fields; k++)
			seen += row->json_order[k] + 1u;
		assert_int_equal(
		    seen, row->descriptor->n_fields * (row->descriptor->n_fields + 1) / 2);
	}
	for (unsigned i = 0; i < schema_n_methods; i++)
		assert_ptr_equal(schema_method_by_path(schema_methods[i].path), &schema_methods[i]);
	assert_null(schema_method_by_path("/incus.v1.ProfileService/Nothing"));
}

/* Every message of the schema, empty, is text that reads back into the same text. */
static void round_trips(void **state)
{
	for (unsigned i = 0; i < schema_n_messages; i++) {
		const ProtobufCMessageDescriptor *descriptor = schema_messages[i].descriptor;
		g_autoptr(Arena) arena = arena_new();
		ProtobufCMessage *first = arena_alloc(arena, descriptor->sizeof_message);
		ProtobufCMessage *second = arena_alloc(arena, descriptor->sizeof_message);
		g_autofree char *text = NULL, *again = NULL;
		protobuf_c_message_init(descriptor, first);
		protobuf_c_message_init(descriptor, second);
		text = text_of(first, JSON_RECURSION_ALL, 0);
		read_ok(text, second, arena);
		again = text_of(second, JSON_RECURSION_ALL, 0);
		if (schema_messages[i].well_known == JSON_PLAIN && !strstr(text, "0001-01-01"))
			assert_string_equal(text, again);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_messages),
		cmocka_unit_test(maps_are_sorted_and_flat),
		cmocka_unit_test(text_is_escaped),
		cmocka_unit_test(text_at_every_place),
		cmocka_unit_test(operations_embed_json),
		cmocka_unit_test(kept_arrays),
		cmocka_unit_test(recursion_shows_more),
		cmocka_unit_test(one_field),
		cmocka_unit_test(flattened_replies),
		cmocka_unit_test(wrong_types_name_the_key),
		cmocka_unit_test(depth_is_limited),
		cmocka_unit_test(null_and_case),
		cmocka_unit_test(all_messages_have_tables),
		cmocka_unit_test(round_trips),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
