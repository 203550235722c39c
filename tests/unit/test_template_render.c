/* The template language: what it renders, and that hostile templates end. */
#include "sdk/base/template_render.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

static json_t *context(void)
{
	return json_pack("{s:s,s:{s:s,s:s},s:{s:s,s:s},s:{s:s},s:[s,s,s],s:{}}", "trigger",
	    "create", "container", "name", "c1", "privileged", "false", "config", "user.foo",
	    "bar\n", "user.n", "3", "properties", "os", "Busybox", "list", "a", "b", "c",
	    "devices");
}

static char *render(const char *source)
{
	json_t *c = context();
	GString *out = g_string_new("");
	Error *err = NULL;
	int r = template_render(source, strlen(source), c, out, &err);
	json_decref(c);
	if (r == 0)
		return g_string_free(out, FALSE);
	assert_int_equal(out->len, 0);
	assert_int_equal(err->kind, ERROR_INVALID);
	error_free(err);
	g_string_free(out, TRUE);
	return NULL;
}

static void check(const char *source, const char *expected)
{
	g_autofree char *text = render(source);
	if (!text || strcmp(text, expected) != 0)
		print_error("%s\n", source);
	assert_non_null(text);
	assert_string_equal(text, expected);
}

static void refuse(const char *source)
{
	g_autofree char *text = render(source);
	if (text)
		print_error("%s gave %s\n", source, text);
	assert_null(text);
}

static void test_values(void **state)
{
	check("", "");
	check("plain { } % # text", "plain { } % # text");
	check("{{ container.name }}\n", "c1\n");
	check("{{ config_get(\"user.foo\", \"x\") }}", "bar");
	check("{{ config_get('user.none', 'x') }}{{ config_get('user.none') }}", "x");
	check("{{ config[\"user.n\"] }}{{ nothing.at.all }}{{ properties.os }}", "3Busybox");
	check("{{ list.1 }}{{ list[2] }}{{ list.9 }}", "bc");
	check("{# a {{ comment }} it's #}x", "x");
	check("{{ \"}}\" }}", "}}");
	check(
	    "{{ 1 + 2 * 3 - 4 }} {{ 7 / 2 }} {{ 7 % 4 }} {{ -3 }} {{ (1 + 2) * 3 }} {{ 'a' + 'b' }}",
	    "3 3 3 -3 9 ab");
}

static void test_filters(void **state)
{
	check("{{ '2024-02-03T04:05:06Z'|date:'2006-01-02_15-04-05' }}", "2024-02-03_04-05-06");
	check("{{ '2024-02-03T16:05:06Z'|date:'Mon Jan 2 3:04PM 06 100%' }}",
	    "Sat Feb 3 4:05PM 24 200%");
	check("{{ 'no time'|date:'2006' }}", "no time");
	check("{{ container.name|upper }}{{ 'AbC'|lower }}", "C1abc");
	check("{{ nothing|default:'d' }}{{ container.name|default:\"d\" }}", "dc1");
	check(
	    "{{ ' x '|trim }}{{ list|join:', ' }}{{ list|length }}{{ list|first }}{{ list|last }}",
	    "xa, b, c3ac");
	check("{{ '<&>'|escape }}{{ '<'|safe }}", "&lt;&amp;&gt;<");
	check("{{ 'a-b'|cut:'-' }}{{ 'x y'|capfirst }}{{ 'x y'|title }}", "abX yX Y");
	check("{{ 'a b'|urlencode }}{{ '12'|integer + 1 }}{{ 1|yesno:'y,n' }}", "a%20b13y");
	refuse("{{ 'a'|nosuch }}");
}

static void test_blocks(void **state)
{
	check("{% if container.privileged == 'false' %}a{% else %}b{% endif %}", "a");
	check("{% if 0 %}a{% elif 1 %}b{% elif 1 %}c{% else %}d{% endif %}", "b");
	check("{% if not 1 %}a{% elif '' %}b{% else %}d{% endif %}", "d");
	check(
	    "{% if 1 and not 0 or 0 %}x{% endif %}{% if 'a' in list %}y{% endif %}{% if 'z' not in list %}z{% endif %}",
	    "xyz");
	check("{% if 2 > 1 && 1 <= 1 %}x{% endif %}{% if 1 != 1 %}n{% endif %}", "x");
	check(
	    "{% for x in list %}{{ forloop.Counter }}{{ x }}{% if not forloop.Last %},{% endif %}{% endfor %}",
	    "1a,2b,3c");
	check("{% for k, v in properties %}{{ k }}={{ v }}{% endfor %}", "os=Busybox");
	check(
	    "{% for x in devices %}x{% else %}none{% endfor %}{% for x in list %}{% else %}no{% endfor %}",
	    "none");
	check("{% set a = 'v' %}{{ a }}{% with a='w' %}{{ a }}{% endwith %}{{ a }}", "vwv");
	check("a {%- if 1 -%} b {%- endif -%} c {{- 'd' -}} e", "abcde");
	check("{% comment %}{{ nothing( }}{% endcomment %}{% autoescape off %}<{% endautoescape %}",
	    "<");
	check("{% if 0 %}{% for x in list %}{{ x|nosuch }}{% endfor %}{% endif %}ok", "ok");
	check("{% firstof nothing container.name %}{% spaceless %}<a> <b>{% endspaceless %}",
	    "c1<a><b>");
}

static void test_refused(void **state)
{
	const char *const bad[] = { "{{ x", "{% if 1 %}", "{% endif %}",
		"{% include '/etc/shadow' %}", "{% import 'x' a %}", "{% extends 'x' %}",
		"{% ssi '/etc/passwd' %}", "{{ system('id') }}", "{{ 1 / 0 }}", "{{ 'a", "{{ }}",
		"{% for x %}{% endfor %}", "{{ a b }}", "{% if %}{% endif %}", "{{ config_get() }}",
		"\xff" };
	for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
		refuse(bad[i]);
}

static void test_bounded(void **state)
{
	/* Loops in loops: ten to the seventh rounds if nothing stopped them. */
	GString *bomb = g_string_new(
	    "{% set l = '0123456789'|cut:''  %}{% set l = '1,2,3,4,5,6,7,8,9,0'|split:',' %}");
	for (int i = 0; i < 7; i++)
		g_string_append_printf(bomb, "{%% for x%d in l %%}", i);
	g_string_append(bomb, "x");
	for (int i = 0; i < 7; i++)
		g_string_append(bomb, "{% endfor %}");
	refuse(bomb->str);
	/* Text that doubles. */
	g_string_assign(bomb, "{% set a = 'xxxxxxxxxxxxxxxx' %}");
	for (int i = 0; i < 40; i++)
		g_string_append(bomb, "{% set a = a + a %}");
	refuse(bomb->str);
	g_string_assign(bomb, "{{ ");
	for (int i = 0; i < 10000; i++)
		g_string_append_c(bomb, '(');
	refuse(bomb->str);
	g_string_append(bomb, " }}");
	refuse(bomb->str);
	g_string_assign(bomb, "{{ ");
	for (int i = 0; i < 10000; i++)
		g_string_append(bomb, "not ");
	g_string_append(bomb, "1 }}");
	refuse(bomb->str);
	g_string_truncate(bomb, 0);
	for (int i = 0; i < 10000; i++)
		g_string_append(bomb, "{% if 1 %}");
	refuse(bomb->str);
	g_string_free(bomb, TRUE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_filters),
		cmocka_unit_test(test_blocks),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
