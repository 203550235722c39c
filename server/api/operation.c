/* Handlers of OperationService. */
#include "incus/v1/handlers.h"
#include "sdk/base/json_text.h"
#include "sdk/base/names.h"
#include "server/api/upload.h"
#include "server/daemon.h"
#include "server/instance/live.h"
#include "server/operation/table.h"
#include <string.h>

/* True when the operation's metadata holds this secret, for callers that have nothing else. */
static gboolean secret_matches(Operation *op, const char *secret)
{
	g_autofree char *value = operation_metadata_dup(op, "secret");
	g_autoptr(GString) wanted = g_string_new(NULL);
	json_text_append(wanted, secret);
	return secret && *secret && value && g_str_equal(value, wanted->str);
}

static gboolean may_see(const Caller *caller, Operation *op)
{
	const char *project = operation_project(op);
	if (caller->admin)
		return TRUE;
	return caller->kind != CALLER_UNTRUSTED && *project && caller_has_project(caller, project);
}

static int find(Request *rq, const char *id, const char *secret, Operation **ret_op, Error **err)
{
	g_autoptr(Operation) op = operation_table_get(rq->daemon->operations, id ? id : "");
	if (!op)
		return rq->caller->kind == CALLER_UNTRUSTED
		    ? error_set(err, ERROR_FORBIDDEN, "not authorized")
		    : error_set(err, ERROR_NOT_FOUND, "Operation not found");
	if (!may_see(rq->caller, op) && !secret_matches(op, secret))
		return error_set(err, ERROR_FORBIDDEN, "not authorized");
	*ret_op = g_steal_pointer(&op);
	return 0;
}

int api_get_operations(Request *rq, const Pb__GetOperationsRequest *in,
    Pb__GetOperationsResponse *out, Error **err)
{
	if (in->all_projects && in->project && *in->project)
		return error_set(err, ERROR_INVALID,
		    "Cannot specify a project when requesting operations for all projects");
	g_autoptr(GPtrArray) list =
	    operation_table_list(rq->daemon->operations, in->all_projects ? NULL : rq->project);
	out->items = arena_alloc(rq->arena, (list->len + 1) * sizeof(*out->items));
	for (guint i = 0; i < list->len; i++) {
		if (!may_see(rq->caller, list->pdata[i]))
			continue;
		Pb__Operation *item = arena_message(rq->arena, Pb__Operation, pb__operation);
		operation_fill(list->pdata[i], rq->arena, item);
		out->items[out->n_items++] = item;
	}
	return 0;
}

int api_get_operation(
    Request *rq, const Pb__GetOperationRequest *in, Pb__Operation *out, Error **err)
{
	g_autoptr(Operation) op = NULL;
	if (find(rq, in->id, NULL, &op, err) < 0)
		return -1;
	operation_fill(op, rq->arena, out);
	return 0;
}

int api_delete_operation(Request *rq, const Pb__DeleteOperationRequest *in,
    Google__Protobuf__Empty *out, Error **err)
{
	g_autoptr(Operation) op = NULL;
	if (find(rq, in->id, NULL, &op, err) < 0)
		return -1;
	return operation_cancel(op, err);
}

int api_get_operation_wait(
    Request *rq, const Pb__GetOperationWaitRequest *in, Pb__Operation *out, Error **err)
{
	g_autoptr(Operation) op = NULL;
	if (find(rq, in->id, in->secret, &op, err) < 0)
		return -1;
	gint64 start = g_get_monotonic_time();
	for (;;) {
		/* In steps, so that a client that has gone frees its thread. */
		gint64 left_ms = 1000;
		if (in->timeout > 0)
			left_ms = in->timeout * 1000 - (g_get_monotonic_time() - start) / 1000;
		g_autoptr(Error) timeout = NULL;
		if (operation_wait(op, (int)CLAMP(left_ms, 0, 1000), rq->arena, out, &timeout) == 0)
			return 0;
		if (left_ms <= 0)
			return error_propagate(err, g_steal_pointer(&timeout));
		if (request_cancelled(rq))
			return error_set(err, ERROR_CANCELLED, "The client has gone");
	}
}

int api_watch_operation(
    Request *rq, const Pb__WatchOperationRequest *in, Stream *stream, Error **err)
{
	g_autoptr(Operation) op = NULL;
	if (find(rq, in->id, in->secret, &op, err) < 0)
		return -1;
	guint64 version = 0;
	gboolean final = FALSE;
	while (!final) {
		g_autoptr(Arena) arena = arena_new();
		Pb__Operation message = PB__OPERATION__INIT;
		if (operation_watch(op, &version, 1000, arena, &message, &final)) {
			if (stream_send(stream, &message, err) < 0)
				return -1;
		} else if (request_cancelled(rq)) {
			return error_set(err, ERROR_CANCELLED, "The client has gone");
		}
	}
	return 0;
}

int api_get_migration_outcome(Request *rq, const Pb__GetMigrationOutcomeRequest *in,
    Pb__MigrationOutcome *out, Error **err)
{
	static const char *const words[] = { "arrived", "undecided", "never" };
	if (name_check_uuid(in->id, err) < 0)
		return -1;
	out->outcome = (char *)words[live_outcome(rq->daemon, in->id, in->forget)];
	return 0;
}

int api_get_upload(Request *rq, const Pb__GetUploadRequest *in, Pb__Upload *out, Error **err)
{
	g_autofree char *id = NULL;
	if (upload_find(rq, in->id, &out->bytes, &id, err) < 0)
		return -1;
	g_autoptr(Operation) op = id ? operation_table_get(rq->daemon->operations, id) : NULL;
	if (id && !op)
		return error_set(err, ERROR_INVALID,
		    "The upload came whole, and its operation ended a while ago");
	if (op) {
		out->operation = arena_message(rq->arena, Pb__Operation, pb__operation);
		operation_fill(op, rq->arena, out->operation);
	}
	return 0;
}

int api_connect_operation(
    Request *rq, const Pb__ConnectOperationRequest *in, Stream *stream, Error **err)
{
	g_autoptr(Operation) op = operation_table_get(rq->daemon->operations, in->id ? in->id : "");
	if (!op)
		return error_set(err, ERROR_NOT_FOUND, "Operation not found");
	const OperationSpec *spec = operation_spec(op);
	if (!in->secret || !*in->secret)
		return error_set(err, ERROR_INVALID, "Missing websocket secret");
	if (spec->op_class != OPERATION_WEBSOCKET || !spec->connect)
		return error_set(err, ERROR_INVALID, "Only websocket operations can be connected");
	if (!operation_running(op))
		return error_set(err, ERROR_INVALID, "Only running operations can be connected");
	return spec->connect(op, spec->data, in->secret, stream, err);
}
