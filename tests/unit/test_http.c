/* server/rpc: request heads, chunk lines, escapes, routes, WebSocket keys, hand-written wire
 * fields. */
#include "server/rpc/http.h"
#include "server/rpc/address.h"
#include "server/rpc/route.h"
#include "server/rpc/websocket.h"
#include "server/rpc/wire_out.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static int parse(const char *text, HttpHead *head)
{
	static char copy[100000];
	size_t length = http_head_length(text, strlen(text));
	assert_int_not_equal(length, 0);
	memcpy(copy, text, length);
	return http_head_parse(copy, length, head);
}

static void test_head(void **state)
{
	HttpHead head;
	assert_int_equal(
	    parse(
		"PUT /1.0/a%2Fb?x=1&y=?z HTTP/1.1\r\nHost: h:1\r\nX-A:  two words \r\nContent-Length: 12\r\n"
		"Connection: keep-alive, Upgrade\r\nUpgrade: sftp\r\nExpect: 100-Continue\r\n\r\n",
		&head),
	    0);
	assert_string_equal(head.method, "PUT");
	assert_string_equal(head.path, "/1.0/a%2Fb");
	assert_string_equal(head.query, "x=1&y=?z");
	assert_string_equal(head.host, "h:1");
	assert_string_equal(http_header(&head, "x-a"), "two words");
	assert_null(http_header(&head, "x-b"));
	assert_int_equal(head.content_length, 12);
	assert_true(head.keep_alive && head.expect_continue && !head.chunked);
	assert_string_equal(head.upgrade, "sftp");
	assert_int_equal(parse("GET http://host/p?q HTTP/1.0\r\n\r\n", &head), 0);
	assert_string_equal(head.path, "/p");
	assert_string_equal(head.query, "q");
	assert_false(head.keep_alive);
}

static void test_refused(void **state)
{
	static const struct { int status; const char *text;
	} rows[] = {
		{ 400, "GET / HTTP/1.1\r\n\r\n" },
		{ 400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n" },
		{ 400, "GET / HTTP/1.1\r\nHost: a\r\nHost:\r\n\r\n" },
		{ 400, "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n" },
		{ 400,
		    "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n" },
		{ 400,
		    "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n" },
		{ 400, "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 1\r\n\r\n" },
		{ 400, "GET / HTTP/1.1\r\nHost: a\r\nContent-Length : 1\r\n\r\n" },
		{ 400, "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n\tc: d\r\n\r\n" },
		{ 400, "GET / HTTP/1.1\r\nHost: a\r\nA: b\nc: d\r\n\r\n" },
		{ 400, "GET /\tHTTP/1.1\r\nHost: a\r\n\r\n" },
		{ 400, "GET /\x80 HTTP/1.1\r\nHost: a\r\n\r\n" },
		{ 400, "GET / http/1.1\r\nHost: a\r\n\r\n" },
		{ 400, " GET / HTTP/1.1\r\nHost: a\r\n\r\n" },
		{ 417, "GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n" },
		{ 501, "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n" },
		{ 505, "GET / HTTP/3.0\r\nHost: a\r\n\r\n" },
	};
	HttpHead head;
	for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
		if (parse(rows[i].text, &head) != rows[i].status)
			fail_msg("not refused with %d: %s", rows[i].status, rows[i].text);
}

static void test_chunk_line(void **state)
{
	uint64_t size = 0;
	assert_int_equal(http_chunk_line("1aF\r\nrest", 9, &size), 5);
	assert_int_equal(size, 0x1af);
	assert_int_equal(http_chunk_line("0;a=b\r\n", 7, &size), 7);
	assert_int_equal(http_chunk_line("12", 2, &size), 0);
	assert_int_equal(http_chunk_line("12\r", 3, &size), 0);
	assert_int_equal(http_chunk_line("12\rx", 4, &size), -1);
	assert_int_equal(http_chunk_line("12\n", 3, &size), -1);
	assert_int_equal(http_chunk_line("-1\r\n", 4, &size), -1);
	assert_int_equal(http_chunk_line("fffffffffffffffff\r\n", 19, &size), -1);
}

static void test_percent(void **state)
{
	g_autofree char *plain = http_percent_decode("a%2Fb+c%c3%a9", 13, FALSE);
	g_autofree char *query = http_percent_decode("a+b", 3, TRUE);
	assert_string_equal(plain, "a/b+c\xc3\xa9");
	assert_string_equal(query, "a b");
	assert_null(http_percent_decode("%", 1, FALSE));
	assert_null(http_percent_decode("%4", 2, FALSE));
	assert_null(http_percent_decode("%zz", 3, FALSE));
	assert_null(http_percent_decode("a%00b", 5, FALSE));
	assert_null(http_percent_decode("%ff", 3, FALSE));
	g_autofree char *encoded = http_percent_encode("a/b c");
	assert_string_equal(encoded, "a%2Fb%20c");
}

static const char *route(const char *verb, const char *path)
{
	RouteMatch match;
	RouteResult result = route_find(verb, path, NULL, &match);
	return result == ROUTE_NO_PATH ? "no path" :
	    result == ROUTE_NO_VERB    ? "no verb" :
					 match.method->schema->name;
}

static void test_routes(void **state)
{
	RouteMatch match;
	route_start();
	assert_string_equal(route("GET", "/"), "GetApiVersions");
	assert_string_equal(route("GET", "/1.0"), "GetServer");
	assert_string_equal(route("GET", "/1.0/images/aliases"), "GetImageAliases");
	assert_string_equal(route("GET", "/1.0/images/aliases/x"), "GetImageAlias");
	assert_string_equal(route("GET", "/1.0/images/abc"), "GetImage");
	assert_string_equal(route("HEAD", "/1.0/instances/c/files"), "GetInstanceFile");
	assert_string_equal(route("HEAD", "/1.0"), "no verb");
	assert_string_equal(route("DELETE", "/1.0"), "no verb");
	assert_string_equal(route("GET", "/1.0/cluster/members"), "no verb");
	assert_string_equal(route("GET", "/1.0/"), "no path");
	assert_string_equal(route("GET", "//"), "no path");
	assert_string_equal(route("GET", "/1.0/instances//files"), "no path");
	assert_string_equal(route("GET", "/1.0/containers"), "no path");
	assert_string_equal(route("GET", ""), "no path");
	assert_string_equal(route("GET", "*"), "no path");
	assert_int_equal(route_find("GET", "/1.0/profiles/a%2Fb", NULL, &match), ROUTE_FOUND);
	assert_int_equal(match.n_params, 1);
	assert_true(g_str_has_prefix(match.names[0], "name}"));
	assert_int_equal(match.lengths[0], 5);
	assert_memory_equal(match.values[0], "a%2Fb", 5);
}

/* Every route of the schema finds its own method. */
static void test_all_routes(void **state)
{
	route_start();
	for (unsigned i = 0; i < schema_n_methods; i++) {
		const SchemaMethod *schema = &schema_methods[i];
		if (!schema->http_path)
			continue;
		g_autoptr(GRegex) parameter = g_regex_new("\\{[^}]*\\}", 0, 0, NULL);
		g_autofree char *path = g_regex_replace_literal(
		    parameter, schema->http_path, -1, 0, "x", 0, NULL);
		RouteMatch match;
		assert_int_equal(
		    route_find(schema->http_verb, path, schema->content_type, &match), ROUTE_FOUND);
		assert_string_equal(match.method->schema->name, schema->name);
	}
}

static void test_websocket_key(void **state)
{
	g_autofree char *accepted = websocket_accept_key(
	    "dGhlIHNhbXBsZSBub25jZQ=="); /* RFC 6455, 1.3 */
	assert_string_equal(accepted, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

static void test_wire_fields(void **state)
{
	g_autoptr(GByteArray) out = g_byte_array_new();
	WireField field;
	wire_out_varint_field(out, 1, 300);
	wire_out_string(out, 20, "text");
	const uint8_t *p = out->data, *end = p + out->len;
	assert_true(wire_in_next(&p, end, &field) && field.number == 1 && field.value == 300 &&
	    !field.data);
	assert_true(wire_in_next(&p, end, &field) && field.number == 20 && field.length == 4);
	assert_memory_equal(field.data, "text", 4);
	assert_false(wire_in_next(&p, end, &field));
	for (size_t cut = 1; cut < out->len; cut++) {
		p = out->data;
		while (wire_in_next(&p, out->data + cut, &field))
			assert_true(p <= out->data + cut);
	}
	static const uint8_t too_long[] = { 0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 'a' };
	p = too_long;
	assert_false(wire_in_next(&p, too_long + sizeof(too_long), &field));
}

static void test_addresses(void **state)
{
	assert_true(address_equal(":8443", "[::]:8443"));
	assert_true(address_equal("10.0.0.1", "10.0.0.1:8443"));
	assert_true(address_equal("[fd00::1]", "fd00::1"));
	assert_false(address_equal("10.0.0.1:1", "10.0.0.1:2"));
	assert_true(address_same_port("10.0.0.1", "[::]:8443"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_head),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_chunk_line),
		cmocka_unit_test(test_percent),
		cmocka_unit_test(test_routes),
		cmocka_unit_test(test_all_routes),
		cmocka_unit_test(test_websocket_key),
		cmocka_unit_test(test_wire_fields),
		cmocka_unit_test(test_addresses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
