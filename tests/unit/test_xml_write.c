/* Nothing a user wrote becomes markup, and what XML cannot carry makes the document fail. */
#include "server/sys/xml_write.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

static void writes(void **state)
{
	g_autoptr(XmlWriter) x = xml_new();
	g_autofree char *text = NULL;
	xml_open(x, "a", "b", "1", "left-out", NULL, "c", "2", NULL);
	xml_leaf(x, "d", NULL);
	xml_text(x, "e", "text");
	xml_number(x, "n", -5);
	xml_open(x, "f", NULL);
	xml_content(x, "inside");
	xml_close(x);
	xml_close(x);
	assert_int_equal(xml_finish(x, &text, NULL), 0);
	assert_string_equal(text,
	    "<a b='1' c='2'><d/>\n<e>text</e>\n<n>-5</n>\n<f>inside</f>\n</a>\n");
}

static void escapes(void **state)
{
	static const char hostile[] = "'/><disk type='file'>\"&amp;\t\xc3\xa4";
	g_autoptr(XmlWriter) x = xml_new();
	g_autofree char *text = NULL;
	xml_leaf(x, "a", "b", hostile, NULL);
	xml_text(x, "c", hostile);
	assert_int_equal(xml_finish(x, &text, NULL), 0);
	assert_null(strstr(text, "<disk"));
	assert_string_equal(text,
	    "<a b='&apos;/&gt;&lt;disk type=&apos;file&apos;&gt;&quot;&amp;amp;&#9;\xc3\xa4'/>\n"
	    "<c>&apos;/&gt;&lt;disk type=&apos;file&apos;&gt;&quot;&amp;amp;&#9;\xc3\xa4</c>\n");
}

static void refuses(void **state)
{
	static const char *const values[] = { "a\nb", "\x01", "\x7f", "\xff", "\xef\xbf\xbf" };
	for (size_t n = 0; n < G_N_ELEMENTS(values); n++) {
		g_autoptr(XmlWriter) x = xml_new();
		g_autoptr(Error) err = NULL;
		char *text = NULL;
		xml_leaf(x, "a", "b", values[n], NULL);
		assert_int_equal(xml_finish(x, &text, &err), -1);
		assert_int_equal(err->kind, ERROR_INVALID);
		assert_null(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes),
		cmocka_unit_test(escapes),
		cmocka_unit_test(refuses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
