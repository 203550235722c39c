#include "server/operation/operation.h"
#include "sdk/base/json.h"
#include "sdk/base/json_text.h"
#include "sdk/base/log.h"
#include "server/daemon.h"
#include "server/event/event.h"
#include "server/operation/table.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define DONE_VISIBLE_US (5 * G_USEC_PER_SEC)
#define PROGRESS_EVERY_US (G_USEC_PER_SEC / 10)

typedef enum Status {
	STATUS_RUNNING = 103,
	STATUS_CANCELLING = 104,
	STATUS_PENDING = 105,
	STATUS_SUCCESS = 200,
	STATUS_FAILURE = 400,
	STATUS_CANCELLED = 401,
} Status;

struct Operation {
	int refs;
	Daemon *daemon;
	OperationTable *table;
	char id[37];
	OperationSpec spec; /* strings belong to the fields below */
	char *description, *project, *entitlement;
	Caller *caller;
	GPtrArray *resources; /* kind, URL, kind, URL... */
	GHashTable *metadata; /* key -> JSON text */
	GPtrArray *metadata_order; /* borrowed keys, as first set */
	Status status;
	char *error;
	ErrorKind error_kind;
	gint64 created_us, updated_us, done_us; /* real, real, monotonic */
	gint64 progress_us;
	gint cancelled;
	GCond changed; /* with table->lock */
	guint64 version; /* bumped at every change, for watchers */
};

struct OperationTable {
	GMutex lock; /* guards every operation's mutable fields */
	GHashTable *by_id;
	GPtrArray *order; /* borrowed, oldest first */
	GThreadPool *pool;
	GCond idle;
	guint running;
};

static const char *status_name(Status status)
{
	switch (status) {
	case STATUS_RUNNING:
		return "Running";
	case STATUS_CANCELLING:
		return "Cancelling";
	case STATUS_PENDING:
		return "Pending";
	case STATUS_SUCCESS:
		return "Success";
	case STATUS_FAILURE:
		return "Failure";
	case STATUS_CANCELLED:
		return "Cancelled";
	}
	return "";
}

static const char *class_name(OperationClass op_class)
{
	static const char *const names[] = {"", "task", "websocket", "token"};
	return names[op_class];
}

static gboolean is_final(const Operation *op)
{
	return op->status >= STATUS_SUCCESS;
}

static gboolean may_cancel(const Operation *op)
{
	return !is_final(op) && (op->spec.op_class == OPERATION_TOKEN || op->spec.cancel);
}

Operation *operation_ref(Operation *op)
{
	g_atomic_int_inc(&op->refs);
	return op;
}

void operation_unref(Operation *op)
{
	if (!op || !g_atomic_int_dec_and_test(&op->refs))
		return;
	if (op->spec.destroy)
		op->spec.destroy(op->spec.data);
	g_free(op->description);
	g_free(op->project);
	g_free(op->entitlement);
	caller_free(op->caller);
	g_ptr_array_unref(op->resources);
	g_hash_table_unref(op->metadata);
	g_ptr_array_unref(op->metadata_order);
	g_free(op->error);
	g_cond_clear(&op->changed);
	g_free(op);
}

const char *operation_id(const Operation *op)
{
	return op->id;
}

const Caller *operation_caller(const Operation *op)
{
	return op->caller;
}

Daemon *operation_daemon(const Operation *op)
{
	return op->daemon;
}

const char *operation_project(const Operation *op)
{
	return op->project;
}

const OperationSpec *operation_spec(const Operation *op)
{
	return &op->spec;
}

gboolean operation_cancelled(Operation *op)
{
	return g_atomic_int_get(&op->cancelled);
}

/* ---- how it looks to clients ---- */

static void metadata_append(const Operation *op, GString *json)
{
	if (!op->metadata_order->len) {
		g_string_append(json, "null");
		return;
	}
	g_string_append_c(json, '{');
	for (guint i = 0; i < op->metadata_order->len; i++) {
		const char *key = op->metadata_order->pdata[i];
		if (i)
			g_string_append_c(json, ',');
		json_text_append(json, key);
		g_string_append_c(json, ':');
		g_string_append(json, g_hash_table_lookup(op->metadata, key));
	}
	g_string_append_c(json, '}');
}

static Google__Protobuf__Timestamp *timestamp(Arena *arena, gint64 time_us)
{
	Google__Protobuf__Timestamp *t =
	    arena_message(arena, Google__Protobuf__Timestamp, google__protobuf__timestamp);
	t->seconds = time_us / G_USEC_PER_SEC;
	t->nanos = (int32_t)(time_us % G_USEC_PER_SEC) * 1000;
	return t;
}

/* One entry per kind of resource, in the order first named. */
static void fill_resources(const Operation *op, Arena *arena, Pb__Operation *out)
{
	guint n = op->resources->len / 2;
	out->n_resources = 0; /* a reply may be filled again while somebody waits */
	out->resources = arena_alloc(arena, (n + 1) * sizeof(*out->resources));
	for (guint i = 0; i < n; i++) {
		const char *kind = op->resources->pdata[2 * i];
		Pb__Operation__ResourcesEntry *entry = NULL;
		for (size_t j = 0; j < out->n_resources; j++)
			if (g_str_equal(out->resources[j]->key, kind))
				entry = out->resources[j];
		if (!entry) {
			entry = arena_message(arena, Pb__Operation__ResourcesEntry,
			    pb__operation__resources_entry);
			entry->key = arena_strdup(arena, kind);
			entry->value = arena_message(arena, Pb__StringList, pb__string_list);
			entry->value->items = arena_alloc(arena, n * sizeof(char *));
			out->resources[out->n_resources++] = entry;
		}
		entry->value->items[entry->value->n_items++] =
		    arena_strdup(arena, op->resources->pdata[2 * i + 1]);
	}
}

static void fill_locked(const Operation *op, Arena *arena, Pb__Operation *out)
{
	g_autoptr(GString) metadata = g_string_new(NULL);
	metadata_append(op, metadata);
	out->id = arena_strdup(arena, op->id);
	out->class_ = arena_strdup(arena, class_name(op->spec.op_class));
	out->description = arena_strdup(arena, op->description);
	out->created_at = timestamp(arena, op->created_us);
	out->updated_at = timestamp(arena, op->updated_us);
	out->status = (char *)status_name(op->status);
	out->status_code = op->status;
	out->metadata = arena_strdup(arena, metadata->str);
	out->may_cancel = may_cancel(op);
	out->err = arena_strdup(arena, op->error ? op->error : "");
	out->location = arena_strdup(arena, "none");
	fill_resources(op, arena, out);
}

void operation_fill(Operation *op, Arena *arena, Pb__Operation *out)
{
	g_mutex_lock(&op->table->lock);
	fill_locked(op, arena, out);
	g_mutex_unlock(&op->table->lock);
}

/* Called with the lock held, and so is the event sent (the hub only queues it): listeners must see
 * states in the order in which they were. */
static void changed_locked(Operation *op)
{
	op->updated_us = g_get_real_time();
	op->version++;
	g_cond_broadcast(&op->changed);
	if (!event_hub_wants(op->daemon->events, "operation"))
		return;
	g_autoptr(Arena) arena = arena_new();
	Pb__Operation message = PB__OPERATION__INIT;
	fill_locked(op, arena, &message);
	g_autofree char *json = operation_json(&message);
	event_send(op->daemon->events, "operation", op->project, json);
}

void operation_set_metadata(Operation *op, const char *key, const char *value_json)
{
	g_mutex_lock(&op->table->lock);
	gpointer old_key;
	if (g_hash_table_lookup_extended(op->metadata, key, &old_key, NULL)) {
		g_hash_table_insert(op->metadata, g_strdup(key), g_strdup(value_json));
	} else {
		char *new_key = g_strdup(key);
		g_hash_table_insert(op->metadata, new_key, g_strdup(value_json));
		g_ptr_array_add(op->metadata_order, new_key);
	}
	changed_locked(op);
	g_mutex_unlock(&op->table->lock);
}

void operation_set_progress(Operation *op, const char *stage, const char *what, uint64_t done,
    uint64_t total, int64_t started_us)
{
	gint64 now = g_get_monotonic_time();
	gboolean last = total && done >= total;
	if (!op || (!last && now - op->progress_us < PROGRESS_EVERY_US))
		return;
	op->progress_us = now;
	guint64 speed = now > started_us ? done * G_USEC_PER_SEC / (guint64)(now - started_us) : 0;
	guint percent = total ? (guint)MIN(100, done * 100 / total) : 0;
	g_autofree char *key = g_strconcat(stage, "_progress", NULL);
	g_autofree char *rate = g_format_size(speed);
	g_autofree char *amount = total ? g_strdup_printf("%u%%", percent) : g_format_size(done);
	g_autofree char *text = g_strdup_printf("%s: %s (%s/s)", what, amount, rate);
	g_autoptr(GString) value = g_string_new(NULL);
	json_text_append(value, text);
	operation_set_metadata(op, key, value->str);
	g_autofree char *percent_text = g_strdup_printf("%u", percent);
	g_autofree char *speed_text = g_strdup_printf("%" G_GUINT64_FORMAT, speed);
	g_autofree char *done_text = g_strdup_printf("%" G_GUINT64_FORMAT, (guint64)done);
	g_autofree char *progress = json_text_object("stage", stage, "percent", percent_text,
	    "speed", speed_text, "processed", done_text, NULL);
	operation_set_metadata(op, "progress", progress);
}

/* ---- life ---- */

void operation_finish(Operation *op, int result, const Error *error)
{
	OperationTable *table = op->table;
	g_mutex_lock(&table->lock);
	if (result == 0) {
		op->status = STATUS_SUCCESS;
	} else if (error->kind == ERROR_CANCELLED || g_atomic_int_get(&op->cancelled)) {
		op->status = STATUS_CANCELLED;
		op->error = g_strdup(error->message);
	} else {
		op->status = STATUS_FAILURE;
		op->error = g_strdup(error->message);
	}
	op->error_kind = result == 0 ? ERROR_INTERNAL : error->kind;
	op->done_us = g_get_monotonic_time();
	changed_locked(op);
	g_mutex_unlock(&table->lock);
	if (op->status == STATUS_FAILURE)
		log_info("Operation failed", "id", op->id, "description", op->description, "err",
		    op->error);
}

static void run_on_pool(gpointer data, gpointer user_data)
{
	g_autoptr(Operation) op = data;
	g_autoptr(Error) error = NULL;
	OperationTable *table = op->table;

	int result = op->spec.run(op, op->spec.data, &error);
	if (result < 0 && !error)
		error_set(&error, ERROR_INTERNAL, "Operation failed without an error message");
	operation_finish(op, result, error);
	g_mutex_lock(&table->lock);
	if (--table->running == 0)
		g_cond_broadcast(&table->idle);
	g_mutex_unlock(&table->lock);
}

static void start_locked(Operation *op)
{
	op->status = STATUS_RUNNING;
	if (!op->spec.run)
		return;
	op->table->running++;
	g_thread_pool_push(op->table->pool, operation_ref(op), NULL);
}

void operation_start_held(Operation *op)
{
	g_mutex_lock(&op->table->lock);
	if (op->status == STATUS_PENDING) {
		start_locked(op);
		changed_locked(op);
	}
	g_mutex_unlock(&op->table->lock);
}

static void reap_locked(OperationTable *table)
{
	gint64 now = g_get_monotonic_time();
	for (guint i = 0; i < table->order->len;) {
		Operation *op = table->order->pdata[i];
		if (is_final(op) && now - op->done_us > DONE_VISIBLE_US) {
			g_ptr_array_remove_index(table->order, i);
			g_hash_table_remove(table->by_id, op->id);
		} else {
			i++;
		}
	}
}

Caller *caller_daemon(void)
{
	Caller *caller = g_new0(Caller, 1);
	caller->kind = CALLER_UNIX;
	caller->username = g_strdup("");
	caller->fingerprint = g_strdup("");
	caller->address = g_strdup("@");
	caller->admin = TRUE;
	return caller;
}

static Operation *operation_new(Daemon *daemon, Request *rq, const OperationSpec *spec)
{
	Operation *op = g_new0(Operation, 1);
	op->refs = 1;
	op->daemon = daemon;
	op->table = daemon->operations;
	g_autofree char *id = g_uuid_string_random();
	g_strlcpy(op->id, id, sizeof(op->id));
	op->spec = *spec;
	op->description = g_strdup(spec->description);
	op->project = g_strdup(spec->project ? spec->project : rq ? rq->project : "");
	op->entitlement = g_strdup(spec->entitlement);
	op->spec.description = op->description;
	op->spec.project = op->project;
	op->spec.entitlement = op->entitlement;
	op->spec.resources = NULL;
	op->spec.metadata_json = NULL;
	op->caller = rq ? caller_copy(rq->caller) : caller_daemon();
	op->resources = g_ptr_array_new_with_free_func(g_free);
	for (const char *const *r = spec->resources; r && r[0] && r[1]; r += 2) {
		gboolean other = *op->project && !g_str_equal(op->project, "default");
		g_ptr_array_add(op->resources, g_strdup(r[0]));
		g_ptr_array_add(op->resources,
		    other ? g_strdup_printf("%s?project=%s", r[1], op->project) : g_strdup(r[1]));
	}
	op->metadata = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
	op->metadata_order = g_ptr_array_new();
	op->status = STATUS_PENDING;
	op->created_us = op->updated_us = g_get_real_time();
	g_cond_init(&op->changed);
	return op;
}

int operation_create(Daemon *daemon, Request *rq, const OperationSpec *spec, Operation **ret_op,
    Pb__Operation *out, Error **err)
{
	OperationTable *table = daemon->operations;
	g_autoptr(Operation) op = operation_new(daemon, rq, spec);
	if (spec->metadata_json && operation_metadata_from_json(op, spec->metadata_json, err) < 0)
		return -1;
	if (g_atomic_int_get(&daemon->shutting_down))
		return error_set(err, ERROR_UNAVAILABLE, "Shutting down");

	g_mutex_lock(&table->lock);
	reap_locked(table);
	g_hash_table_insert(table->by_id, op->id, operation_ref(op));
	g_ptr_array_add(table->order, op);
	changed_locked(op);
	if (!spec->hold) {
		start_locked(op);
		changed_locked(op);
	}
	if (out)
		fill_locked(op, rq->arena, out);
	g_mutex_unlock(&table->lock);
	if (ret_op)
		*ret_op = g_steal_pointer(&op);
	return 0;
}

int operation_metadata_from_json(Operation *op, const char *text, Error **err)
{
	json_error_t error;
	json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &error);
	if (!json_is_object(root)) {
		json_decref(root);
		return error_set(err, ERROR_INTERNAL, "Operation metadata is not a JSON object");
	}
	const char *key;
	json_t *value;
	json_object_foreach(root, key, value) {
		char *dumped = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
		char *owned_key = g_strdup(key);
		g_hash_table_insert(op->metadata, owned_key, g_strdup(dumped));
		g_ptr_array_add(op->metadata_order, owned_key);
		free(dumped);
	}
	json_decref(root);
	return 0;
}

int operation_wait(Operation *op, int timeout_ms, Arena *arena, Pb__Operation *out, Error **err)
{
	gint64 until = g_get_monotonic_time() + (gint64)timeout_ms * 1000;
	gboolean done = TRUE;
	g_mutex_lock(&op->table->lock);
	while (done && !is_final(op)) {
		if (timeout_ms < 0)
			g_cond_wait(&op->changed, &op->table->lock);
		else
			done = g_cond_wait_until(&op->changed, &op->table->lock, until);
	}
	done = is_final(op);
	if (out)
		fill_locked(op, arena, out);
	g_mutex_unlock(&op->table->lock);
	return done ? 0 : error_set(err, ERROR_TIMEOUT, "context deadline exceeded");
}

int operation_watch(Operation *op, guint64 *version, int timeout_ms, Arena *arena,
    Pb__Operation *out, gboolean *ret_final)
{
	gint64 until = g_get_monotonic_time() + (gint64)timeout_ms * 1000;
	gboolean in_time = TRUE;
	g_mutex_lock(&op->table->lock);
	while (in_time && op->version == *version)
		in_time = g_cond_wait_until(&op->changed, &op->table->lock, until);
	gboolean changed = op->version != *version;
	*version = op->version;
	*ret_final = is_final(op);
	if (changed)
		fill_locked(op, arena, out);
	g_mutex_unlock(&op->table->lock);
	return changed;
}

int operation_cancel(Operation *op, Error **err)
{
	g_mutex_lock(&op->table->lock);
	if (is_final(op) || op->status == STATUS_PENDING) {
		g_mutex_unlock(&op->table->lock);
		return error_set(err, ERROR_INVALID, "Only running operations can be cancelled");
	}
	if (!may_cancel(op)) {
		g_mutex_unlock(&op->table->lock);
		return error_set(err, ERROR_INVALID, "This operation can't be cancelled");
	}
	g_atomic_int_set(&op->cancelled, 1);
	if (op->spec.op_class == OPERATION_TOKEN) {
		op->status = STATUS_CANCELLED;
		op->done_us = g_get_monotonic_time();
	} else {
		op->status = STATUS_CANCELLING;
	}
	changed_locked(op);
	g_mutex_unlock(&op->table->lock);
	if (op->spec.cancel)
		op->spec.cancel(op, op->spec.data);
	return 0;
}

/* ---- the table ---- */

OperationTable *operation_table_new(void)
{
	OperationTable *table = g_new0(OperationTable, 1);
	g_mutex_init(&table->lock);
	g_cond_init(&table->idle);
	table->by_id = g_hash_table_new_full(g_str_hash, g_str_equal, NULL,
	    (GDestroyNotify)operation_unref);
	table->order = g_ptr_array_new();
	g_thread_pool_set_max_unused_threads(8);
	table->pool = g_thread_pool_new(run_on_pool, NULL, -1, FALSE, NULL);
	return table;
}

void operation_table_free(OperationTable *table)
{
	if (!table)
		return;
	g_thread_pool_free(table->pool, FALSE, TRUE);
	g_ptr_array_unref(table->order);
	g_hash_table_unref(table->by_id);
	g_cond_clear(&table->idle);
	g_mutex_clear(&table->lock);
	g_free(table);
}

gboolean operation_table_drain(OperationTable *table, int timeout_ms)
{
	gint64 until = g_get_monotonic_time() + (gint64)timeout_ms * 1000;
	gboolean in_time = TRUE;
	g_mutex_lock(&table->lock);
	while (table->running && in_time)
		in_time = g_cond_wait_until(&table->idle, &table->lock, until);
	gboolean idle = !table->running;
	g_mutex_unlock(&table->lock);
	return idle;
}

void operation_table_cancel_all(OperationTable *table)
{
	g_autoptr(GPtrArray) all = operation_table_list(table, NULL);
	for (guint i = 0; i < all->len; i++) {
		g_autoptr(Error) ignored = NULL;
		operation_cancel(all->pdata[i], &ignored);
	}
}

GPtrArray *operation_table_list(OperationTable *table, const char *project)
{
	GPtrArray *list = g_ptr_array_new_with_free_func((GDestroyNotify)operation_unref);
	g_mutex_lock(&table->lock);
	reap_locked(table);
	for (guint i = 0; i < table->order->len; i++) {
		Operation *op = table->order->pdata[i];
		if (!project || !*op->project || g_str_equal(op->project, project))
			g_ptr_array_add(list, operation_ref(op));
	}
	g_mutex_unlock(&table->lock);
	return list;
}

Operation *operation_table_get(OperationTable *table, const char *id)
{
	g_mutex_lock(&table->lock);
	reap_locked(table);
	Operation *op = g_hash_table_lookup(table->by_id, id);
	if (op)
		operation_ref(op);
	g_mutex_unlock(&table->lock);
	return op;
}

char *operation_metadata_dup(Operation *op, const char *key)
{
	g_mutex_lock(&op->table->lock);
	char *value = g_strdup(g_hash_table_lookup(op->metadata, key));
	g_mutex_unlock(&op->table->lock);
	return value;
}

gboolean operation_is(
    const Operation *op, const char *description, const char *project, const char *url)
{
	size_t length = strlen(url);
	gboolean found = FALSE;
	if (g_strcmp0(op->description, description) != 0 || g_strcmp0(op->project, project) != 0)
		return FALSE;
	for (guint n = 1; n < op->resources->len && !found; n += 2) {
		const char *own = op->resources->pdata[n];
		found = strncmp(own, url, length) == 0 && (!own[length] || own[length] == '?');
	}
	return found;
}

gboolean operation_running(Operation *op)
{
	g_mutex_lock(&op->table->lock);
	gboolean running = op->status == STATUS_RUNNING;
	g_mutex_unlock(&op->table->lock);
	return running;
}

char *operation_json(const Pb__Operation *message)
{
	GString *json = g_string_new(NULL);
	json_write(json, message, JSON_RECURSION_ALL, 0);
	return g_string_free(json, FALSE);
}
