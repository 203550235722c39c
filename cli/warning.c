/*
 * incus warning: what servers found wrong by themselves.
 */
#include "cli/noun.h"
#include "cli/output.h"
#include <stdio.h>
#include <string.h>

static const Noun warning_noun = { .title = "Warning", .method = "Warning", .body = "warning" };

typedef enum ColumnKind { PLAIN, UPPER, NUMBER, TIME } ColumnKind;

static const struct {
	char letter;
	const char *header, *field;
	ColumnKind kind;
} columns[] = {
	{ 'c', "COUNT", "count", NUMBER }, { 'f', "FIRST SEEN", "first_seen_at", TIME },
	{ 'l', "LAST SEEN", "last_seen_at", TIME }, { 'L', "LOCATION", "location", PLAIN },
	{ 'm', "MESSAGE", "last_message", PLAIN }, { 'p', "PROJECT", "project", PLAIN },
	{ 's', "SEVERITY", "severity", UPPER }, { 'S', "STATUS", "status", UPPER },
	{ 't', "TYPE", "type", PLAIN }, { 'u', "UUID", "uuid", PLAIN },
};

/* Requests name a warning by "uuid". */
static int parse(Cli *cli, Object *ret, Error **err)
{
	if (object_parse_named(cli, &warning_noun, cli->args[0], ret, err) < 0)
		return -1;
	json_object_del(ret->key, "name");
	json_object_set_new(ret->key, "uuid", json_string(ret->name));
	return 0;
}

static int show(Cli *cli, Error **err)
{
	Object warning;
	return parse(cli, &warning, err) < 0 ? -1 : object_show(&warning, err);
}

static int acknowledge(Cli *cli, Error **err)
{
	Object warning;
	if (parse(cli, &warning, err) < 0)
		return -1;
	return object_put(
	    &warning, server_keep(cli, json_pack("{s:s}", "status", "acknowledged")), err);
}

static int delete_all(Cli *cli, Error **err)
{
	Server *server = server_of_argument(cli, 0, err);
	json_t *warnings = server ? server_list(server, "GetWarnings", NULL, err) : NULL, *row;
	size_t i;
	if (!warnings)
		return -1;
	json_array_foreach(warnings, i, row) {
		json_t *request = json_pack("{s:s}", "uuid", json_get_text(row, "uuid"));
		if (!server_call(server, "DeleteWarning", request, err))
			return -1;
	}
	return 0;
}

static int delete(Cli *cli, Error **err)
{
	Object warning;
	if (flag_bool(cli, "all"))
		return delete_all(cli, err);
	if (cli->n_args == 0) { /* as every command that lacks its arguments */
		g_autofree char *text = help_text(cli->command, false, false);
		fputs(text, stdout);
		return 0;
	}
	return parse(cli, &warning, err) < 0 ? -1 : object_delete(&warning, err);
}

static int pick_columns(Cli *cli, GArray *picked, GPtrArray *headers, Error **err)
{
	const char *wanted = flag_string(cli, "columns");
	for (const char *p = wanted; *p; p++) {
		size_t i = 0;
		while (i < G_N_ELEMENTS(columns) && columns[i].letter != *p)
			i++;
		if (*p == ',')
			continue;
		if (i == G_N_ELEMENTS(columns))
			return error_set(err, ERROR_INVALID,
			    "Unknown column shorthand char '%c' in \"%s\"", *p, wanted);
		g_array_append_val(picked, i);
		g_ptr_array_add(headers, (char *)columns[i].header);
	}
	g_ptr_array_add(headers, NULL);
	return 0;
}

static char *cell(Cli *cli, const json_t *warning, size_t column)
{
	const char *text = json_get_text(warning, columns[column].field);
	switch (columns[column].kind) {
	case UPPER:
		return g_ascii_strup(text, -1);
	case NUMBER:
		return g_strdup_printf(
		    "%" G_GINT64_FORMAT, json_get_int(warning, columns[column].field));
	case TIME:
		return g_strdup(output_time(cli, text));
	default:
		return g_strdup(text);
	}
}

/* Those that nobody has seen to, unless all are asked for. */
static json_t *wanted_warnings(Cli *cli, json_t *all)
{
	json_t *kept = server_keep(cli, json_array()), *row;
	size_t i;
	json_array_foreach(all, i, row)
		if (flag_bool(cli, "all") || strcmp(json_get_text(row, "status"), "new") == 0)
			json_array_append(kept, row);
	return kept;
}

static int list(Cli *cli, Error **err)
{
	g_autoptr(GArray) picked = g_array_new(FALSE, FALSE, sizeof(size_t));
	g_autoptr(GPtrArray) headers = g_ptr_array_new();
	Server *server = server_of_argument(cli, 0, err);
	if (!server || output_check_format(cli, err) < 0 ||
	    pick_columns(cli, picked, headers, err) < 0)
		return -1;
	json_t *warnings = server_list(server, "GetWarnings", NULL, err), *row;
	if (!warnings)
		return -1;
	warnings = wanted_warnings(cli, warnings);
	g_autoptr(Table) table = table_new((const char *const *)headers->pdata);
	size_t i;
	json_array_foreach(warnings, i, row) {
		char **cells = g_new0(char *, picked->len + 1);
		for (guint c = 0; c < picked->len; c++)
			cells[c] = cell(cli, row, g_array_index(picked, size_t, c));
		table_add_cells(table, cells);
	}
	table_sort(table);
	return output_list(cli, table, warnings, err);
}

static const Flag list_flags[] = {
	FLAG_FORMAT,
	{ "columns", 'c', FLAG_STRING, "utSscpLl", "Columns" },
	{ "all", 'a', FLAG_BOOL, NULL, "Show acknowledged and resolved ones too" },
	FLAG_END,
};
static const Flag delete_flags[] = { { "all", 'a', FLAG_BOOL, NULL, "Delete every warning" },
	FLAG_END };

const Command warning_commands[] = {
	{ .path = "warning", .summary = "List, acknowledge and delete warnings", .hidden = true },
	{ .path = "warning acknowledge",
	    .aliases = "ack",
	    .usage = "[<remote>:]<warning-uuid>",
	    .min_args = 1,
	    .max_args = 1,
	    .summary = "Mark a warning as seen",
	    .run = acknowledge },
	{ .path = "warning delete",
	    .aliases = "rm",
	    .usage = "[<remote>:][<warning-uuid>]",
	    .max_args = 1,
	    .flags = delete_flags,
	    .summary = "Delete a warning, or all",
	    .run = delete },
	{ .path = "warning list",
	    .aliases = "ls",
	    .usage = "[<remote>:]",
	    .max_args = 1,
	    .flags = list_flags,
	    .summary = "List warnings that nobody has acknowledged",
	    .help =
		"Columns: c count, f first seen, l last seen, L location, m message, p project, s severity,\n"
		"S status, t type, u UUID.",
	    .run = list,
	    .complete = "remote" },
	{ .path = "warning show",
	    .usage = "[<remote>:]<warning-uuid>",
	    .min_args = 1,
	    .max_args = 1,
	    .summary = "Show a warning",
	    .run = show },
	{ 0 },
};
