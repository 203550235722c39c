/*
 * incus query: one request of the REST API, for what has no command of its own.
 */
#include "cli/noun.h"
#include "cli/server.h"
#include <stdio.h>
#include <string.h>

/* The JSON text of a reply's body; NULL when it is none. */
static json_t *reply_body(Cli *cli, const json_t *reply, char **ret_text)
{
	gsize length = 0;
	*ret_text = (char *)g_base64_decode(json_get_text(reply, "body"), &length);
	json_t *body = json_loadb(*ret_text, length, JSON_DECODE_ANY, NULL);
	return body ? server_keep(cli, body) : NULL;
}

static json_t *request(
    Server *server, const char *verb, const char *url, const char *data, Error **err)
{
	json_t *in = json_pack("{s:s, s:s}", "verb", verb, "url", url);
	if (*data)
		json_object_set_new(in, "body", json_string(data));
	return server_call(server, "QueryRest", in, err);
}

static void print_json(const json_t *data)
{
	if (json_is_string(data)) {
		puts(json_string_value(data));
		return;
	}
	json_dumpf(data, stdout, JSON_INDENT(1) | JSON_ENCODE_ANY | JSON_SORT_KEYS);
	putchar('\n');
}

static int check_error(const json_t *body, Error **err)
{
	if (strcmp(json_get_text(body, "type"), "error") != 0)
		return 0;
	return error_set(err, ERROR_INTERNAL, "%s", json_get_text(body, "error"));
}

/* Waits on the operation of an async reply: its metadata at the end takes the reply's place. */
static int wait_for(Server *server, const char *operation, json_t **ret_body, Error **err)
{
	g_autofree char *text = NULL;
	g_autofree char *url = g_strdup_printf(
	    "%s%swait", operation, strstr(operation, "?") ? "&" : "/");
	const char *query = strchr(operation, '?');
	if (query) {
		g_free(url);
		url = g_strdup_printf("%.*s/wait%s", (int)(query - operation), operation, query);
	}
	json_t *reply = request(server, "GET", url, "", err);
	if (!reply)
		return -1;
	*ret_body = reply_body(server->cli, reply, &text);
	if (!*ret_body || check_error(*ret_body, err) < 0)
		return -1;
	const json_t *done = json_object_get(*ret_body, "metadata");
	if (*json_get_text(done, "err"))
		return error_set(err, ERROR_INTERNAL, "%s", json_get_text(done, "err"));
	return 0;
}

/* "remote:/1.0/..." or "/1.0/...", with the project added as Incus does. */
static int parse_path(Cli *cli, Target *ret, const char **ret_url, Error **err)
{
	if (cli->args[0][0] == '/') {
		ret->server = server_get(cli, NULL, err);
		ret->name = cli->args[0];
	} else if (target_parse(cli, cli->args[0], ret, err) < 0) {
		return -1;
	}
	if (!ret->server)
		return -1;
	if (ret->name[0] != '/')
		return error_set(err, ERROR_INVALID, "Query path must start with /");
	const char *url = ret->name, *project = ret->server->project;
	if (cli_project(cli) && strstr(url, "project="))
		return error_set(
		    err, ERROR_INVALID, "--project cannot be used with the project in the URL");
	if (project && *project && !strstr(url, "project=") && !strstr(url, "all-projects"))
		url = arena_printf(
		    cli->arena, "%s%sproject=%s", url, strchr(url, '?') ? "&" : "?", project);
	*ret_url = url;
	return 0;
}

/* What only did something says {}, and nothing is printed; what asked for an empty map gets it. */
static bool has_result(Cli *cli, const json_t *metadata)
{
	if (json_is_object(metadata) && json_object_size(metadata) == 0)
		return strcmp(flag_string(cli, "request"), "GET") == 0;
	return !json_is_null(metadata);
}

static int query(Cli *cli, Error **err)
{
	Target target;
	const char *url = NULL, *data = flag_string(cli, "data");
	g_autofree char *text = NULL;
	if (parse_path(cli, &target, &url, err) < 0)
		return -1;
	if (strcmp(data, "-") == 0 && read_stdin(cli, &data, NULL, err) < 0)
		return -1;
	json_t *reply = request(target.server, flag_string(cli, "request"), url, data, err);
	if (!reply)
		return -1;
	json_t *body = reply_body(cli, reply, &text);
	if (!json_is_object(body) || !json_object_get(body, "type")) { /* a file, a bare object */
		if (body)
			print_json(body);
		else
			fputs(text, stdout);
		return 0;
	}
	if (check_error(body, err) < 0)
		return -1;
	const char *operation = json_get_text(body, "operation");
	if (flag_bool(cli, "wait") && *operation &&
	    wait_for(target.server, operation, &body, err) < 0)
		return -1;
	if (flag_bool(cli, "raw"))
		print_json(body);
	else if (has_result(cli, json_object_get(body, "metadata")))
		print_json(json_object_get(body, "metadata"));
	return 0;
}

static const Flag query_flags[] = {
	{ "data", 'd', FLAG_STRING, NULL, "JSON to send; - is the standard input" },
	{ "raw", 0, FLAG_BOOL, NULL, "Print the whole reply" },
	{ "request", 'X', FLAG_STRING, "GET", "What to do: GET, PUT, PATCH, POST or DELETE" },
	{ "wait", 0, FLAG_BOOL, NULL, "Wait for the operation that the request starts" },
	FLAG_END,
};

const Command query_commands[] = {
	{ .path = "query", .usage = "[<remote>:]<API path>", .min_args = 1, .max_args = 1,
	    .flags = query_flags, .summary = "Send a request of the REST API",
	    .examples = "incus query -X DELETE --wait /1.0/instances/c1", .run = query,
	    .hidden = true },
	{ 0 },
};
