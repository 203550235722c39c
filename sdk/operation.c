/* Following operations to their end. */
#include <incus/operation.h>
#include <incus/call.h>
#include "sdk/client.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { STATUS_CANCELLED = 401, STATUS_SUCCESS = 200 };
enum { QUIET_MS = 200 };

bool incus_operation_done(const Pb__Operation *operation)
{
	return operation->status_code >= STATUS_SUCCESS;
}

/* 0 when it ended well. */
static int verdict(const Pb__Operation *operation, incus_error **err)
{
	if (operation->status_code == STATUS_SUCCESS)
		return 0;
	const char *text = operation->err;
	if (operation->status_code == STATUS_CANCELLED)
		return sdk_error(
		    err, ERROR_CANCELLED, "%s", *text ? text : "The operation was cancelled");
	return sdk_error(err, ERROR_INTERNAL, "%s", *text ? text : "The operation failed");
}

typedef struct Follow {
	incus_client *client;
	incus_stream *stream;
	incus_operation_progress progress;
	void *data;
	Pb__Operation *last;
	bool stopping;
} Follow;

static void tell(Follow *f)
{
	if (!f->progress || !f->last || f->progress(f->last, f->data) == 0 || f->stopping)
		return;
	f->stopping = true;
	if (!incus_operation_done(f->last))
		incus_operation_cancel(f->client, f->last, NULL);
}

/* Reads states until the last one. */
static int follow(Follow *f, incus_error **err)
{
	for (;;) {
		void *state = NULL;
		incus_error *problem = NULL;
		int got = incus_stream_recv(f->stream, f->progress ? QUIET_MS : -1, &state, &problem);
		if (got < 0 && f->progress && incus_error_is(problem, "TIMEOUT")) {
			incus_error_free(problem);
			tell(f);
			continue;
		}
		if (got == 0)
			return sdk_error(err, ERROR_UNAVAILABLE,
			    "The server stopped telling about the operation");
		if (got < 0) {
			if (err)
				*err = problem;
			else
				incus_error_free(problem);
			return -1;
		}
		incus_message_free(f->last);
		f->last = state;
		tell(f);
		if (incus_operation_done(state))
			return 0;
	}
}

int incus_operation_wait_id(incus_client *client, const char *id, const char *secret,
    incus_operation_progress progress, void *data, Pb__Operation **ret, incus_error **err)
{
	const char *slash = strrchr(id, '/');
	Pb__WatchOperationRequest request = PB__WATCH_OPERATION_REQUEST__INIT;
	request.id = (char *)(slash ? slash + 1 : id);
	if (secret)
		request.secret = (char *)secret;
	Follow f = { .client = client, .progress = progress, .data = data };
	if (incus_stream_open(client, incus_method("WatchOperation"), &request, &f.stream, err) < 0)
		return -1;
	int result = follow(&f, err);
	incus_stream_free(f.stream);
	if (result == 0)
		result = verdict(f.last, err);
	else
		g_clear_pointer(&f.last, incus_message_free);
	if (ret)
		*ret = f.last;
	else
		incus_message_free(f.last);
	return result;
}

static Pb__Operation *operation_copy(const Pb__Operation *operation)
{
	size_t size = pb__operation__get_packed_size(operation);
	g_autofree uint8_t *bytes = g_malloc(size + 1);
	pb__operation__pack(operation, bytes);
	return pb__operation__unpack(NULL, size, bytes);
}

int incus_operation_wait(incus_client *client, const Pb__Operation *operation,
    incus_operation_progress progress, void *data, Pb__Operation **ret, incus_error **err)
{
	if (!incus_operation_done(operation))
		return incus_operation_wait_id(
		    client, operation->id, NULL, progress, data, ret, err);
	if (progress)
		progress(operation, data);
	if (ret)
		*ret = operation_copy(operation);
	return verdict(operation, err);
}

int incus_operation_cancel(incus_client *client, const Pb__Operation *operation, incus_error **err)
{
	Pb__DeleteOperationRequest request = PB__DELETE_OPERATION_REQUEST__INIT;
	request.id = operation->id;
	return incus_call_unary(client, incus_method("DeleteOperation"), &request, NULL, err);
}

char *incus_operation_metadata(const Pb__Operation *operation, const char *key)
{
	json_t *tree = json_loads(operation->metadata, 0, NULL);
	const json_t *value = json_object_get(tree, key);
	char *text = NULL;
	if (json_is_string(value))
		text = strdup(json_string_value(value));
	else if (value)
		text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
	json_decref(tree);
	return text;
}
