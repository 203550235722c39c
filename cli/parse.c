/*
 * Command lines as cobra-based programs read them: commands first, flags anywhere, --flag value,
 * --flag=value, -f value, -fvalue, -f=value, -abc for booleans, and -- to end the flags.
 */
#include "cli/command.h"
#include <stdlib.h>
#include <string.h>

static bool is_flag(const char *arg)
{
	return arg[0] == '-' && arg[1] != 0;
}

/* While the command is still unknown: does this flag take the next argument? Unknown ones do. */
static bool takes_next(const Command *command, const char *arg)
{
	const Flag *flag;
	if (strchr(arg, '='))
		return false;
	if (arg[1] == '-')
		flag = flag_find(command, arg + 2, strlen(arg + 2));
	else
		flag = arg[2] ? NULL : flag_find_letter(command, arg[1]);
	if (!flag)
		return arg[1] == '-' || !arg[2];
	return flag->kind != FLAG_BOOL && flag->kind != FLAG_OPTIONAL;
}

/* Marks the words of the command in `used`; NULL when the first word names none. */
static const Command *find_command(int argc, char **argv, bool *used, const char **ret_unknown)
{
	const Command *command = NULL;
	*ret_unknown = NULL;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--") == 0)
			break;
		if (is_flag(argv[i])) {
			i += takes_next(command, argv[i]);
			continue;
		}
		const Command *child = command_child(command ? command->path : "", argv[i]);
		if (!child) {
			if (!command || !command->run)
				*ret_unknown = argv[i];
			break;
		}
		command = child;
		used[i] = true;
	}
	return command;
}

static void store_value(Cli *cli, const Flag *flag, const char *value)
{
	GPtrArray *values = g_hash_table_lookup(cli->values, flag->name);
	if (!values) {
		values = g_ptr_array_new();
		g_hash_table_insert(cli->values, (char *)flag->name, values);
	}
	if (flag->kind != FLAG_LIST)
		g_ptr_array_set_size(values, 0);
	g_ptr_array_add(values, (char *)value);
}

static const char *bool_word(const char *value)
{
	static const char *const yes[] = { "1", "t", "T", "TRUE", "true", "True", NULL };
	static const char *const no[] = { "0", "f", "F", "FALSE", "false", "False", NULL };
	return g_strv_contains(yes, value) ? "true" : g_strv_contains(no, value) ? "false" : NULL;
}

static int check_number(const Flag *flag, const char *value, Error **err)
{
	char *end = NULL;
	long long number = strtoll(value, &end, 0);
	if (!*value || *end || (flag->kind == FLAG_UINT && (number < 0 || number > UINT32_MAX)))
		return error_set(err, ERROR_INVALID,
		    "invalid argument \"%s\" for \"--%s\" flag: not a %snumber", value, flag->name,
		    flag->kind == FLAG_UINT ? "whole 32-bit " : "");
	return 0;
}

static int add_flag(Cli *cli, const Flag *flag, const char *value, Error **err)
{
	if (flag->kind == FLAG_BOOL) {
		const char *word = bool_word(value);
		if (!word)
			return error_set(err, ERROR_INVALID,
			    "invalid argument \"%s\" for \"--%s\" flag: neither true nor false",
			    value, flag->name);
		value = word;
	} else if (flag->kind == FLAG_INT || flag->kind == FLAG_UINT) {
		if (check_number(flag, value, err) < 0)
			return -1;
	}
	store_value(cli, flag, value);
	return 0;
}

/* Returns how many further arguments were taken, -1 on error. */
static int parse_long(Cli *cli, const char *arg, const char *next, Error **err)
{
	const char *name = arg + 2, *equals = strchr(name, '=');
	size_t length = equals ? (size_t)(equals - name) : strlen(name);
	const Flag *flag = flag_find(cli->command, name, length);
	if (!flag)
		return error_set(err, ERROR_INVALID, "unknown flag: --%.*s", (int)length, name);
	if (equals)
		return add_flag(cli, flag, equals + 1, err);
	if (flag->kind == FLAG_BOOL)
		return add_flag(cli, flag, "true", err);
	if (flag->kind == FLAG_OPTIONAL)
		return add_flag(cli, flag, flag->fallback, err);
	if (!next)
		return error_set(err, ERROR_INVALID, "flag needs an argument: --%s", flag->name);
	return add_flag(cli, flag, next, err) < 0 ? -1 : 1;
}

static int parse_letters(Cli *cli, const char *arg, const char *next, Error **err)
{
	for (const char *p = arg + 1; *p; p++) {
		const Flag *flag = flag_find_letter(cli->command, *p);
		if (!flag)
			return error_set(
			    err, ERROR_INVALID, "unknown shorthand flag: '%c' in %s", *p, arg);
		if (p[1] == '=')
			return add_flag(cli, flag, p + 2, err);
		if (flag->kind == FLAG_BOOL || flag->kind == FLAG_OPTIONAL) {
			const char *value = flag->kind == FLAG_BOOL ? "true" : flag->fallback;
			if (add_flag(cli, flag, value, err) < 0)
				return -1;
			continue;
		}
		if (p[1])
			return add_flag(cli, flag, p + 1, err);
		if (!next)
			return error_set(
			    err, ERROR_INVALID, "flag needs an argument: '%c' in %s", *p, arg);
		return add_flag(cli, flag, next, err) < 0 ? -1 : 1;
	}
	return 0;
}

static int parse_flags(Cli *cli, int argc, char **argv, const bool *used, Error **err)
{
	GPtrArray *args = g_ptr_array_new();
	bool ended = false;
	int result = 0;
	for (int i = 1; i < argc && result >= 0; i++) {
		if (used[i])
			continue;
		if (!ended && strcmp(argv[i], "--") == 0) {
			ended = true;
		} else if (!ended && is_flag(argv[i])) {
			const char *next = i + 1 < argc ? argv[i + 1] : NULL;
			result = argv[i][1] == '-' ? parse_long(cli, argv[i], next, err) :
						     parse_letters(cli, argv[i], next, err);
			i += MAX(result, 0);
		} else {
			g_ptr_array_add(args, argv[i]);
		}
	}
	cli->n_args = args->len;
	g_ptr_array_add(args, NULL);
	cli->args = arena_memdup(cli->arena, args->pdata, args->len * sizeof(char *));
	g_ptr_array_free(args, TRUE);
	return result < 0 ? -1 : 0;
}

static void read_globals(Cli *cli)
{
	cli->quiet = flag_bool(cli, "quiet");
	cli->debug = flag_bool(cli, "debug");
	cli->verbose = flag_bool(cli, "verbose");
	cli->force_local = flag_bool(cli, "force-local");
}

ParseResult parse_arguments(Cli *cli, int argc, char **argv, Error **err)
{
	bool *used = arena_alloc(cli->arena, (argc + 1) * sizeof(bool));
	const char *unknown;
	cli->command = find_command(argc, argv, used, &unknown);
	if (unknown) {
		error_set(err, ERROR_INVALID, "unknown command \"%s\" for \"incus%s%s\"", unknown,
		    cli->command ? " " : "", cli->command ? cli->command->path : "");
		return PARSE_ERROR;
	}
	if (parse_flags(cli, argc, argv, used, err) < 0)
		return PARSE_ERROR;
	read_globals(cli);
	if (flag_bool(cli, "version"))
		return PARSE_VERSION;
	if (flag_bool(cli, "help") || !cli->command || !cli->command->run)
		return PARSE_HELP;
	const Command *command = cli->command;
	if (cli->n_args < command->min_args ||
	    (command->max_args >= 0 && cli->n_args > command->max_args)) {
		if (cli->n_args > 0)
			error_set(err, ERROR_INVALID, "Invalid number of arguments");
		return PARSE_HELP;
	}
	return PARSE_RUN;
}

bool flag_given(const Cli *cli, const char *name)
{
	return g_hash_table_contains(cli->values, name);
}

const char *flag_string(const Cli *cli, const char *name)
{
	GPtrArray *values = g_hash_table_lookup(cli->values, name);
	if (values)
		return g_ptr_array_index(values, 0);
	const Flag *flag = flag_find(cli->command, name, strlen(name));
	if (!flag || flag->kind == FLAG_OPTIONAL || !flag->fallback)
		return "";
	return flag->fallback;
}

bool flag_bool(const Cli *cli, const char *name)
{
	return strcmp(flag_string(cli, name), "true") == 0;
}

long flag_int(const Cli *cli, const char *name)
{
	return strtol(flag_string(cli, name), NULL, 0);
}

const char *const *flag_list(const Cli *cli, const char *name, unsigned *ret_n)
{
	GPtrArray *values = g_hash_table_lookup(cli->values, name);
	unsigned n = values ? values->len : 0;
	const char **list = arena_alloc(cli->arena, (n + 1) * sizeof(char *));
	for (unsigned i = 0; i < n; i++)
		list[i] = g_ptr_array_index(values, i);
	if (ret_n)
		*ret_n = n;
	return list;
}

const char *cli_project(const Cli *cli)
{
	const char *project = flag_string(cli, "project");
	if (!*project)
		project = g_getenv("INCUS_PROJECT");
	return project && *project ? project : NULL;
}
