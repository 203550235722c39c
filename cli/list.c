/*
 * incus list.
 */
#include "cli/list.h"
#include "cli/nouns.h"
#include "cli/output.h"
#include <string.h>

#define DEFAULT_COLUMNS "ns46tSL"
#define FAST_COLUMNS "nsacPt"

/* What to show: as asked for, or a default that leaves out the location and adds the project where
 * several are shown. */
static const char *column_text_of(Cli *cli)
{
	bool all = flag_bool(cli, "all-projects");
	const char *prefix = all ? "e" : "";
	if (flag_given(cli, "columns"))
		return flag_string(cli, "columns");
	if (flag_bool(cli, "fast"))
		return arena_printf(cli->arena, "%s" FAST_COLUMNS, prefix);
	return arena_printf(cli->arena, "%sns46tS", prefix);
}

static int parse_filters(
    Cli *cli, Server **ret_server, char ***ret_filters, int *ret_n, Error **err)
{
	Target target = { 0 };
	*ret_filters = cli->args;
	*ret_n = cli->n_args;
	if (cli->n_args > 0 && strchr(cli->args[0], ':') && !strchr(cli->args[0], '=')) {
		if (target_parse(cli, cli->args[0], &target, err) < 0)
			return -1;
		cli->args[0] = (char *)target.name;
		if (!*target.name) {
			(*ret_filters)++;
			(*ret_n)--;
		}
	} else {
		target.server = server_get(cli, NULL, err);
	}
	*ret_server = target.server;
	return target.server ? 0 : -1;
}

/* fields NULL: everything. State and snapshots are what recursion 2 adds. */
static json_t *fetch(Cli *cli, Server *server, const char *const *fields, Error **err)
{
	bool deep = !fields || g_strv_contains(fields, "state") ||
	    g_strv_contains(fields, "snapshots");
	json_t *names = json_array();
	for (; fields && *fields; fields++)
		json_array_append_new(names, json_string(*fields));
	return server_list(server, "GetInstances",
	    json_pack("{s:b, s:i, s:o}", "all-projects", flag_bool(cli, "all-projects"),
		"recursion", deep ? 2 : 1, "fields", names),
	    err);
}

/* All but names may look at any field. */
static bool filters_need_all(char **filters, int n)
{
	for (int i = 0; i < n; i++)
		if (strchr(filters[i], '='))
			return true;
	return false;
}

static json_t *pick(Cli *cli, const json_t *instances, char **filters, int n)
{
	json_t *picked = server_keep(cli, json_array()), *instance;
	size_t i;
	json_array_foreach (instances, i, instance)
		if (filters_match(instance, filters, n))
			json_array_append(picked, instance);
	return picked;
}

static Table *make_table(Cli *cli, const json_t *instances, const GArray *columns)
{
	const char **headers = arena_alloc(cli->arena, (columns->len + 1) * sizeof(char *));
	for (guint c = 0; c < columns->len; c++)
		headers[c] = g_array_index(columns, Column, c).header;
	Table *table = table_new(headers);
	size_t i;
	json_t *instance;
	json_array_foreach (instances, i, instance) {
		char **cells = g_new0(char *, columns->len + 1);
		for (guint c = 0; c < columns->len; c++)
			cells[c] = g_strdup(
			    column_text(cli, instance, &g_array_index(columns, Column, c)));
		table_add_cells(table, cells);
	}
	table_sort(table);
	return table;
}

static int list(Cli *cli, Error **err)
{
	Server *server;
	char **filters;
	int n;
	if (flag_bool(cli, "fast") && flag_given(cli, "columns"))
		return error_set(err, ERROR_INVALID, "Can't specify --fast with --columns");
	if (output_check_format(cli, err) < 0)
		return -1;
	g_autoptr(GArray) columns = columns_parse(cli, column_text_of(cli), err);
	if (!columns || parse_filters(cli, &server, &filters, &n, err) < 0)
		return -1;
	bool all = output_wants_data(cli) || filters_need_all(filters, n);
	json_t *instances = fetch(cli, server, all ? NULL : columns_fields(cli, columns), err);
	if (!instances)
		return -1;
	instances = pick(cli, instances, filters, n);
	g_autoptr(Table) table = make_table(cli, instances, columns);
	return output_list(cli, table, instances, err);
}

static const Flag list_flags[] = {
	FLAG_ALL_PROJECTS,
	{ "columns", 'c', FLAG_STRING, DEFAULT_COLUMNS, "Columns" },
	{ "fast", 0, FLAG_BOOL, NULL,
	    "Only what the server has at hand (columns " FAST_COLUMNS ")" },
	FLAG_FORMAT,
	FLAG_END,
};

const Command list_commands[] = {
	{ .path = "list",
	    .aliases = "ls",
	    .usage = "[<remote>:] [<filter>...]",
	    .max_args = -1,
	    .flags = list_flags,
	    .summary = "List instances",
	    .help =
		"An instance is listed when it passes every filter. A filter is\n"
		"  - the start of a name (web),\n"
		"  - a regular expression for the whole name (.*web.*01$),\n"
		"  - a configuration key and a value or regular expression (user.team=ops); words of the\n"
		"    key may be shortened (u.team=ops),\n"
		"  - type, status, architecture, location, project, ipv4 or ipv6 with one or more values\n"
		"    (status=running,frozen or ipv4=10.1.2.0/24).\n"
		"\n"
		"Columns:\n"
		"  4 - IPv4 addresses\n"
		"  6 - IPv6 addresses\n"
		"  a - Architecture\n"
		"  b - Storage pool\n"
		"  c - When it was created\n"
		"  d - Description\n"
		"  D - Disk usage\n"
		"  e - Project\n"
		"  f - Fingerprint of the image (short)\n"
		"  F - Fingerprint of the image\n"
		"  l - When it was last started\n"
		"  L - Cluster member it is on\n"
		"  m - Memory usage\n"
		"  M - Memory usage in percent\n"
		"  n - Name\n"
		"  N - Number of processes\n"
		"  p - PID of its first process\n"
		"  P - Profiles\n"
		"  s - State\n"
		"  S - Number of snapshots\n"
		"  t - Type\n"
		"  u - Processor time used\n"
		"\n"
		"A column may also be [config:|devices:]KEY[:NAME][:WIDTH]: a configuration key, or\n"
		"DEVICE.KEY of the devices, the column's name, and how wide it may be (0: as its name).",
	    .examples = "incus list -c ns4,user.comment:comment\n"
			"    Names, states, IPv4 addresses and the key user.comment.\n"
			"incus list status=running -f csv -c n\n"
			"    The names of what runs, for a script.",
	    .run = list,
	    .complete = "remote" },
	{ 0 },
};
