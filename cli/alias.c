/*
 * incus alias: shortcuts kept in config.yml, and their expansion before a command line is read.
 */
#include "cli/alias.h"
#include "cli/conf.h"
#include "cli/output.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The longest alias that begins the command line; *ret_words of it are its name. */
static const char *find_alias(const Conf *conf, int argc, char **argv, int *ret_words)
{
	const char *found = NULL;
	g_autoptr(GString) name = g_string_new(NULL);
	for (int i = 1; i < argc && argv[i][0] != '-'; i++) {
		g_string_append_printf(name, "%s%s", i > 1 ? " " : "", argv[i]);
		const char *target = g_hash_table_lookup(conf->aliases, name->str);
		if (target) {
			found = target;
			*ret_words = i;
		}
	}
	return found;
}

/* "@ARG2@" gives 2, else 0. */
static int argument_number(const char *word)
{
	int number = 0, end = 0;
	if (sscanf(word, "@ARG%d@%n", &number, &end) == 1 && end > 0 && !word[end])
		return number;
	return 0;
}

static char **put_in(Cli *cli, char **target, int words, int *argc, char **argv)
{
	g_autoptr(GPtrArray) out = g_ptr_array_new();
	g_autofree bool *used = g_new0(bool, *argc + 1);
	bool placed = false;
	g_ptr_array_add(out, argv[0]);
	for (char **t = target; *t; t++) {
		int number = argument_number(*t);
		if (number > 0 && words + number < *argc) {
			g_ptr_array_add(out, argv[words + number]);
			used[words + number] = true;
		} else if (strcmp(*t, "@ARGS@") == 0) {
			placed = true;
			for (int i = words + 1; i < *argc; i++)
				if (!used[i])
					g_ptr_array_add(out, argv[i]);
		} else {
			g_ptr_array_add(out, arena_strdup(cli->arena, *t));
		}
	}
	for (int i = words + 1; !placed && i < *argc; i++)
		if (!used[i])
			g_ptr_array_add(out, argv[i]);
	*argc = out->len;
	g_ptr_array_add(out, NULL);
	return arena_memdup(cli->arena, out->pdata, out->len * sizeof(char *));
}

char **alias_expand(Cli *cli, int *argc, char **argv)
{
	g_autoptr(Error) err = NULL;
	g_autoptr(GError) shell = NULL;
	g_auto(GStrv) target = NULL;
	int words = 0, n = 0;
	if (*argc < 2)
		return argv;
	Conf *conf = conf_get(cli, &err);
	if (!conf) {
		fprintf(stderr, "Error: %s\n", err->message);
		return NULL;
	}
	const char *text = find_alias(conf, *argc, argv, &words);
	if (!text)
		return argv;
	if (*text && !g_shell_parse_argv(text, &n, &target, &shell)) {
		fprintf(
		    stderr, "Error: Alias of \"%s\" cannot be read: %s\n", argv[1], shell->message);
		return NULL;
	}
	if (!target)
		target = g_new0(char *, 1);
	return put_in(cli, target, words, argc, argv);
}

static int alias_add(Cli *cli, Error **err)
{
	Conf *conf = conf_get(cli, err);
	if (!conf)
		return -1;
	if (g_hash_table_contains(conf->aliases, cli->args[0]))
		return error_set(err, ERROR_EXISTS, "Alias %s already exists", cli->args[0]);
	g_hash_table_insert(conf->aliases, g_strdup(cli->args[0]), g_strdup(cli->args[1]));
	return conf_save(conf, err);
}

static int alias_remove(Cli *cli, Error **err)
{
	Conf *conf = conf_get(cli, err);
	if (!conf)
		return -1;
	if (!g_hash_table_remove(conf->aliases, cli->args[0]))
		return error_set(err, ERROR_NOT_FOUND, "Alias %s doesn't exist", cli->args[0]);
	return conf_save(conf, err);
}

static int alias_rename(Cli *cli, Error **err)
{
	const char *from = cli->args[0], *to = cli->args[1];
	Conf *conf = conf_get(cli, err);
	if (!conf)
		return -1;
	const char *target = g_hash_table_lookup(conf->aliases, from);
	if (!target)
		return error_set(err, ERROR_NOT_FOUND, "Alias %s doesn't exist", from);
	if (g_hash_table_contains(conf->aliases, to))
		return error_set(err, ERROR_EXISTS, "Alias %s already exists", to);
	g_hash_table_insert(conf->aliases, g_strdup(to), g_strdup(target));
	g_hash_table_remove(conf->aliases, from);
	return conf_save(conf, err);
}

static int alias_list(Cli *cli, Error **err)
{
	static const char *const headers[] = { "ALIAS", "TARGET", NULL };
	Conf *conf = conf_get(cli, err);
	if (!conf)
		return -1;
	g_autoptr(Table) table = table_new(headers);
	g_autoptr(json_t) data = json_object();
	GHashTableIter iter;
	gpointer name, target;
	g_hash_table_iter_init(&iter, conf->aliases);
	while (g_hash_table_iter_next(&iter, &name, &target)) {
		table_add(table, name, target, NULL);
		json_object_set_new(data, name, json_string(target));
	}
	table_sort(table);
	return output_list(cli, table, data, err);
}

static const Flag list_flags[] = { FLAG_FORMAT, FLAG_END };

const Command alias_commands[] = {
	{ .path = "alias",
	    .summary = "Keep shortcuts of commands",
	    .help =
		"A shortcut stands for the words of a command. Arguments follow the words, or take the\n"
		"place of @ARGS@; @ARG1@, @ARG2@ ... stand for single ones." },
	{ .path = "alias add",
	    .usage = "<alias> <target>",
	    .min_args = 2,
	    .max_args = 2,
	    .summary = "Add a shortcut",
	    .examples = "incus alias add running \"list status=running\"\n"
			"    From then on \"incus running\" lists the instances that run.",
	    .run = alias_add },
	{ .path = "alias list",
	    .aliases = "ls",
	    .max_args = 0,
	    .flags = list_flags,
	    .summary = "List shortcuts",
	    .run = alias_list },
	{ .path = "alias rename",
	    .aliases = "mv",
	    .usage = "<old alias> <new alias>",
	    .min_args = 2,
	    .max_args = 2,
	    .summary = "Rename a shortcut",
	    .run = alias_rename },
	{ .path = "alias remove",
	    .aliases = "rm",
	    .usage = "<alias>",
	    .min_args = 1,
	    .max_args = 1,
	    .summary = "Remove a shortcut",
	    .run = alias_remove },
	{ 0 },
};
