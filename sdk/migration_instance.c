/* Copies and moves of instances between two servers. */
#include "sdk/migration.h"
#include <incus/call.h>
#include <incus/operation.h>
#include "sdk/client.h"
#include "incus/v1/snapshot.pb-c.h"
#include <string.h>

enum { STATUS_RUNNING = 103, STATUS_FROZEN = 110, STATUS_READY = 113 };

static gboolean is_running(int32_t status)
{
	return status == STATUS_RUNNING || status == STATUS_FROZEN || status == STATUS_READY;
}

/* Copy.data */
typedef struct Subject {
	char *name;	      /* of the source */
	const char *snapshot; /* within `name`'s buffer; NULL: the instance */
	const incus_copy *options;
	Pb__InstancesPost *post; /* in the arena */
	gboolean live, move;
} Subject;

/* ---- the two calls ---- */

static int send_call(
    Copy *copy, const CopyMeeting *meeting, Pb__Operation **ret, incus_error **err)
{
	const Subject *subject = copy->data;
	Pb__MigrationTarget *target = migration_target(copy, meeting);
	void *reply;
	if (subject->snapshot) {
		Pb__RenameInstanceSnapshotRequest in = PB__RENAME_INSTANCE_SNAPSHOT_REQUEST__INIT;
		Pb__InstanceSnapshotPost post = PB__INSTANCE_SNAPSHOT_POST__INIT;
		in.instance = subject->name;
		in.name = (char *)subject->snapshot;
		in.snapshot = &post;
		post.migration = TRUE;
		post.target = target;
		if (incus_call_unary(
			copy->from, incus_method("RenameInstanceSnapshot"), &in, &reply, err) < 0)
			return -1;
	} else {
		Pb__RenameInstanceRequest in = PB__RENAME_INSTANCE_REQUEST__INIT;
		Pb__InstancePost post = PB__INSTANCE_POST__INIT;
		in.name = subject->name;
		in.instance = &post;
		post.migration = TRUE;
		post.instance_only = subject->options->instance_only;
		post.allow_inconsistent = subject->options->allow_inconsistent;
		post.live = subject->live;
		post.stays = subject->live && !subject->move;
		post.target = target;
		if (incus_call_unary(copy->from, incus_method("RenameInstance"), &in, &reply, err) <
		    0)
			return -1;
	}
	*ret = reply;
	return 0;
}

static int receive_call(
    Copy *copy, const CopyMeeting *meeting, Pb__Operation **ret, incus_error **err)
{
	Subject *subject = copy->data;
	Pb__InstanceSource source = PB__INSTANCE_SOURCE__INIT;
	char *mask[] = { (char *)"profiles" };
	void *reply;
	Pb__CreateInstanceRequest in = PB__CREATE_INSTANCE_REQUEST__INIT;
	in.project = (char *)(subject->options->project ? subject->options->project : "");
	in.instance = subject->post;
	in.update_mask = mask;
	in.n_update_mask = 1; /* none means none */
	source.type = (char *)"migration";
	source.mode = (char *)meeting->mode;
	if (meeting->operation) {
		source.operation = (char *)meeting->operation;
		source.certificate = (char *)meeting->certificate;
		config_to_map(meeting->secrets, copy->arena,
		    &pb__instance_source__secrets_entry__descriptor, &source.n_secrets,
		    &source.secrets);
	}
	source.instance_only = subject->options->instance_only || subject->snapshot;
	source.live = subject->live;
	source.refresh = subject->options->refresh;
	source.allow_inconsistent = subject->options->allow_inconsistent;
	subject->post->source = &source;
	if (incus_call_unary(copy->to, incus_method("CreateInstance"), &in, &reply, err) < 0)
		return -1;
	*ret = reply;
	return 0;
}

/* ---- what the copy will be ---- */

static gboolean is_kept(const char *key, gboolean move)
{
	return move || !g_str_has_prefix(key, "volatile.") ||
	    strcmp(key, "volatile.base_image") == 0;
}

/* As the source is. */
static int describe(Copy *copy, Subject *subject, const Pb__Instance *source, gboolean move)
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
	subject->post = post;
	return 0;
}

/* As the key says; unset a container that is moved goes with its state, and nothing else does. */
static gboolean goes_on(const Pb__Instance *source, gboolean move)
{
	g_autoptr(Config) config = config_from_map(
	    source->n_expanded_config, source->expanded_config);
	if (config_get(config, "migration.stateful"))
		return config_true(config, "migration.stateful");
	return move && strcmp(source->type, "container") == 0;
}

/* One that runs goes with its state where it may, and where that is not unwanted. */
static int choose_state(Subject *subject, const Pb__Instance *source, incus_error **err)
{
	gboolean running = is_running(source->status_code),
		 frozen = source->status_code == STATUS_FROZEN;
	subject->live = running && !frozen && !subject->snapshot && !subject->options->stateless &&
	    !subject->options->refresh && goes_on(source, subject->move);
	if (!subject->move || subject->live || !running)
		return 0;
	return sdk_error(err, ERROR_INVALID,
	    frozen ? "Instance must be stopped to be moved (or resumed, if \"migration.stateful\" is set)" :
		     "Instance must be stopped to be moved: stop it, use --stateless, or set \"migration.stateful=true\", with which it moves while it runs");
}

static int prepare(Copy *copy, gboolean move, incus_error **err)
{
	Subject *subject = copy->data;
	void *reply;
	Pb__GetInstanceRequest in = PB__GET_INSTANCE_REQUEST__INIT;
	in.name = subject->name;
	if (incus_call_unary(copy->from, incus_method("GetInstance"), &in, &reply, err) < 0)
		return -1;
	const Pb__Instance *source = reply;
	int result = choose_state(subject, source, err);
	if (result == 0 && subject->options->instance)
		subject->post = arena_message_copy(copy->arena, subject->options->instance);
	else if (result == 0)
		result = describe(copy, subject, source, move);
	incus_message_free(reply);
	return result;
}

static int copy_instance(incus_client *from, const char *name, incus_client *to,
    const incus_copy *options, gboolean move, incus_error **err)
{
	static const incus_copy plain = { 0 };
	g_autofree char *own = g_strdup(name);
	char *slash = strchr(own, '/');
	Subject subject = { .name = own,
		.snapshot = slash ? slash + 1 : NULL,
		.move = move,
		.options = options ? options : &plain };
	Copy copy = { .from = from,
		.to = to,
		.mode = subject.options->mode,
		.progress = subject.options->progress,
		.progress_data = subject.options->data,
		.send = send_call,
		.receive = receive_call,
		.data = &subject,
		.arena = arena_new() };
	if (slash)
		*slash = '\0';
	int result = move && slash ? sdk_error(err, ERROR_INVALID, "A snapshot cannot be moved") :
				     prepare(&copy, move, err);
	copy.either = subject.live && move;
	if (result == 0)
		result = copy_run(&copy, err);
	arena_free(copy.arena);
	return result;
}

int incus_copy_instance(incus_client *from, const char *name, incus_client *to,
    const incus_copy *options, incus_error **err)
{
	return copy_instance(from, name, to, options, FALSE, err);
}

static int change_state(
    incus_client *from, const char *name, const char *action, incus_error **err)
{
	Pb__UpdateInstanceStateRequest in = PB__UPDATE_INSTANCE_STATE_REQUEST__INIT;
	Pb__InstanceStatePut state = PB__INSTANCE_STATE_PUT__INIT;
	void *reply;
	state.action = (char *)action;
	state.force = TRUE;
	state.timeout = -1;
	in.name = (char *)name;
	in.state = &state;
	if (incus_call_unary(from, incus_method("UpdateInstanceState"), &in, &reply, err) < 0)
		return -1;
	int result = incus_operation_wait(from, reply, NULL, NULL, NULL, err);
	incus_message_free(reply);
	return result;
}

/* For a move that gives up the running state. */
static int stop_running(
    incus_client *from, const char *name, gboolean *ret_stopped, incus_error **err)
{
	Pb__GetInstanceRequest in = PB__GET_INSTANCE_REQUEST__INIT;
	void *reply;
	in.name = (char *)name;
	if (incus_call_unary(from, incus_method("GetInstance"), &in, &reply, err) < 0)
		return -1;
	const Pb__Instance *source = reply;
	gboolean running = is_running(source->status_code);
	gboolean ephemeral = source->ephemeral;
	incus_message_free(reply);
	if (running && ephemeral)
		return sdk_error(err, ERROR_INVALID,
		    "A running ephemeral instance would be gone once it stops: it cannot be moved");
	if (running && change_state(from, name, "stop", err) < 0)
		return -1;
	*ret_stopped = running;
	return 0;
}

int incus_migrate_instance(incus_client *from, const char *name, incus_client *to,
    const incus_copy *options, incus_error **err)
{
	void *reply;
	gboolean stopped = FALSE;
	Pb__DeleteInstanceRequest in = PB__DELETE_INSTANCE_REQUEST__INIT;
	in.name = (char *)name;
	if (options && options->stateless && stop_running(from, name, &stopped, err) < 0)
		return -1;
	if (copy_instance(from, name, to, options, TRUE, err) < 0) {
		if (stopped)
			change_state(from, name, "start", NULL);
		return -1;
	}
	if (incus_call_unary(from, incus_method("DeleteInstance"), &in, &reply, err) < 0)
		return -1;
	int result = incus_operation_wait(from, reply, NULL, NULL, NULL, err);
	incus_message_free(reply);
	return result;
}
