/*
 * incus monitor: what happens on a server, as it happens.
 */
#include "cli/message.h"
#include "cli/output.h"
#include "cli/stream.h"
#include "incus/v1/event.pb-c.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const levels[] = { "trace", "debug", "info", "warning", "error", NULL };

static int level_index(const char *name)
{
	if (strcmp(name, "warn") == 0)
		name = "warning";
	for (int i = 0; levels[i]; i++)
		if (g_ascii_strcasecmp(levels[i], name) == 0)
			return i;
	return -1;
}

static const char *types_of(Cli *cli, bool pretty, Error **err)
{
	static const char *const known[] = { "lifecycle", "operation", "logging", "network-acl",
		NULL };
	unsigned n;
	const char *const *given = flag_list(cli, "type", &n);
	g_autoptr(GString) out = g_string_new(NULL);
	for (unsigned i = 0; i < n; i++) {
		g_auto(GStrv) words = g_strsplit(given[i], ",", -1);
		for (char **w = words; *w; w++) {
			if (!g_strv_contains(known, *w)) {
				error_set(err, ERROR_INVALID,
				    "Unknown event type \"%s\": use lifecycle, operation, logging or network-acl",
				    *w);
				return NULL;
			}
			g_string_append_printf(out, "%s%s", out->len ? "," : "", *w);
		}
	}
	return arena_strdup(cli->arena, out->str);
}

/* A level in the log's manner and the words that tell the event, pairs after them. */
static void add_pairs(GString *out, const json_t *pairs)
{
	const char *key;
	json_t *value;
	json_object_foreach ((json_t *)pairs, key, value) {
		if (json_is_string(value)) {
			bool plain = *json_string_value(value) &&
			    !strpbrk(json_string_value(value), " \"=\n");
			g_string_append_printf(
			    out, plain ? " %s=%s" : " %s=\"%s\"", key, json_string_value(value));
		} else {
			char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
			g_string_append_printf(out, " %s=%s", key, text);
			free(text);
		}
	}
}

static void print_pretty(const json_t *event)
{
	const char *type = json_get_text(event, "type");
	const json_t *metadata = json_object_get(event, "metadata");
	g_autoptr(GString) out = g_string_new(NULL);
	g_autofree char *level = g_ascii_strup(json_get_text(metadata, "level"), -1);
	const char *when = json_get_text(event, "timestamp");
	if (strcmp(type, "lifecycle") == 0) {
		g_string_append_printf(out, "INFO   [%s] Action: %s, Source: %s", when,
		    json_get_text(metadata, "action"), json_get_text(metadata, "source"));
		const json_t *requestor = json_object_get(metadata, "requestor");
		if (json_is_object(requestor))
			g_string_append_printf(out, ", Requestor: %s/%s (%s)",
			    json_get_text(requestor, "protocol"),
			    json_get_text(requestor, "username"),
			    json_get_text(requestor, "address"));
	} else if (strcmp(type, "operation") == 0) {
		g_string_append_printf(out, "INFO   [%s] ID: %s, Class: %s, Description: %s", when,
		    json_get_text(metadata, "id"), json_get_text(metadata, "class"),
		    json_get_text(metadata, "description"));
		add_pairs(out, json_object_get(metadata, "metadata"));
		g_string_append_printf(out, " status=%s", json_get_text(metadata, "status"));
		if (*json_get_text(metadata, "err"))
			g_string_append_printf(out, " err=\"%s\"", json_get_text(metadata, "err"));
	} else {
		g_string_append_printf(
		    out, "%-6s [%s] %s", level, when, json_get_text(metadata, "message"));
		add_pairs(out, json_object_get(metadata, "context"));
	}
	puts(out->str);
}

static void print_event(const json_t *event, bool pretty, bool json)
{
	if (pretty) {
		print_pretty(event);
	} else if (json) {
		json_dumpf(event, stdout, JSON_COMPACT);
		putchar('\n');
	} else {
		output_yaml(event);
		putchar('\n');
		putchar('\n');
	}
	fflush(stdout);
}

static bool is_wanted(const json_t *event, int level)
{
	if (strcmp(json_get_text(event, "type"), "logging") != 0 || level < 0)
		return true;
	return level_index(json_get_text(json_object_get(event, "metadata"), "level")) >= level;
}

static int monitor(Cli *cli, Error **err)
{
	Pb__GetEventsRequest in = PB__GET_EVENTS_REQUEST__INIT;
	const char *format = flag_string(cli, "format"), *wanted = flag_string(cli, "loglevel");
	bool pretty = flag_bool(cli, "pretty") || strcmp(format, "pretty") == 0;
	int level = *wanted ? level_index(wanted) : -1;
	if (*wanted && level < 0)
		return error_set(err, ERROR_INVALID, "Unknown log level \"%s\"", wanted);
	if (strcmp(format, "json") != 0 && strcmp(format, "yaml") != 0 &&
	    strcmp(format, "pretty") != 0)
		return error_set(
		    err, ERROR_INVALID, "Unknown format \"%s\": use json, pretty or yaml", format);
	if (flag_bool(cli, "all-projects") && cli_project(cli) && flag_given(cli, "project"))
		return error_set(err, ERROR_INVALID, "Can't specify --project with --all-projects");
	in.type = (char *)types_of(cli, pretty, err);
	Server *server = in.type ? server_of_argument(cli, 0, err) : NULL;
	if (!server)
		return -1;
	in.all_projects = flag_bool(cli, "all-projects");
	in.project = (char *)(server->project && !in.all_projects ? server->project : "");
	g_autoptr(Stream) stream = stream_open(server, "GetEvents", &in.base, err);
	ProtobufCMessage *message;
	while (stream && stream_receive(stream, &message, err) == 0) {
		if (!message)
			return 0;
		json_t *event = message_to_json(message, true);
		stream_message_free(message);
		if (is_wanted(event, level))
			print_event(event, pretty, strcmp(format, "json") == 0);
		json_decref(event);
	}
	return -1;
}

static const Flag monitor_flags[] = {
	FLAG_ALL_PROJECTS,
	{ "format", 'f', FLAG_STRING, "yaml", "Output format (json|pretty|yaml)" },
	{ "loglevel", 0, FLAG_STRING, NULL,
	    "Least level of log messages: debug, info, warning, error" },
	{ "pretty", 0, FLAG_BOOL, NULL, "Same as --format pretty" },
	{ "type", 0, FLAG_LIST, NULL,
	    "Type of event to show: lifecycle, operation, logging, network-acl" },
	FLAG_END,
};

const Command monitor_commands[] = {
	{ .path = "monitor", .usage = "[<remote>:]", .max_args = 1, .flags = monitor_flags,
	    .summary = "Show what happens on a server, as it happens",
	    .examples = "incus monitor --type=lifecycle\nincus monitor --pretty --loglevel=info",
	    .run = monitor, .hidden = true, .complete = "remote" },
	{ 0 },
};
