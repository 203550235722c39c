#include "sdk/migration.h"
#include <incus/call.h>
#include <incus/operation.h>
#include "sdk/base/arena.h"
#include "sdk/base/map.h"
#include "sdk/client.h"
#include "incus/v1/server.pb-c.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* migration.proto says what it means. */
#define STREAM_PREFIX "stream-"

static int tell(const Pb__Operation *operation, void *data)
{
	Copy *copy = data;
	if (!copy->progress)
		return 0;
	g_mutex_lock(&copy->lock);
	int stop = copy->progress(operation, copy->progress_data);
	copy->stopped |= stop != 0;
	g_mutex_unlock(&copy->lock);
	return stop;
}

static void give_up(incus_client *client, const Pb__Operation *operation)
{
	if (operation)
		incus_operation_cancel(client, operation, NULL);
}

Pb__MigrationTarget *migration_target(Copy *copy, const CopyMeeting *meeting)
{
	if (!meeting)
		return NULL;
	Pb__MigrationTarget *target = arena_message(
	    copy->arena, Pb__MigrationTarget, pb__migration_target);
	target->operation = (char *)meeting->operation;
	target->certificate = (char *)meeting->certificate;
	config_to_map(meeting->secrets, copy->arena,
	    &pb__migration_target__secrets_entry__descriptor, &target->n_secrets, &target->secrets);
	return target;
}

/* ---- waiting for both ---- */

typedef struct Waiter {
	Copy *copy;
	incus_client *client, *other_client;
	const Pb__Operation *operation, *other;
	incus_error **first; /* failure of both; under the copy's lock */
	int result;
} Waiter;

/* The side that fails first knows why; the other is not left waiting for it. */
static gpointer wait_run(gpointer data)
{
	Waiter *w = data;
	incus_error *error = NULL;
	w->result = incus_operation_wait(w->client, w->operation, tell, w->copy, NULL, &error);
	if (w->result == 0)
		return NULL;
	g_mutex_lock(&w->copy->lock);
	if (*w->first)
		incus_error_free(error);
	else
		*w->first = error;
	g_mutex_unlock(&w->copy->lock);
	give_up(w->other_client, w->other);
	return NULL;
}

/* The target says whether it has all: a source that did not hear that has lost nothing. Of a live
 * move the source knows, too: it has given up only what runs over there. */
static int wait_both(
    Copy *copy, const Pb__Operation *sending, const Pb__Operation *receiving, incus_error **err)
{
	incus_error *first = NULL;
	Waiter source = { copy, copy->from, copy->to, sending, receiving, &first, 0 };
	Waiter target = { copy, copy->to, copy->from, receiving, sending, &first, 0 };
	GThread *thread = g_thread_new("incus-copy", wait_run, &source);
	wait_run(&target);
	g_thread_join(thread);
	int result = copy->either && source.result == 0 ? 0 : target.result;
	/* Either side may only have seen the other go. */
	if (result < 0 && copy->stopped) {
		incus_error_free(first);
		return sdk_error(err, ERROR_CANCELLED, "The operation was cancelled");
	}
	if (result < 0 && err)
		*err = first;
	else
		incus_error_free(first);
	return result;
}

/* ---- where a server is reached ---- */

static int ask_place(Arena *arena, incus_client *client, CopyPlace *ret, incus_error **err)
{
	void *reply;
	if (incus_call_unary(client, incus_method("GetServer"), NULL, &reply, err) < 0)
		return -1;
	const Pb__Server *server = reply;
	const Pb__ServerEnvironment *environment = server->environment;
	size_t n = environment ? environment->n_addresses : 0;
	ret->certificate = arena_strdup(arena, environment ? environment->certificate : "");
	ret->urls = arena_alloc(arena, (n + 1) * sizeof(char *));
	for (size_t i = 0; i < n; i++)
		ret->urls[i] = arena_printf(arena, "https://%s", environment->addresses[i]);
	incus_message_free(reply);
	return n ?
	    0 :
	    sdk_error(err, ERROR_UNAVAILABLE, "The server at \"%s\" isn't listening on the network",
		incus_client_url(client));
}

int copy_find_place(Arena *arena, incus_client *client, CopyPlace *ret, incus_error **err)
{
	if (g_str_has_prefix(incus_client_url(client), "unix:"))
		return ask_place(arena, client, ret, err);
	const char *pem = client->by_authorities ? NULL : client->server_certificate;
	ret->certificate = pem ? pem : "";
	ret->urls = arena_alloc(arena, 2 * sizeof(char *));
	ret->urls[0] = (char *)incus_client_url(client);
	return 0;
}

/* The secrets of an operation that waits: the texts of its metadata. */
static int take_secrets(const Pb__Operation *operation, Config *secrets, incus_error **err)
{
	json_t *tree = json_loads(operation->metadata, 0, NULL), *value;
	const char *key;
	json_object_foreach (tree, key, value)
		if (json_is_string(value))
			config_set(secrets, key, json_string_value(value));
	json_decref(tree);
	return g_hash_table_size(secrets) ?
	    0 :
	    sdk_error(err, ERROR_UNSUPPORTED,
		"The server did not answer with the secrets of a migration");
}

static char *operation_url(Copy *copy, const char *server, const Pb__Operation *operation)
{
	return arena_printf(copy->arena, "%s/1.0/operations/%s", server, operation->id);
}

/* ---- modes ---- */

static int pull_from(Copy *copy, const CopyPlace *place, const char *url,
    const Pb__Operation *sending, incus_error **err)
{
	g_autoptr(Config) secrets = config_new();
	CopyMeeting meeting = { "pull", operation_url(copy, url, sending), place->certificate,
		secrets };
	Pb__Operation *receiving = NULL;
	if (take_secrets(sending, secrets, err) < 0 ||
	    copy->receive(copy, &meeting, &receiving, err) < 0)
		return -1;
	int result = wait_both(copy, sending, receiving, err);
	incus_message_free(receiving);
	return result;
}

/* A server behind a unix socket has several addresses: the next is tried with an operation of its
 * own. */
static int pull(Copy *copy, incus_error **err)
{
	CopyPlace place;
	incus_error *problem = NULL;
	int result = -1;
	if (copy_find_place(copy->arena, copy->from, &place, err) < 0)
		return -1;
	for (char **url = place.urls; *url && result < 0; url++) {
		Pb__Operation *sending = NULL;
		incus_error_free(problem);
		problem = NULL;
		if (copy->send(copy, NULL, &sending, &problem) < 0)
			break;
		result = pull_from(copy, &place, *url, sending, &problem);
		if (result < 0)
			give_up(copy->from, sending);
		incus_message_free(sending);
		if (result < 0 && !incus_error_is(problem, "UNAVAILABLE") &&
		    !incus_error_is(problem, "INTERNAL"))
			break;
	}
	if (result < 0 && err)
		*err = problem;
	else
		incus_error_free(problem);
	return result;
}

static int push_to(Copy *copy, const CopyPlace *place, const char *url,
    const Pb__Operation *receiving, incus_error **err)
{
	g_autoptr(Config) secrets = config_new();
	CopyMeeting meeting = { "push", operation_url(copy, url, receiving), place->certificate,
		secrets };
	Pb__Operation *sending = NULL;
	if (take_secrets(receiving, secrets, err) < 0 ||
	    copy->send(copy, &meeting, &sending, err) < 0)
		return -1;
	int result = wait_both(copy, sending, receiving, err);
	incus_message_free(sending);
	return result;
}

static int push(Copy *copy, incus_error **err)
{
	CopyPlace place;
	CopyMeeting waiting = { .mode = "push" };
	Pb__Operation *receiving = NULL;
	if (copy_find_place(copy->arena, copy->to, &place, err) < 0 ||
	    copy->receive(copy, &waiting, &receiving, err) < 0)
		return -1;
	int result = push_to(copy, &place, place.urls[0], receiving, err);
	if (result < 0)
		give_up(copy->to, receiving);
	incus_message_free(receiving);
	return result;
}

/* ---- relay ---- */

typedef struct Way {
	incus_stream *from, *to;
} Way;

/* Frames of one side become those of the other, until it ends. */
static gpointer carry(gpointer data)
{
	Way *way = data;
	void *message = NULL;
	while (incus_stream_recv(way->from, -1, &message, NULL) == 1) {
		const Pb__Frame *frame = message;
		Pb__ConnectOperationRequest out = PB__CONNECT_OPERATION_REQUEST__INIT;
		out.data = frame->data;
		out.text = frame->text;
		int sent = incus_stream_send(way->to, &out, NULL);
		incus_message_free(message);
		if (sent < 0)
			break;
	}
	incus_stream_close_send(way->to, NULL);
	return NULL;
}

static int attach(
    incus_client *client, const Pb__Operation *operation, incus_stream **ret, incus_error **err)
{
	Pb__ConnectOperationRequest first = PB__CONNECT_OPERATION_REQUEST__INIT;
	g_autoptr(Config) secrets = config_new();
	if (take_secrets(operation, secrets, err) < 0)
		return -1;
	const char *secret = config_get(secrets, "control");
	if (!secret || !g_str_has_prefix(secret, STREAM_PREFIX))
		return sdk_error(err, ERROR_UNSUPPORTED,
		    "The server at \"%s\" offers other migration streams than this version relays",
		    incus_client_url(client));
	first.id = operation->id;
	first.secret = (char *)secret + strlen(STREAM_PREFIX);
	return incus_stream_open(client, incus_method("ConnectOperation"), &first, ret, err);
}

static int relay_between(
    Copy *copy, const Pb__Operation *sending, const Pb__Operation *receiving, incus_error **err)
{
	incus_stream *source = NULL, *target = NULL;
	int result = -1;
	if (attach(copy->from, sending, &source, err) == 0 &&
	    attach(copy->to, receiving, &target, err) == 0) {
		Way out = { source, target }, back = { target, source };
		GThread *one = g_thread_new("incus-relay", carry, &out),
			*other = g_thread_new("incus-relay", carry, &back);
		result = wait_both(copy, sending, receiving, err);
		incus_stream_cancel(source);
		incus_stream_cancel(target);
		g_thread_join(one);
		g_thread_join(other);
	}
	incus_stream_free(source);
	incus_stream_free(target);
	return result;
}

static int relay(Copy *copy, incus_error **err)
{
	CopyMeeting waiting = { .mode = "push" };
	Pb__Operation *sending = NULL, *receiving = NULL;
	int result = -1;
	if (copy->receive(copy, &waiting, &receiving, err) == 0 &&
	    copy->send(copy, NULL, &sending, err) == 0)
		result = relay_between(copy, sending, receiving, err);
	if (result < 0) {
		give_up(copy->from, sending);
		give_up(copy->to, receiving);
	}
	incus_message_free(sending);
	incus_message_free(receiving);
	return result;
}

int copy_run(Copy *copy, incus_error **err)
{
	static int (*const modes[])(Copy *, incus_error **) = { pull, push, relay };
	if ((unsigned)copy->mode >= G_N_ELEMENTS(modes))
		return sdk_error(err, ERROR_INVALID, "Unknown mode");
	g_mutex_init(&copy->lock);
	int result = modes[copy->mode](copy, err);
	g_mutex_clear(&copy->lock);
	return result;
}
