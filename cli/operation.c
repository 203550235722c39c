/*
 * incus operation: background work of servers.
 */
#include "cli/noun.h"
#include "cli/output.h"
#include <stdio.h>

static const Noun operation_noun = {
	.title = "Operation", .method = "Operation", .body = "operation"
};

/* Requests name an operation by "id". */
static int parse(Cli *cli, Object *ret, Error **err)
{
	if (object_parse_named(cli, &operation_noun, cli->args[0], ret, err) < 0)
		return -1;
	json_object_del(ret->key, "name");
	json_object_set_new(ret->key, "id", json_string(ret->name));
	return 0;
}

static int show(Cli *cli, Error **err)
{
	Object operation;
	return parse(cli, &operation, err) < 0 ? -1 : object_show(&operation, err);
}

static int delete(Cli *cli, Error **err)
{
	Object operation;
	return parse(cli, &operation, err) < 0 ? -1 : object_delete(&operation, err);
}

static int list(Cli *cli, Error **err)
{
	static const char *const headers[] = { "ID", "TYPE", "DESCRIPTION", "STATUS", "CANCELABLE",
		"CREATED", NULL };
	Server *server = server_of_argument(cli, 0, err);
	if (!server || output_check_format(cli, err) < 0)
		return -1;
	json_t *request = json_pack("{s:b}", "all-projects", flag_bool(cli, "all-projects"));
	json_t *operations = server_list(server, "GetOperations", request, err), *row;
	if (!operations)
		return -1;
	g_autoptr(Table) table = table_new(headers);
	size_t i;
	json_array_foreach (operations, i, row) {
		g_autofree char *class = g_ascii_strup(json_get_text(row, "class"), -1);
		g_autofree char *status = g_ascii_strup(json_get_text(row, "status"), -1);
		table_add(table, json_get_text(row, "id"), class, json_get_text(row, "description"),
		    status, json_is_true(json_object_get(row, "may_cancel")) ? "YES" : "NO",
		    output_time(cli, json_get_text(row, "created_at")), NULL);
	}
	table_sort(table);
	return output_list(cli, table, operations, err);
}

static const Flag list_flags[] = { FLAG_FORMAT, FLAG_ALL_PROJECTS, FLAG_END };

const Command operation_commands[] = {
	{ .path = "operation", .summary = "List, show and cancel background operations",
	    .hidden = true },
	{ .path = "operation delete", .aliases = "cancel,rm", .usage = "[<remote>:]<operation>",
	    .min_args = 1, .max_args = 1, .summary = "Cancel an operation", .run = delete },
	{ .path = "operation list", .aliases = "ls", .usage = "[<remote>:]", .max_args = 1,
	    .flags = list_flags, .summary = "List operations", .run = list, .complete = "remote" },
	{ .path = "operation show", .usage = "[<remote>:]<operation>", .min_args = 1, .max_args = 1,
	    .summary = "Show an operation", .run = show },
	{ 0 },
};
