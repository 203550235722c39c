/* Of QEMU's arguments a kernel is taken, and everything else is refused by its name. */
#include "server/key/raw_qemu.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

static void takes(void **state)
{
	static const struct {
		const char *raw, *kernel, *initrd, *append;
	} rows[] = {
		{ NULL, NULL, NULL, NULL },
		{ " \n", NULL, NULL, NULL },
		{ "-kernel /boot/k", "/boot/k", NULL, NULL },
		{ "--kernel '/boot/a k' -append 'console=ttyS0 x=\"a b\"'", "/boot/a k", NULL,
		    "console=ttyS0 x=\"a b\"" },
		{ "-append a=\\\"b\n-initrd /i -kernel \"/k\" # words", "/k", "/i", "a=\"b" },
		{ "-kernel /k -append ''", "/k", NULL, "" },
		{ "-kernel /k -append '$(id) `id` %s <&>'", "/k", NULL, "$(id) `id` %s <&>" },
	};
	for (size_t n = 0; n < G_N_ELEMENTS(rows); n++) {
		g_auto(RawQemu) got = { 0 };
		assert_int_equal(raw_qemu_parse(rows[n].raw, &got, NULL), 0);
		assert_int_equal(g_strcmp0(got.kernel, rows[n].kernel), 0);
		assert_int_equal(g_strcmp0(got.initrd, rows[n].initrd), 0);
		assert_int_equal(g_strcmp0(got.append, rows[n].append), 0);
	}
}

static void refuses(void **state)
{
	static const struct {
		const char *raw;
		ErrorKind kind;
		const char *says;
	} rows[] = {
		{ "-S", ERROR_UNSUPPORTED, "\"-S\"" },
		{ "-kernel /k -m 4G", ERROR_UNSUPPORTED, "limits.memory" },
		{ "-device x,romfile=/etc/shadow", ERROR_UNSUPPORTED, "\"-device\"" },
		{ "kernel /k", ERROR_UNSUPPORTED, "\"kernel\"" },
		{ "---kernel /k", ERROR_UNSUPPORTED, "\"---kernel\"" },
		{ "-", ERROR_UNSUPPORTED, "\"-\"" },
		{ "''", ERROR_UNSUPPORTED, "\"\"" },
		{ "-kernel", ERROR_INVALID, "needs a value" },
		{ "-kernel boot/k", ERROR_INVALID, "absolute" },
		{ "-kernel -initrd /i", ERROR_INVALID, "absolute" },
		{ "-kernel /k -kernel /l", ERROR_INVALID, "twice" },
		{ "-initrd /i", ERROR_INVALID, "need \"-kernel\"" },
		{ "-append a", ERROR_INVALID, "need \"-kernel\"" },
		{ "-kernel '/k", ERROR_INVALID, "quotes" },
		{ "-kernel '/k\n'", ERROR_INVALID, "characters" },
		{ "-kernel /\xff", ERROR_INVALID, "characters" },
	};
	for (size_t n = 0; n < G_N_ELEMENTS(rows); n++) {
		g_auto(RawQemu) got = { 0 };
		g_autoptr(Error) err = NULL;
		assert_int_equal(raw_qemu_parse(rows[n].raw, &got, &err), -1);
		assert_int_equal(err->kind, rows[n].kind);
		assert_non_null(strstr(err->message, rows[n].says));
		assert_null(got.kernel);
		assert_int_equal(raw_qemu_check(rows[n].raw, NULL), -1);
	}
}

static void has_limits(void **state)
{
	g_autofree char *most = g_strnfill(2047, 'a');
	g_autofree char *fits = g_strconcat("-kernel /k -append ", most, NULL);
	g_autofree char *over = g_strconcat(fits, "a", NULL);
	assert_int_equal(raw_qemu_check(fits, NULL), 0);
	assert_int_equal(raw_qemu_check(over, NULL), -1);
	g_autofree char *path = g_strnfill(5000, 'a');
	g_autofree char *far = g_strconcat("-kernel /", path, NULL);
	assert_int_equal(raw_qemu_check(far, NULL), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes),
		cmocka_unit_test(refuses),
		cmocka_unit_test(has_limits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
