#include "cli/server.h"
#include "cli/interrupt.h"
#include "cli/message.h"
#include "cli/progress.h"
#include "cli/stream.h"
#include "cli/sdk_error.h"
#include "sdk/base/schema.h"
#include "incus/v1/operation.pb-c.h"
#include <glib.h>
#include <incus/call.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int error_from_sdk(Error **err, incus_error *error)
{
	error_set(err, error_kind_from_name(error->name), "%s", error->message);
	incus_error_free(error);
	return -1;
}

json_t *server_keep(Cli *cli, json_t *tree)
{
	arena_defer(cli->arena, (GDestroyNotify)json_decref, tree);
	return tree;
}

const char *json_get_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text ? text : "";
}

int64_t json_get_int(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

const struct SchemaMethod *server_method(const char *name)
{
	return incus_method(name);
}

/* ---- connections ---- */

static char *read_optional(const char *path)
{
	char *text = NULL;
	return g_file_get_contents(path, &text, NULL, NULL) ? text : NULL;
}

static int connect_unix(const Remote *remote, incus_client **ret, Error **err)
{
	incus_error *problem = NULL;
	const char *path = remote->addr + strlen("unix:");
	g_autofree char *own = NULL;
	while (path[0] == '/' && path[1] == '/')
		path++;
	if (strcmp(path, "/") == 0 || !*path)
		path = own = conf_socket_path();
	if (incus_connect_unix(path, ret, &problem) == 0)
		return 0;
	bool forbidden = incus_error_is(problem, "FORBIDDEN");
	incus_error_free(problem);
	if (forbidden)
		return error_set(err, ERROR_FORBIDDEN,
		    "You don't have the needed permissions to talk to the incus daemon (socket path: %s)",
		    path);
	return error_set(err, ERROR_UNAVAILABLE,
	    "The incus daemon doesn't appear to be started (socket path: %s)", path);
}

static int connect_tls(const Conf *conf, const Remote *remote, incus_client **ret, Error **err)
{
	incus_error *problem = NULL;
	g_autofree char *cert_path = conf_path(conf, "client.crt"),
			*key_path = conf_path(conf, "client.key");
	g_autofree char *server_path = conf_server_cert_path(conf, remote->name);
	g_autofree char *cert = read_optional(cert_path), *key = read_optional(key_path);
	g_autofree char *server = read_optional(server_path);
	/* To a public server everybody is a stranger. */
	bool known = cert && key && !remote->public;
	incus_tls tls = { .client_certificate = known ? cert : NULL,
		.client_key = known ? key : NULL,
		.server_certificate = server };
	if (incus_connect_tls(remote->addr, &tls, ret, &problem) == 0)
		return 0;
	return error_from_sdk(err, problem);
}

static const char *project_of(Cli *cli, const Remote *remote)
{
	const char *project = cli_project(cli);
	return project ? project : *remote->project ? remote->project : NULL;
}

static Server *connect_remote(Cli *cli, const Remote *remote, Error **err)
{
	Server server = { .cli = cli, .remote = remote, .project = project_of(cli, remote) };
	int result;
	if (strcmp(remote->protocol, "simplestreams") == 0) {
		error_set(err, ERROR_UNSUPPORTED, "Remote \"%s\" only has images (simplestreams)",
		    remote->name);
		return NULL;
	}
	if (g_str_has_prefix(remote->addr, "unix:"))
		result = connect_unix(remote, &server.client, err);
	else
		result = connect_tls(cli->conf, remote, &server.client, err);
	if (result < 0)
		return NULL;
	if (cli->verbose || cli->debug)
		fprintf(stderr, "INFO Connected to %s (%s)\n", remote->name,
		    incus_client_url(server.client));
	if (server.project)
		incus_client_set_project(server.client, server.project);
	if (cli->command && flag_find(cli->command, "target", strlen("target")) &&
	    flag_given(cli, "target"))
		incus_client_set_target(server.client, flag_string(cli, "target"));
	return arena_memdup(cli->arena, &server, sizeof(server));
}

Server *server_get(Cli *cli, const char *name, Error **err)
{
	Conf *conf = conf_get(cli, err);
	if (!conf)
		return NULL;
	if (cli->force_local)
		name = "local";
	else if (!name || !*name)
		name = conf_default_remote(conf);
	Server *server = cli->clients ? g_hash_table_lookup(cli->clients, name) : NULL;
	if (server)
		return server;
	const Remote *remote = conf_remote(conf, name);
	if (!remote) {
		error_set(err, ERROR_NOT_FOUND, "The remote \"%s\" doesn't exist", name);
		return NULL;
	}
	server = connect_remote(cli, remote, err);
	if (!server)
		return NULL;
	if (!cli->clients)
		cli->clients = g_hash_table_new(g_str_hash, g_str_equal);
	g_hash_table_insert(cli->clients, remote->name, server);
	return server;
}

void server_close_all(Cli *cli)
{
	GHashTableIter iter;
	gpointer server;
	if (!cli->clients)
		return;
	g_hash_table_iter_init(&iter, cli->clients);
	while (g_hash_table_iter_next(&iter, NULL, &server))
		incus_client_free(((Server *)server)->client);
	g_hash_table_unref(cli->clients);
}

void target_split(Cli *cli, const char *argument, const char **ret_remote, const char **ret_name)
{
	const char *colon = strchr(argument, ':');
	*ret_remote = colon ? arena_strndup(cli->arena, argument, colon - argument) : "";
	*ret_name = colon ? colon + 1 : argument;
}

int target_parse(Cli *cli, const char *argument, Target *ret, Error **err)
{
	target_split(cli, argument, &ret->remote, &ret->name);
	ret->server = server_get(cli, ret->remote, err);
	return ret->server ? 0 : -1;
}

Server *server_of_argument(Cli *cli, int n, Error **err)
{
	Target target;
	if (n >= cli->n_args)
		return server_get(cli, NULL, err);
	if (target_parse(cli, cli->args[n], &target, err) < 0)
		return NULL;
	if (*target.name) {
		error_set(err, ERROR_INVALID, "\"%s\" is not a remote: write \"%s:\"", cli->args[n],
		    cli->args[n]);
		return NULL;
	}
	return target.server;
}

/* ---- calls ---- */

static const SchemaMethod *need_method(const char *name, Error **err)
{
	const SchemaMethod *method = incus_method(name);
	if (!method)
		error_set(err, ERROR_UNSUPPORTED, "This version has no \"%s\"", name);
	return method;
}

/* --debug: what was called and how long it took. Arguments may be secret and are not shown. */
static void trace(const Server *server, const char *name, gint64 start, const incus_error *problem)
{
	if (!server->cli->debug)
		return;
	fprintf(stderr, "DEBUG %s %s: %s (%.1f ms)\n", server->remote->name, name,
	    problem ? problem->name : "OK", (g_get_monotonic_time() - start) / 1000.0);
}

json_t *server_call(Server *server, const char *name, json_t *request, Error **err)
{
	Arena *arena = server->cli->arena;
	const SchemaMethod *method = need_method(name, err);
	json_t *in = server_keep(server->cli, request ? request : json_object());
	incus_error *problem = NULL;
	void *reply = NULL;
	if (!method)
		return NULL;
	ProtobufCMessage *message = message_from_json(method->input, in, arena, err);
	if (!message)
		return NULL;
	gint64 start = g_get_monotonic_time();
	char *etag = NULL;
	int result = incus_call_unary_etag(
	    server->client, method, message, &reply, &etag, &problem);
	server->etag = arena_strdup(arena, etag);
	free(etag);
	trace(server, name, start, problem);
	if (result < 0) {
		error_from_sdk(err, problem);
		return NULL;
	}
	json_t *out = server_keep(server->cli, message_to_json(reply, true));
	incus_message_free(reply);
	return out;
}

json_t *server_list(Server *server, const char *name, json_t *request, Error **err)
{
	if (!request)
		request = json_object();
	const SchemaMethod *method = need_method(name, err);
	if (method && !json_object_get(request, "recursion") &&
	    message_has_field(method->input, "recursion"))
		json_object_set_new(request, "recursion", json_integer(1));
	json_t *reply = server_call(server, name, request, err);
	if (!reply)
		return NULL;
	json_t *items = json_object_get(reply, "items");
	return items ? items : reply;
}

/* ---- operations ---- */

static int check_done(const Pb__Operation *operation, Error **err)
{
	if (operation->status_code == 200)
		return 0;
	if (operation->status_code == 401)
		return error_set(err, ERROR_CANCELLED, "%s",
		    operation->err && *operation->err ? operation->err :
							"The operation was cancelled");
	return error_set(err, ERROR_INTERNAL, "%s",
	    operation->err && *operation->err ? operation->err : "The operation failed");
}

static void cancel_operation(Server *server, const char *id)
{
	server_call(server, "DeleteOperation", json_pack("{s:s}", "id", id), NULL);
}

/* Follows an operation until it is done; the first ctrl+c cancels it, the second leaves it. */
static Pb__Operation *follow(
    Server *server, incus_stream *stream, const char *id, Progress *progress, Error **err)
{
	int seen = 0;
	for (;;) {
		incus_error *problem = NULL;
		void *message = NULL;
		int result = incus_stream_recv(stream, 200, &message, &problem);
		if (interrupt_count() > seen) {
			seen = interrupt_count();
			if (seen > 1) {
				incus_message_free(message);
				error_set(err, ERROR_CANCELLED, "Left the operation running");
				return NULL;
			}
			cancel_operation(server, id);
		}
		if (result < 0 && incus_error_is(problem, "TIMEOUT")) {
			incus_error_free(problem);
			continue;
		}
		if (result < 0) {
			error_from_sdk(err, problem);
			return NULL;
		}
		if (result == 0) {
			error_set(
			    err, ERROR_INTERNAL, "The server stopped telling about the operation");
			return NULL;
		}
		Pb__Operation *operation = message;
		if (operation->status_code >= 200)
			return operation;
		progress_operation(progress, operation);
		incus_message_free(message);
	}
}

json_t *server_wait(Server *server, const json_t *operation, const char *label, Error **err)
{
	const char *id = json_get_text(operation, "id");
	Pb__WatchOperationRequest in = PB__WATCH_OPERATION_REQUEST__INIT;
	incus_stream *stream = NULL;
	incus_error *problem = NULL;
	in.id = (char *)id;
	if (json_get_int(operation, "status_code") >= 400) {
		error_set(err, ERROR_INTERNAL, "%s", json_get_text(operation, "err"));
		return NULL;
	}
	if (json_get_int(operation, "status_code") == 200)
		return (json_t *)operation;
	if (incus_stream_open(
		server->client, incus_method("WatchOperation"), &in, &stream, &problem) < 0) {
		error_from_sdk(err, problem);
		return NULL;
	}
	interrupt_begin();
	Progress progress;
	progress_start(&progress, server->cli->quiet ? NULL : label);
	Pb__Operation *done = follow(server, stream, id, &progress, err);
	progress_end(&progress);
	interrupt_end();
	incus_stream_free(stream);
	json_t *out = NULL;
	if (done && check_done(done, err) == 0)
		out = server_keep(server->cli, message_to_json(&done->base, true));
	incus_message_free(done);
	return out;
}

json_t *server_do(Server *server, const char *name, json_t *request, const char *label, Error **err)
{
	json_t *reply = server_call(server, name, request, err);
	const SchemaMethod *method = incus_method(name);
	if (!reply || method->output != &pb__operation__descriptor || !*json_get_text(reply, "id"))
		return reply;
	return server_wait(server, reply, label, err);
}
