/* Handlers of InstanceService: instances, their state, and lists of them. */
#include "incus/v1/handlers.h"
#include "sdk/base/filter.h"
#include "sdk/base/names.h"
#include "server/api/migration.h"
#include "server/daemon.h"
#include "server/api/instance_backup.h"
#include "server/instance/copy.h"
#include "server/instance/live.h"
#include "server/instance/snapshot.h"
#include "server/instance/state.h"
#include "server/operation/operation.h"
#include "server/project/project.h"
#include "server/rpc/etag.h"
#include "server/rpc/access.h"
#include <string.h>



/* ---- reading ---- */

/* Snapshots by instance, read once for a whole list; NULL where they are not shown. */
typedef struct Below {
	GHashTable *snapshots, *counts;
	ProfileSet *profiles;
} Below;

static void below_clear(Below *below)
{
	g_clear_pointer(&below->snapshots, g_hash_table_unref);
	g_clear_pointer(&below->counts, g_hash_table_unref);
	g_clear_pointer(&below->profiles, profile_set_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Below, below_clear)

static int load_below(
    Request *rq, const Pb__GetInstancesRequest *in, const Filter *filter, Below *below, Error **err)
{
	gboolean some = in->n_fields > 0 && !filter;
	gboolean objects = some ? mask_has(in->fields, in->n_fields, "snapshots") :
	    in->recursion >= 2 || (filter && filter_uses(filter, "snapshots"));
	if (objects && (profile_set_load(rq->daemon, &below->profiles, err) < 0 ||
	                   instance_snapshot_list_all(rq->daemon, &below->snapshots, err) < 0))
		return -1;
	gboolean counts = some && mask_has(in->fields, in->n_fields, "snapshot_count");
	return counts ? instance_snapshot_count_all(rq->daemon, &below->counts, err) : 0;
}

static void add_snapshots(Request *rq, Instance *instance, const ProfileSet *profiles,
    const GPtrArray *snapshots, Pb__Instance *out)
{
	out->snapshots = arena_alloc(rq->arena, (snapshots->len + 1) * sizeof(*out->snapshots));
	for (guint n = 0; n < snapshots->len; n++) {
		Pb__InstanceSnapshot *item = arena_message(
		    rq->arena, Pb__InstanceSnapshot, pb__instance_snapshot);
		instance_snapshot_render(instance, profiles, snapshots->pdata[n], rq->arena, item);
		out->snapshots[out->n_snapshots++] = item;
	}
}

static void add_below(Request *rq, Instance *instance, const Below *below, Pb__Instance *out)
{
	int64_t id = instance_id(instance);
	GPtrArray *snapshots = below->snapshots ? g_hash_table_lookup(below->snapshots, &id) : NULL;
	if (snapshots)
		add_snapshots(rq, instance, below->profiles, snapshots, out);
	if (below->counts)
		out->snapshot_count = GPOINTER_TO_UINT(g_hash_table_lookup(below->counts, &id));
}

/* New references (Instance *): those that the caller may see, of the type that is asked for. */
static GPtrArray *list_visible(Request *rq, const Pb__GetInstancesRequest *in)
{
	GPtrArray *list = instance_list(rq->daemon, in->all_projects ? NULL : rq->project);
	for (guint i = list->len; i-- > 0;) {
		Instance *instance = list->pdata[i];
		if (!caller_has_project(rq->caller, instance_project(instance)) ||
		    (*in->instance_type &&
			!g_str_equal(
			    in->instance_type, instance_type_name(instance_type(instance)))))
			g_ptr_array_remove_index(list, i);
	}
	return list;
}

static void add_items(Request *rq, const Pb__GetInstancesRequest *in, const Filter *filter,
    const Below *below, Pb__GetInstancesResponse *out)
{
	g_autoptr(GPtrArray) list = list_visible(rq, in);
	g_autoptr(Insides) insides = NULL;
	/* A filter may look at any field. */
	RenderParts parts = filter ? RENDER_ALL : render_parts(in->fields, in->n_fields);
	if (in->recursion < 2 && !(filter && filter_uses(filter, "state")))
		parts &= ~(unsigned)RENDER_STATE;
	if (parts & RENDER_STATE)
		insides = insides_ask(list, INSIDE_ROW);
	out->items = arena_alloc(rq->arena, (list->len + 1) * sizeof(*out->items));
	for (guint i = 0; i < list->len; i++) {
		Pb__Instance *item = arena_message(rq->arena, Pb__Instance, pb__instance);
		instance_render_row(list->pdata[i], parts, insides, rq->arena, item);
		add_below(rq, list->pdata[i], below, item);
		if (!filter || filter_match(filter, item))
			out->items[out->n_items++] = item;
	}
}

int api_get_instances(Request *rq, const Pb__GetInstancesRequest *in, Pb__GetInstancesResponse *out,
    Error **err)
{
	g_autoptr(Filter) filter = NULL;
	if (in->all_projects && *in->project)
		return error_set(
		    err, ERROR_INVALID, "Cannot specify a project when requesting all projects");
	if (*in->filter && filter_parse(in->filter, &filter, err) < 0)
		return error_prefix(err, "Invalid filter");
	if (*in->instance_type && !g_str_equal(in->instance_type, "container") &&
	    !g_str_equal(in->instance_type, "virtual-machine"))
		return error_set(
		    err, ERROR_INVALID, "Invalid instance type \"%s\"", in->instance_type);
	g_auto(Below) below = { 0 };
	if (load_below(rq, in, filter, &below, err) < 0)
		return -1;
	add_items(rq, in, filter, &below, out);
	return 0;
}

int api_get_instance(Request *rq, const Pb__GetInstanceRequest *in, Pb__Instance *out, Error **err)
{
	g_autoptr(Instance) instance = NULL;
	if (instance_get(rq->daemon, rq->project, in->name, &instance, err) < 0)
		return -1;
	if (in->recursion < 1) {
		instance_render(instance, RENDER_ALL, rq->arena, out);
		return 0;
	}
	g_autoptr(ProfileSet) profiles = NULL;
	g_autoptr(GPtrArray) snapshots = NULL;
	if (profile_set_load(rq->daemon, &profiles, err) < 0 ||
	    instance_snapshot_list(instance, &snapshots, err) < 0)
		return -1;
	instance_render_full(instance, rq->arena, out);
	add_snapshots(rq, instance, profiles, snapshots, out);
	return instance_backups_render(rq, instance, &out->n_backups, &out->backups, err);
}

int api_get_instance_state(Request *rq, const Pb__GetInstanceStateRequest *in,
    Pb__InstanceState *out, Error **err)
{
	g_autoptr(Instance) instance = NULL;
	if (instance_get(rq->daemon, rq->project, in->name, &instance, err) < 0)
		return -1;
	instance_state_whole(instance, rq->arena, out);
	return 0;
}

/* ---- work in the background ---- */

typedef struct Work {
	Instance *instance;
	GPtrArray *instances; /* bulk */
	char *name, *pool, *project, *description, *architecture, *action, *if_match;
	const char *etag_fields;
	Config *config;
	Devices *devices;
	char **profiles;
	gboolean ephemeral, force, stateful, instance_only, ignore_move;
	int ephemeral_change, timeout_s;
} Work;

static void work_free(gpointer data)
{
	Work *work = data;
	g_clear_pointer(&work->instance, instance_unref);
	g_clear_pointer(&work->instances, g_ptr_array_unref);
	g_free(work->name);
	g_free(work->pool);
	g_free(work->project);
	g_free(work->description);
	g_free(work->architecture);
	g_free(work->action);
	g_free(work->if_match);
	g_clear_pointer(&work->config, g_hash_table_unref);
	g_clear_pointer(&work->devices, g_hash_table_unref);
	g_strfreev(work->profiles);
	g_free(work);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Work, work_free)

/* Starts an operation on one named instance; takes `work`. */
static int start_operation(Request *rq, const char *description, const char *name,
    int (*run)(Operation *op, void *data, Error **err), Work *work, Pb__Operation *out, Error **err)
{
	g_autofree char *url = name ? g_strdup_printf("/1.0/instances/%s", name) : NULL;
	const char *resources[] = {"instances", url, "containers", url, NULL};
	OperationSpec spec = {.op_class = OPERATION_TASK, .description = description, .run = run,
	    .data = work, .destroy = work_free, .resources = name ? resources : NULL};
	return operation_create(rq->daemon, rq, &spec, NULL, out, err);
}

static Work *work_on(Request *rq, const char *name, Error **err)
{
	g_autoptr(Work) work = g_new0(Work, 1);
	if (instance_get(rq->daemon, rq->project, name, &work->instance, err) < 0)
		return NULL;
	work->ephemeral_change = -1;
	return g_steal_pointer(&work);
}

/* ---- change ---- */

/* Nobody has changed it since the client saw it (an InstanceChange's check). */
static int check_match(Instance *instance, void *data, Error **err)
{
	const Work *work = data;
	g_autoptr(Arena) arena = arena_new();
	Pb__Instance *now = arena_message(arena, Pb__Instance, pb__instance);
	instance_render(instance, RENDER_ALL, arena, now);
	return etag_check(work->etag_fields, &now->base, work->if_match, err);
}

static void expect_match(Work *work, const Request *rq, const char *if_match)
{
	work->etag_fields = rq->method->schema->etag;
	g_free(work->if_match);
	work->if_match = g_strdup(if_match);
}

static int run_update(Operation *op, void *data, Error **err)
{
	Work *work = data;
	InstanceChange change = {.config = work->config, .devices = work->devices,
	    .profiles = work->profiles, .description = work->description,
	    .architecture = work->architecture, .ephemeral = work->ephemeral_change,
	    .check = work->if_match ? check_match : NULL, .data = work};
	return instance_update(work->instance, &change, operation_caller(op), err);
}

/* Said at once where it can be; the change looks again when its turn has come. */
static int check_etag(Request *rq, Work *work, Error **err)
{
	if (!rq->if_match || !*rq->if_match)
		return 0;
	expect_match(work, rq, rq->if_match);
	return check_match(work->instance, work, err);
}

static int run_restore(Operation *op, void *data, Error **err)
{
	Work *work = data;
	return instance_snapshot_restore(
	    work->instance, work->name, work->stateful, operation_caller(op), err);
}

/* Takes `work`. "NAME" or "INSTANCE/NAME". */
static int restore_snapshot(
    Request *rq, const Pb__UpdateInstanceRequest *in, Work *work, Pb__Operation *out, Error **err)
{
	g_autoptr(Work) owned = work;
	g_autoptr(InstanceSnapshot) snapshot = NULL;
	const char *slash = strrchr(in->instance->restore, '/');
	work->name = g_strdup(slash ? slash + 1 : in->instance->restore);
	work->stateful = in->instance->stateful;
	if (instance_snapshot_find(work->instance, work->name, &snapshot, err) < 0)
		return -1;
	return start_operation(
	    rq, "Restoring snapshot", in->name, run_restore, g_steal_pointer(&owned), out, err);
}

/* Who may set the daemon's own keys. */
static int check_volatile(Request *rq, Instance *instance, const Config *wanted, Error **err)
{
	g_autoptr(Config) now = instance_config(instance);
	return project_allow_volatile(rq->daemon, instance_project(instance), wanted, now, err);
}

int api_update_instance(
    Request *rq, const Pb__UpdateInstanceRequest *in, Pb__Operation *out, Error **err)
{
	const Pb__InstancePut *put = in->instance;
	g_autoptr(Work) work = work_on(rq, in->name, err);
	if (!work)
		return -1;
	if (!put)
		return error_set(err, ERROR_INVALID, "No content was given");
	if (*put->restore)
		return restore_snapshot(rq, in, g_steal_pointer(&work), out, err);
	if (check_etag(rq, work, err) < 0)
		return -1;
	work->config = config_from_map(put->n_config, put->config);
	if (check_volatile(rq, work->instance, work->config, err) < 0)
		return -1;
	work->devices = devices_from_map(put->n_devices, put->devices);
	work->profiles = request_strv(put->profiles, put->n_profiles);
	work->description = g_strdup(put->description);
	work->architecture = g_strdup(put->architecture);
	work->ephemeral_change = put->ephemeral;
	return start_operation(
	    rq, "Updating instance", in->name, run_update, g_steal_pointer(&work), out, err);
}

/* Lays the given keys over what is there; "" removes one. */
static void merge_config(Config *into, const Pb__InstancePut *put)
{
	for (size_t i = 0; i < put->n_config; i++)
		config_set(into, put->config[i]->key, put->config[i]->value);
}

/* Over the instance as it is now, which it must still be when the change's turn comes. */
static int patch(Request *rq, const Pb__PatchInstanceRequest *in, Work *work, Error **err)
{
	const Pb__InstancePut *put = in->instance;
	char etag[ETAG_LENGTH];
	Pb__Instance *now = arena_message(rq->arena, Pb__Instance, pb__instance);
	instance_render(work->instance, RENDER_ALL, rq->arena, now);
	etag_hash(rq->method->schema->etag, &now->base, etag);
	if (!rq->if_match || !*rq->if_match)
		expect_match(work, rq, etag);
	g_autoptr(Config) config = config_from_map(now->n_config, now->config);
	g_autoptr(GHashTable) devices = devices_from_map(now->n_devices, now->devices);
	g_autoptr(GHashTable) given = devices_from_map(put->n_devices, put->devices);
	GHashTableIter iter;
	gpointer name, device;
	merge_config(config, put);
	if (check_volatile(rq, work->instance, config, err) < 0)
		return -1;
	g_hash_table_iter_init(&iter, given);
	while (g_hash_table_iter_next(&iter, &name, &device))
		devices_set(devices, name, device);
	g_auto(GStrv) profiles = put->n_profiles ||
		mask_has(in->update_mask, in->n_update_mask, "profiles") ?
	    request_strv(put->profiles, put->n_profiles) :
	    NULL;
	InstanceChange change = { .config = config,
		.devices = devices,
		.profiles = profiles,
		.description = mask_has(in->update_mask, in->n_update_mask, "description") ||
			*put->description ?
		    put->description :
		    NULL,
		.architecture = put->architecture,
		.ephemeral = mask_has(in->update_mask, in->n_update_mask, "ephemeral") ?
		    put->ephemeral :
		    -1,
		.check = check_match,
		.data = work };
	return instance_update(work->instance, &change, rq->caller, err);
}

/* Two patches of different keys both hold: who comes second begins anew, unless it named the state
 * that it means. */
int api_patch_instance(
    Request *rq, const Pb__PatchInstanceRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	enum { TRIES = 16 };
	g_autoptr(Work) work = work_on(rq, in->name, err);
	if (!work || !in->instance)
		return work ? error_set(err, ERROR_INVALID, "No content was given") : -1;
	if (check_etag(rq, work, err) < 0)
		return -1;
	for (int n = 1;; n++) {
		g_autoptr(Error) error = NULL;
		if (patch(rq, in, work, &error) == 0)
			return 0;
		if (error->kind != ERROR_PRECONDITION || n == TRIES ||
		    (rq->if_match && *rq->if_match))
			return error_propagate(err, g_steal_pointer(&error));
	}
}

static int run_rename(Operation *op, void *data, Error **err)
{
	Work *work = data;
	InstanceMove move = { .name = work->name,
		.pool = work->pool,
		.project = work->project,
		.instance_only = work->instance_only };
	if (!work->pool && !work->project)
		return instance_rename(work->instance, work->name, operation_caller(op), err);
	return instance_move(work->instance, &move, op, operation_caller(op), err);
}

/* "" and what is so already: NULL. */
static char *other(const char *wanted, const char *now)
{
	return *wanted && !g_str_equal(wanted, now) ? g_strdup(wanted) : NULL;
}

static int plan_move(Request *rq, const Pb__InstancePost *post, Work *work, Error **err)
{
	g_autoptr(Pool) pool = NULL;
	if (instance_pool(work->instance, &pool, err) < 0)
		return -1;
	work->pool = other(post->pool, pool_name(pool));
	work->project = other(post->project, instance_project(work->instance));
	if (!*post->name && !work->pool && !work->project)
		return error_set(err, ERROR_INVALID, "No new name was given");
	if (work->project &&
	    access_check_object(rq, "project", "can_create_instances", work->project, err) < 0)
		return -1;
	work->name = g_strdup(*post->name ? post->name : instance_name(work->instance));
	work->instance_only = post->instance_only;
	return 0;
}

int api_rename_instance(
    Request *rq, const Pb__RenameInstanceRequest *in, Pb__Operation *out, Error **err)
{
	const Pb__InstancePost *post = in->instance;
	g_autoptr(Work) work = work_on(rq, in->name, err);
	if (!work)
		return -1;
	if (!post || *in->target)
		return error_set(err, ERROR_UNSUPPORTED,
		    "Moving an instance to another member is not available in this version");
	/* With a pool or project it is a move on this server that an Incus client asks for. */
	if (post->migration && !*post->pool && !*post->project) {
		MigrationStart migration = { .instance = work->instance,
			.target = post->target,
			.live = post->live,
			.stays = post->stays,
			.instance_only = post->instance_only,
			.allow_inconsistent = post->allow_inconsistent };
		return instance_migration_start(rq, &migration, out, err);
	}
	if (plan_move(rq, post, work, err) < 0)
		return -1;
	if (instance_running(work->instance))
		return error_set(err, ERROR_INVALID,
		    work->pool || work->project ? "Instance must be stopped to be moved" :
						  "Renaming of running instance not allowed");
	g_autoptr(Instance) taken = NULL;
	g_autoptr(Error) missing = NULL;
	const char *project = work->project ? work->project : rq->project;
	gboolean same = !work->project && g_str_equal(work->name, in->name);
	if (!same && instance_get(rq->daemon, project, work->name, &taken, &missing) == 0)
		return error_set(err, ERROR_EXISTS, "Name \"%s\" already in use", work->name);
	const char *what = work->pool || work->project ? "Moving instance" : "Renaming instance";
	return start_operation(rq, what, in->name, run_rename, g_steal_pointer(&work), out, err);
}

static int run_delete(Operation *op, void *data, Error **err)
{
	Work *work = data;
	if (work->ignore_move && live_take_back(work->instance, TRUE, err) < 0)
		return -1;
	return instance_delete(work->instance, operation_caller(op), err);
}

int api_delete_instance(
    Request *rq, const Pb__DeleteInstanceRequest *in, Pb__Operation *out, Error **err)
{
	g_autoptr(Work) work = work_on(rq, in->name, err);
	if (!work)
		return -1;
	work->ignore_move = in->ignore_move; /* what stands still is ended */
	if (instance_running(work->instance) && !work->ignore_move)
		return error_set(err, ERROR_INVALID, "Instance is running");
	return start_operation(
	    rq, "Deleting instance", in->name, run_delete, g_steal_pointer(&work), out, err);
}

/* ---- state ---- */

static const char *const actions[] = {"start", "stop", "restart", "freeze", "unfreeze", NULL};
static const char *const action_descriptions[] = {"Starting instance", "Stopping instance",
    "Restarting instance", "Freezing instance", "Unfreezing instance"};

static int act(Instance *instance, const Work *work, const Caller *caller, Error **err)
{
	if (g_str_equal(work->action, "start"))
		return instance_start(
		    instance, work->stateful ? START_STATE : START_NOTHING, caller, err);
	if (work->stateful && g_str_equal(work->action, "stop"))
		return instance_save(instance, caller, err);
	if (g_str_equal(work->action, "stop"))
		return instance_stop(instance, work->timeout_s, work->force, caller, err);
	if (g_str_equal(work->action, "restart"))
		return instance_restart(instance, work->timeout_s, work->force, caller, err);
	return g_str_equal(work->action, "freeze") ? instance_freeze(instance, caller, err)
						   : instance_unfreeze(instance, caller, err);
}

static int run_action(Operation *op, void *data, Error **err)
{
	Work *work = data;
	int taken = work->ignore_move ? live_take_back(work->instance, FALSE, err) : 0;
	if (taken)
		return taken < 0 ? -1 : 0;
	return act(work->instance, work, operation_caller(op), err);
}

static int fill_action(const Pb__InstanceStatePut *state, Work *work, Error **err)
{
	if (!state || !g_strv_contains(actions, state->action))
		return error_set(
		    err, ERROR_INVALID, "Unknown action \"%s\"", state ? state->action : "");
	work->stateful = state->stateful;
	work->action = g_strdup(state->action);
	work->timeout_s = (int)CLAMP(state->timeout, -1, G_MAXINT);
	work->force = state->force;
	work->ignore_move = state->ignore_move;
	if (work->ignore_move && !g_str_equal(work->action, "start"))
		return error_set(err, ERROR_INVALID, "\"ignore_move\" is of starts");
	return 0;
}

int api_update_instance_state(Request *rq, const Pb__UpdateInstanceStateRequest *in,
    Pb__Operation *out, Error **err)
{
	g_autoptr(Work) work = work_on(rq, in->name, err);
	if (!work || fill_action(in->state, work, err) < 0)
		return -1;
	const char *description = NULL;
	for (int i = 0; actions[i]; i++)
		if (g_str_equal(actions[i], work->action))
			description = action_descriptions[i];
	return start_operation(
	    rq, description, in->name, run_action, g_steal_pointer(&work), out, err);
}

static gboolean wants_action(Instance *instance, const char *action)
{
	InstanceStatus status = instance_status(instance);
	if (g_str_equal(action, "start"))
		return status == INSTANCE_STOPPED || status == INSTANCE_FROZEN;
	if (g_str_equal(action, "unfreeze"))
		return status == INSTANCE_FROZEN;
	if (g_str_equal(action, "freeze"))
		return status == INSTANCE_RUNNING;
	return instance_running(instance);
}

static int run_bulk(Operation *op, void *data, Error **err)
{
	Work *work = data;
	g_autoptr(GString) failures = g_string_new(NULL);
	for (guint i = 0; i < work->instances->len; i++) {
		Instance *instance = work->instances->pdata[i];
		g_autoptr(Error) error = NULL;
		if (wants_action(instance, work->action) &&
		    act(instance, work, operation_caller(op), &error) < 0)
			g_string_append_printf(failures, "%s%s: %s", failures->len ? "; " : "",
			    instance_name(instance), error->message);
	}
	return failures->len ? error_set(err, ERROR_INTERNAL, "%s", failures->str) : 0;
}

int api_update_instances(
    Request *rq, const Pb__UpdateInstancesRequest *in, Pb__Operation *out, Error **err)
{
	g_autoptr(Work) work = g_new0(Work, 1);
	if (fill_action(in->instances ? in->instances->state : NULL, work, err) < 0)
		return -1;
	work->instances = instance_list(rq->daemon, rq->project);
	return start_operation(rq, "Changing the state of all instances", NULL, run_bulk,
	    g_steal_pointer(&work), out, err);
}
