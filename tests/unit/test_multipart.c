/* Multipart bodies cut at every place give the same parts. */
#include "server/image/multipart.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <glib.h>
#include <string.h>

static int on_part(void *data, const char *name, const char *filename, Error **err)
{
	g_string_append_printf(data, "[%s|%s]", name, filename);
	return 0;
}

static int on_content(void *data, const void *bytes, size_t length, Error **err)
{
	g_string_append_len(data, bytes, (gssize)length);
	return 0;
}

/* Feeds `body` in pieces of `step`; NULL when refused. */
static char *parse(const char *type, const char *body, size_t length, size_t step)
{
	GString *seen = g_string_new("");
	g_autoptr(Multipart) m = NULL;
	g_autoptr(Error) err = NULL;
	MultipartSink sink = { on_part, on_content, seen };
	int r = multipart_new(type, &sink, &m, &err);
	for (size_t i = 0; r == 0 && i < length; i += step) {
		/* Exact heap copies, so that the sanitizer sees every read beyond a piece. */
		size_t n = MIN(step, length - i);
		g_autofree char *piece = g_memdup2(body + i, n);
		r = multipart_feed(m, piece, n, &err);
	}
	if (r == 0)
		r = multipart_end(m, &err);
	return g_string_free(seen, r < 0);
}

static const char body[] =
    "--XyZ\r\nContent-Disposition: form-data; name=\"metadata\"; filename=\"a;b.tar\"\r\nContent-Type: x/y\r\n\r\n"
    "one\r\n--XyY\r\n-\r\r\n--Xy\r\n--XyZ  \r\ncontent-disposition: form-data; name=rootfs\r\n\r\ntwo\r\n\r\n--XyZ--\r\nepilogue";

static void test_pieces(void **state)
{
	for (size_t step = 1; step <= sizeof body; step++) {
		g_autofree char *seen = parse(
		    "multipart/form-data; boundary=XyZ", body, strlen(body), step);
		assert_non_null(seen);
		assert_string_equal(
		    seen, "[metadata|a;b.tar]one\r\n--XyY\r\n-\r\r\n--Xy[rootfs|]two\r\n");
	}
	g_autofree char *quoted = parse(
	    "multipart/form-data; charset=\"a;b\"; boundary=\"XyZ\"", body, strlen(body), 7);
	assert_non_null(quoted);
}

static void test_cut_short(void **state)
{
	const char *end = strstr(body, "--XyZ--");
	for (size_t length = 0; length < (size_t)(end - body) + 7; length++)
		assert_null(parse("multipart/form-data; boundary=XyZ", body, length, 13));
}

static void test_refused(void **state)
{
	assert_null(parse("multipart/form-data", body, strlen(body), 100));
	assert_null(parse("multipart/form-data; boundary=", body, strlen(body), 100));
	const char no_name[] = "--b\r\nContent-Type: x\r\n\r\nx\r\n--b--";
	assert_null(parse("multipart/form-data; boundary=b", no_name, strlen(no_name), 100));
	GString *head = g_string_new("--b\r\nX: ");
	for (int i = 0; i < 10000; i++)
		g_string_append_c(head, 'x');
	assert_null(parse("multipart/form-data; boundary=b", head->str, head->len, 1000));
	g_string_free(head, TRUE);
	const char junk[] = "--bjunk\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b--";
	assert_null(parse("multipart/form-data; boundary=b", junk, strlen(junk), 3));
}

static void test_large(void **state)
{
	enum { SIZE = 3 * 1000 * 1000 };
	GString *large = g_string_new("--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n");
	gsize before = large->len;
	for (int i = 0; i < SIZE; i++)
		g_string_append_c(large, i % 97 == 0 ? '\r' : i % 89 == 0 ? '\n' : '-');
	g_string_append(large, "\r\n--b--\r\n");
	g_autofree char *seen = parse(
	    "multipart/form-data; boundary=b", large->str, large->len, 65536);
	assert_non_null(seen);
	assert_int_equal(strlen(seen), strlen("[x|]") + SIZE);
	assert_memory_equal(seen + strlen("[x|]"), large->str + before, SIZE);
	g_string_free(large, TRUE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_cut_short),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_large),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
