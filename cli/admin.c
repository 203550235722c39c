/*
 * incus admin waitready, shutdown, sql.
 */
#include "cli/noun.h"
#include "cli/output.h"
#include "cli/server.h"
#include <incus/client.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Starts take some milliseconds; who waits longer is asked less often. */
#define POLL_US 1000
#define POLL_MAX_US 20000

static int waitready(Cli *cli, Error **err)
{
	long timeout = flag_int(cli, "timeout");
	gint64 end = g_get_monotonic_time() + timeout * G_USEC_PER_SEC;
	for (useconds_t wait = POLL_US;;) {
		g_autoptr(Error) problem = NULL;
		Server *server = server_get(cli, "local", &problem);
		if (server && server_call(server, "GetReady", NULL, &problem))
			return 0;
		if (problem->kind == ERROR_FORBIDDEN)
			return error_propagate(err, g_steal_pointer(&problem));
		if (timeout > 0 && g_get_monotonic_time() >= end)
			return error_set(err, ERROR_TIMEOUT,
			    "Incus still not running after %lds timeout (%s)", timeout,
			    problem->message);
		usleep(wait);
		wait = MIN(wait + wait / 16, POLL_MAX_US);
	}
}

/* The daemon answers when it is about to end, or goes before it could. */
static int shutdown_run(Cli *cli, Error **err)
{
	long timeout = flag_int(cli, "timeout");
	g_autoptr(Error) problem = NULL;
	Server *server = server_get(cli, "local", err);
	if (!server)
		return -1;
	if (timeout > 0)
		incus_client_set_timeout(server->client, (int)MIN(timeout, G_MAXINT / 1000) * 1000);
	json_t *request = json_pack("{s:b}", "force", flag_bool(cli, "force"));
	if (server_call(server, "Shutdown", request, &problem) ||
	    problem->kind == ERROR_UNAVAILABLE)
		return 0;
	if (problem->kind == ERROR_TIMEOUT)
		return error_set(
		    err, ERROR_TIMEOUT, "Incus still running after %lds timeout", timeout);
	return error_propagate(err, g_steal_pointer(&problem));
}

/* ---- sql ---- */

static char *cell_text(const json_t *value)
{
	if (json_is_string(value))
		return g_strdup(json_string_value(value));
	if (json_is_null(value))
		return g_strdup("<nil>");
	char *text = json_dumps(value, JSON_ENCODE_ANY), *copy = g_strdup(text);
	free(text);
	return copy;
}

static void print_select(Cli *cli, const json_t *result)
{
	const json_t *columns = json_object_get(result, "columns");
	size_t n = json_array_size(columns), i, k;
	const char **headers = arena_alloc(cli->arena, (n + 1) * sizeof(char *));
	json_t *row, *value;
	json_array_foreach (columns, i, value)
		headers[i] = json_string_value(value);
	g_autoptr(Table) table = table_new(headers);
	json_array_foreach (json_object_get(result, "rows"), i, row) {
		char **cells = g_new0(char *, n + 1);
		json_array_foreach (row, k, value)
			if (k < n)
				cells[k] = cell_text(value);
		table_add_cells(table, cells);
	}
	g_autofree char *text = table_text(table, "box", true);
	fputs(text, stdout);
}

static void print_results(Cli *cli, const json_t *results)
{
	size_t i;
	json_t *result;
	bool several = json_array_size(results) > 1;
	json_array_foreach (results, i, result) {
		if (several)
			printf("=> Query %zu:\n\n", i);
		if (strcmp(json_get_text(result, "type"), "select") == 0)
			print_select(cli, result);
		else
			printf("Rows affected: %" G_GINT64_FORMAT "\n",
			    json_get_int(result, "rows_affected"));
		if (several)
			putchar('\n');
	}
}

static int dump(Server *server, const char *database, bool schema, Error **err)
{
	json_t *reply = server_call(server, "DumpSql",
	    json_pack("{s:s, s:i}", "database", database, "schema", schema ? 1 : 0), err);
	if (!reply)
		return -1;
	const char *text = json_get_text(reply, "text");
	fputs(text, stdout);
	if (*text && text[strlen(text) - 1] != '\n')
		putchar('\n');
	return 0;
}

static int sql(Cli *cli, Error **err)
{
	const char *database = cli->args[0], *query = cli->args[1];
	if (strcmp(database, "local") != 0 && strcmp(database, "global") != 0)
		return error_set(
		    err, ERROR_INVALID, "Invalid database \"%s\": use local or global", database);
	if (strcmp(query, "-") == 0 && read_stdin(cli, &query, NULL, err) < 0)
		return -1;
	if (!*query)
		return error_set(err, ERROR_INVALID, "No query was given");
	Server *server = server_get(cli, "local", err);
	if (!server)
		return -1;
	if (strcmp(query, ".dump") == 0 || strcmp(query, ".schema") == 0)
		return dump(server, database, query[1] == 's', err);
	json_t *reply = server_call(server, "QuerySql",
	    json_pack("{s:{s:s, s:s}}", "query", "database", database, "query", query), err);
	if (!reply)
		return -1;
	print_results(cli, json_object_get(reply, "Results"));
	return 0;
}

static const Flag timeout_flags[] = {
	{ "timeout", 't', FLAG_INT, "0", "Seconds to wait; 0 waits for ever" },
	FLAG_END,
};
static const Flag shutdown_flags[] = {
	{ "force", 'f', FLAG_BOOL, NULL, "Do not wait for operations that still run" },
	{ "timeout", 't', FLAG_INT, "0", "Seconds to wait; 0 waits for ever" },
	FLAG_END,
};

const Command admin_commands[] = {
	{ .path = "admin", .summary = "Set up and look after the daemon" },
	{ .path = "admin shutdown",
	    .max_args = 0,
	    .flags = shutdown_flags,
	    .summary = "Stop all instances, then the daemon",
	    .run = shutdown_run },
	{ .path = "admin sql",
	    .usage = "<local|global> <query>",
	    .min_args = 2,
	    .max_args = 2,
	    .summary = "Run SQL on a database of the daemon",
	    .help =
		"The query \"-\" is read from the standard input. \".dump\" prints the database as SQL,\n"
		"\".schema\" its tables without their rows; \".sync\" writes the global database to the\n"
		"file database/global/db.bin.\n"
		"\n"
		"Changes made so are not checked: a wrong one can break the daemon.",
	    .examples = "incus admin sql global \"SELECT name FROM instances\"",
	    .run = sql,
	    .hidden = true },
	{ .path = "admin waitready",
	    .max_args = 0,
	    .flags = timeout_flags,
	    .summary = "Wait until the daemon takes requests",
	    .run = waitready },
	{ 0 },
};
