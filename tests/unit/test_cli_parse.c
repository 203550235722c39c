/* cli/parse: how command lines are read, and that the command table is sound. */
#include "cli/alias.h"
#include "cli/command.h"
#include "cli/conf.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static Cli cli;
static Error *problem;

static int set_up(void **state)
{
	cli = (Cli){ .arena = arena_new(),
		.values = g_hash_table_new_full(
		    g_str_hash, g_str_equal, NULL, (GDestroyNotify)g_ptr_array_unref) };
	problem = NULL;
	return 0;
}

static int tear_down(void **state)
{
	error_free(problem);
	g_hash_table_unref(cli.values);
	conf_free(cli.conf);
	arena_free(cli.arena);
	return 0;
}

static ParseResult parse(char **argv)
{
	return parse_arguments(&cli, (int)g_strv_length(argv), argv, &problem);
}

#define PARSE(...) parse((char *[]){ "incus", __VA_ARGS__, NULL })

static void test_words(void **state)
{
	assert_int_equal(
	    PARSE("config", "device", "add", "c1", "eth0", "nic", "network=br0"), PARSE_RUN);
	assert_string_equal(cli.command->path, "config device add");
	assert_int_equal(cli.n_args, 4);
	assert_string_equal(cli.args[3], "network=br0");
}

static void test_aliases_of_words(void **state)
{
	assert_int_equal(PARSE("image", "ls", "-f", "csv"), PARSE_RUN);
	assert_string_equal(cli.command->path, "image list");
	assert_string_equal(flag_string(&cli, "format"), "csv");
}

static void test_flags_anywhere(void **state)
{
	assert_int_equal(
	    PARSE("--project", "p1", "list", "--debug", "-c=ns", "web", "--format=json"),
	    PARSE_RUN);
	assert_string_equal(cli.command->path, "list");
	assert_string_equal(cli_project(&cli), "p1");
	assert_string_equal(flag_string(&cli, "columns"), "ns");
	assert_string_equal(flag_string(&cli, "format"), "json");
	assert_true(cli.debug);
	assert_int_equal(cli.n_args, 1);
}

static void test_letters(void **state)
{
	assert_int_equal(PARSE("launch", "img", "c1", "-ecuser.a=b", "-c", "user.c=d"), PARSE_RUN);
	unsigned n;
	const char *const *pairs = flag_list(&cli, "config", &n);
	assert_int_equal(n, 2);
	assert_string_equal(pairs[0], "user.a=b");
	assert_string_equal(pairs[1], "user.c=d");
	assert_true(flag_bool(&cli, "ephemeral"));
}

static void test_double_dash(void **state)
{
	assert_int_equal(PARSE("exec", "c1", "-T", "--", "ls", "-l", "--all"), PARSE_RUN);
	assert_int_equal(cli.n_args, 4);
	assert_string_equal(cli.args[2], "-l");
	assert_true(flag_bool(&cli, "force-noninteractive"));
}

static void test_optional_value(void **state)
{
	assert_int_equal(PARSE("start", "c1", "--console", "c2"), PARSE_RUN);
	assert_int_equal(cli.n_args, 2);
	assert_string_equal(flag_string(&cli, "console"), "console");
	assert_int_equal(tear_down(NULL) + set_up(NULL), 0);
	assert_int_equal(PARSE("start", "c1", "--console=vga"), PARSE_RUN);
	assert_string_equal(flag_string(&cli, "console"), "vga");
}

static void test_defaults(void **state)
{
	assert_int_equal(PARSE("stop", "c1"), PARSE_RUN);
	assert_int_equal(flag_int(&cli, "timeout"), -1);
	assert_false(flag_given(&cli, "timeout"));
	assert_false(flag_bool(&cli, "force"));
}

static void check_failure(ParseResult result, const char *message)
{
	assert_int_equal(result, PARSE_ERROR);
	assert_string_equal(problem->message, message);
	tear_down(NULL);
	set_up(NULL);
}

static void test_errors(void **state)
{
	check_failure(PARSE("foobar"), "unknown command \"foobar\" for \"incus\"");
	check_failure(PARSE("config", "foobar"), "unknown command \"foobar\" for \"incus config\"");
	check_failure(PARSE("list", "--foo=1"), "unknown flag: --foo");
	check_failure(PARSE("list", "-Z"), "unknown shorthand flag: 'Z' in -Z");
	check_failure(PARSE("list", "--columns"), "flag needs an argument: --columns");
	check_failure(PARSE("list", "-c"), "flag needs an argument: 'c' in -c");
	check_failure(PARSE("list", "--fast=maybe"),
	    "invalid argument \"maybe\" for \"--fast\" flag: neither true nor false");
	check_failure(PARSE("exec", "--user", "x", "c1", "ls"),
	    "invalid argument \"x\" for \"--user\" flag: not a whole 32-bit number");
}

static void test_help(void **state)
{
	assert_int_equal(PARSE("config"), PARSE_HELP);
	assert_null(problem);
	assert_int_equal(PARSE("delete"), PARSE_HELP);
	assert_null(problem);
	assert_int_equal(PARSE("rename", "a"), PARSE_HELP);
	assert_string_equal(problem->message, "Invalid number of arguments");
	assert_int_equal(PARSE("list", "--help"), PARSE_HELP);
	assert_int_equal(PARSE("--version"), PARSE_VERSION);
}

/* Every group of a path is there, no name is there twice, and no flag hides a global one's letter.
 */
static void test_table(void **state)
{
	const Command *c;
	for (unsigned i = 0; (c = command_at(i)); i++) {
		g_autofree char *parent = g_strdup(c->path);
		char *space = strrchr(parent, ' ');
		*(space ? space : parent) = 0;
		assert_ptr_equal(command_child(parent, command_word(c)), c);
		assert_non_null(c->summary);
		for (char *p = parent; *p;
		     p = strchr(p, ' ') ? strchr(p, ' ') + 1 : p + strlen(p)) {
			g_autofree char *above = g_strndup(parent, p > parent ? p - parent - 1 : 0);
			g_autofree char *word = g_strndup(p, strcspn(p, " "));
			assert_non_null(command_child(above, word));
		}
		for (const Flag *f = c->flags; f && f->name; f++) {
			assert_ptr_equal(flag_find(c, f->name, strlen(f->name)), f);
			if (f->letter)
				assert_ptr_equal(flag_find_letter(c, f->letter), f);
			assert_true(f->letter != 'h' && f->letter != 'q' && f->letter != 'v');
		}
	}
	assert_non_null(command_at(100));
}

int main(void)
{
	g_setenv("INCUS_CONF", "/nonexistent", TRUE);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_words, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_aliases_of_words, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_flags_anywhere, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_letters, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_double_dash, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_optional_value, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_defaults, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_errors, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_help, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_table, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
