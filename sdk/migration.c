/* Copies and moves of instances between two servers. */
#include <incus/migration.h>
#include <incus/call.h>
#include <incus/operation.h>
#include "sdk/base/arena.h"
#include "sdk/base/map.h"
#include "sdk/client.h"
#include "incus/v1/server.pb-c.h"
#include "incus/v1/snapshot.pb-c.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { STATUS_RUNNING = 103, STATUS_FROZEN = 110 };

/* A copy while it is made. */
typedef struct Copy {
	incus_client *from, *to;
	char *name;	      /* of the source */
	const char *snapshot; /* within `name`'s buffer; NULL: the instance */
	const incus_copy *options;
	Pb__InstancesPost *post; /* in the arena */
	Arena *arena;
	GMutex lock; /* of the caller's progress function */
} Copy;

static void tell(const Pb__Operation *operation, void *data)
{
	Copy *copy = data;
	if (!copy->options->progress)
		return;
	g_mutex_lock(&copy->lock);
	copy->options->progress(operation, copy->options->data);
	g_mutex_unlock(&copy->lock);
}

/* ---- the two calls ---- */

static int send_call(
    Copy *copy, Pb__MigrationTarget *target, Pb__Operation **ret, incus_error **err)
{
	void *reply;
	if (copy->snapshot) {
		Pb__RenameInstanceSnapshotRequest in = PB__RENAME_INSTANCE_SNAPSHOT_REQUEST__INIT;
		Pb__InstanceSnapshotPost post = PB__INSTANCE_SNAPSHOT_POST__INIT;
		in.instance = copy->name;
		in.name = (char *)copy->snapshot;
		in.snapshot = &post;
		post.migration = TRUE;
		post.target = target;
		if (incus_call_unary(
			copy->from, incus_method("RenameInstanceSnapshot"), &in, &reply, err) < 0)
			return -1;
	} else {
		Pb__RenameInstanceRequest in = PB__RENAME_INSTANCE_REQUEST__INIT;
		Pb__InstancePost post = PB__INSTANCE_POST__INIT;
		in.name = copy->name;
		in.instance = &post;
		post.migration = TRUE;
		post.instance_only = copy->options->instance_only;
		post.allow_inconsistent = copy->options->allow_inconsistent;
		post.target = target;
		if (incus_call_unary(copy->from, incus_method("RenameInstance"), &in, &reply, err) <
		    0)
			return -1;
	}
	*ret = reply;
	return 0;
}

static int receive_call(
    Copy *copy, Pb__InstanceSource *source, Pb__Operation **ret, incus_error **err)
{
	char *mask[] = { (char *)"profiles" };
	void *reply;
	Pb__CreateInstanceRequest in = PB__CREATE_INSTANCE_REQUEST__INIT;
	in.project = (char *)(copy->options->project ? copy->options->project : "");
	in.instance = copy->post;
	in.update_mask = mask;
	in.n_update_mask = 1; /* none means none */
	source->type = (char *)"migration";
	source->instance_only = copy->options->instance_only || copy->snapshot;
	source->refresh = copy->options->refresh;
	source->allow_inconsistent = copy->options->allow_inconsistent;
	copy->post->source = source;
	if (incus_call_unary(copy->to, incus_method("CreateInstance"), &in, &reply, err) < 0)
		return -1;
	*ret = reply;
	return 0;
}

static void give_up(incus_client *client, const Pb__Operation *operation)
{
	if (operation)
		incus_operation_cancel(client, operation, NULL);
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

/* The target says whether it has all: a source that did not hear that has lost nothing. */
static int wait_both(
    Copy *copy, const Pb__Operation *sending, const Pb__Operation *receiving, incus_error **err)
{
	incus_error *first = NULL;
	Waiter source = { copy, copy->from, copy->to, sending, receiving, &first, 0 };
	Waiter target = { copy, copy->to, copy->from, receiving, sending, &first, 0 };
	GThread *thread = g_thread_new("incus-copy", wait_run, &source);
	wait_run(&target);
	g_thread_join(thread);
	if (target.result < 0 && err)
		*err = first;
	else
		incus_error_free(first);
	return target.result;
}

/* ---- where a server is reached ---- */

typedef struct Place {
	const char *certificate;
	char **urls; /* tried in order */
} Place;

static int ask_place(Copy *copy, incus_client *client, Place *ret, incus_error **err)
{
	void *reply;
	if (incus_call_unary(client, incus_method("GetServer"), NULL, &reply, err) < 0)
		return -1;
	const Pb__Server *server = reply;
	const Pb__ServerEnvironment *environment = server->environment;
	size_t n = environment ? environment->n_addresses : 0;
	ret->certificate = arena_strdup(copy->arena, environment ? environment->certificate : "");
	ret->urls = arena_alloc(copy->arena, (n + 1) * sizeof(char *));
	for (size_t i = 0; i < n; i++)
		ret->urls[i] = arena_printf(copy->arena, "https://%s", environment->addresses[i]);
	incus_message_free(reply);
	return n ?
	    0 :
	    sdk_error(err, ERROR_UNAVAILABLE, "The server at \"%s\" isn't listening on the network",
		incus_client_url(client));
}

static int find_place(Copy *copy, incus_client *client, Place *ret, incus_error **err)
{
	if (g_str_has_prefix(incus_client_url(client), "unix:"))
		return ask_place(copy, client, ret, err);
	const char *pem = incus_client_server_certificate(client);
	ret->certificate = pem ? pem : "";
	ret->urls = arena_alloc(copy->arena, 2 * sizeof(char *));
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

static int pull_from(Copy *copy, const Place *place, const char *url, const Pb__Operation *sending,
    incus_error **err)
{
	g_autoptr(Config) secrets = config_new();
	Pb__InstanceSource source = PB__INSTANCE_SOURCE__INIT;
	Pb__Operation *receiving = NULL;
	if (take_secrets(sending, secrets, err) < 0)
		return -1;
	source.mode = (char *)"pull";
	source.operation = operation_url(copy, url, sending);
	source.certificate = (char *)place->certificate;
	config_to_map(secrets, copy->arena, &pb__instance_source__secrets_entry__descriptor,
	    &source.n_secrets, &source.secrets);
	if (receive_call(copy, &source, &receiving, err) < 0)
		return -1;
	int result = wait_both(copy, sending, receiving, err);
	incus_message_free(receiving);
	return result;
}

/* A server behind a unix socket has several addresses: the next is tried with an operation of its
 * own. */
static int pull(Copy *copy, incus_error **err)
{
	Place place;
	incus_error *problem = NULL;
	int result = -1;
	if (find_place(copy, copy->from, &place, err) < 0)
		return -1;
	for (char **url = place.urls; *url && result < 0; url++) {
		Pb__Operation *sending = NULL;
		incus_error_free(problem);
		problem = NULL;
		if (send_call(copy, NULL, &sending, &problem) < 0)
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

static int push_to(Copy *copy, const Place *place, const char *url, const Pb__Operation *receiving,
    incus_error **err)
{
	g_autoptr(Config) secrets = config_new();
	Pb__MigrationTarget target = PB__MIGRATION_TARGET__INIT;
	Pb__Operation *sending = NULL;
	if (take_secrets(receiving, secrets, err) < 0)
		return -1;
	target.operation = operation_url(copy, url, receiving);
	target.certificate = (char *)place->certificate;
	config_to_map(secrets, copy->arena, &pb__migration_target__secrets_entry__descriptor,
	    &target.n_secrets, &target.secrets);
	if (send_call(copy, &target, &sending, err) < 0)
		return -1;
	int result = wait_both(copy, sending, receiving, err);
	incus_message_free(sending);
	return result;
}

static int push(Copy *copy, incus_error **err)
{
	Place place;
	Pb__InstanceSource source = PB__INSTANCE_SOURCE__INIT;
	Pb__Operation *receiving = NULL;
	source.mode = (char *)"push";
	if (find_place(copy, copy->to, &place, err) < 0 ||
	    receive_call(copy, &source, &receiving, err) < 0)
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
	if (!config_get(secrets, "control") || config_get(secrets, "fs"))
		return sdk_error(err, ERROR_UNSUPPORTED,
		    "The server at \"%s\" offers other migration streams than this version relays",
		    incus_client_url(client));
	first.id = operation->id;
	first.secret = (char *)config_get(secrets, "control");
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
	Pb__InstanceSource source = PB__INSTANCE_SOURCE__INIT;
	Pb__Operation *sending = NULL, *receiving = NULL;
	int result = -1;
	source.mode = (char *)"push";
	if (receive_call(copy, &source, &receiving, err) == 0 &&
	    send_call(copy, NULL, &sending, err) == 0)
		result = relay_between(copy, sending, receiving, err);
	if (result < 0) {
		give_up(copy->from, sending);
		give_up(copy->to, receiving);
	}
	incus_message_free(sending);
	incus_message_free(receiving);
	return result;
}

/* ---- what the copy will be ---- */

static gboolean is_kept(const char *key, gboolean move)
{
	return move || !g_str_has_prefix(key, "volatile.") ||
	    strcmp(key, "volatile.base_image") == 0;
}

/* As the source is. */
static int describe(Copy *copy, const Pb__Instance *source, gboolean move)
{
	Pb__InstancesPost *post = arena_message(copy->arena, Pb__InstancesPost, pb__instances_post);
	g_autoptr(Config) config = config_from_map(source->n_config, source->config);
	g_autoptr(GHashTable) devices = devices_from_map(source->n_devices, source->devices);
	GHashTableIter iter;
	void *key;
	g_hash_table_iter_init(&iter, config);
	while (g_hash_table_iter_next(&iter, &key, NULL))
		if (!is_kept(key, move))
			g_hash_table_iter_remove(&iter);
	post->name = arena_strdup(copy->arena, source->name);
	post->type = arena_strdup(copy->arena, source->type);
	post->architecture = arena_strdup(copy->arena, source->architecture);
	post->description = arena_strdup(copy->arena, source->description);
	post->ephemeral = source->ephemeral;
	post->profiles = arena_strv(copy->arena, source->n_profiles, source->profiles);
	post->n_profiles = source->n_profiles;
	config_to_map(config, copy->arena, &pb__instances_post__config_entry__descriptor,
	    &post->n_config, &post->config);
	devices_to_map(devices, copy->arena, &pb__instances_post__devices_entry__descriptor,
	    &post->n_devices, &post->devices);
	copy->post = post;
	return 0;
}

static int prepare(Copy *copy, gboolean move, incus_error **err)
{
	void *reply;
	Pb__GetInstanceRequest in = PB__GET_INSTANCE_REQUEST__INIT;
	in.name = copy->name;
	if (incus_call_unary(copy->from, incus_method("GetInstance"), &in, &reply, err) < 0)
		return -1;
	const Pb__Instance *source = reply;
	int result = 0;
	if (move && (source->status_code == STATUS_RUNNING || source->status_code == STATUS_FROZEN))
		result = sdk_error(err, ERROR_INVALID, "Instance must be stopped to be moved");
	else if (copy->options->instance)
		copy->post = arena_message_copy(copy->arena, copy->options->instance);
	else
		result = describe(copy, source, move);
	incus_message_free(reply);
	return result;
}

static int copy_run(incus_client *from, const char *name, incus_client *to,
    const incus_copy *options, gboolean move, incus_error **err)
{
	static int (*const modes[])(Copy *, incus_error **) = { pull, push, relay };
	static const incus_copy plain = { 0 };
	g_autofree char *own = g_strdup(name);
	char *slash = strchr(own, '/');
	Copy copy = { .from = from,
		.to = to,
		.name = own,
		.snapshot = slash ? slash + 1 : NULL,
		.options = options ? options : &plain,
		.arena = arena_new() };
	if (slash)
		*slash = '\0';
	g_mutex_init(&copy.lock);
	int result = (unsigned)copy.options->mode >= G_N_ELEMENTS(modes) ?
	    sdk_error(err, ERROR_INVALID, "Unknown mode") :
	    move && slash ? sdk_error(err, ERROR_INVALID, "A snapshot cannot be moved") :
			    prepare(&copy, move, err);
	if (result == 0)
		result = modes[copy.options->mode](&copy, err);
	g_mutex_clear(&copy.lock);
	arena_free(copy.arena);
	return result;
}

int incus_copy_instance(incus_client *from, const char *name, incus_client *to,
    const incus_copy *options, incus_error **err)
{
	return copy_run(from, name, to, options, FALSE, err);
}

int incus_migrate_instance(incus_client *from, const char *name, incus_client *to,
    const incus_copy *options, incus_error **err)
{
	void *reply;
	Pb__DeleteInstanceRequest in = PB__DELETE_INSTANCE_REQUEST__INIT;
	in.name = (char *)name;
	if (copy_run(from, name, to, options, TRUE, err) < 0 ||
	    incus_call_unary(from, incus_method("DeleteInstance"), &in, &reply, err) < 0)
		return -1;
	int result = incus_operation_wait(from, reply, NULL, NULL, NULL, err);
	incus_message_free(reply);
	return result;
}
