/* Unary calls, and what they share with streams: requests, replies, deadlines, errors. */
#include <incus/call.h>
#include "sdk/client.h"
#include "sdk/base/wire.h"
#include "google/rpc/error_details.pb-c.h"
#include "google/rpc/status.pb-c.h"
#include <grpc/byte_buffer_reader.h>
#include <grpc/slice.h>
#include <grpc/support/time.h>
#include <string.h>

const struct SchemaMethod *incus_method(const char *name)
{
	for (unsigned i = 0; i < schema_n_methods; i++)
		if (strcmp(schema_methods[i].name, name) == 0)
			return &schema_methods[i];
	return NULL;
}

void incus_message_free(void *message)
{
	if (message)
		protobuf_c_message_free_unpacked(message, NULL);
}

void call_start_init(incus_client *client, const SchemaMethod *method, CallStart *start)
{
	memset(start, 0, sizeof *start);
	start->deadline = gpr_inf_future(GPR_CLOCK_REALTIME);
	if (method->kind == METHOD_UNARY && client->timeout_ms > 0)
		start->deadline = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
		    gpr_time_from_millis(client->timeout_ms, GPR_TIMESPAN));
	if (*client->if_match) {
		start->entries[0].key = grpc_slice_from_static_string("if-match");
		start->entries[0].value = grpc_slice_from_copied_string(client->if_match);
		start->n_entries = 1;
	}
}

void call_start_clear(CallStart *start)
{
	for (size_t i = 0; i < start->n_entries; i++)
		grpc_slice_unref(start->entries[i].value);
}

void *message_field(const void *of, const char *name, ProtobufCType type)
{
	const ProtobufCMessage *message = of;
	const ProtobufCFieldDescriptor *field =
	    protobuf_c_message_descriptor_get_field_by_name(message->descriptor, name);
	if (!field || field->type != type || field->label == PROTOBUF_C_LABEL_REPEATED)
		return NULL;
	return (char *)message + field->offset;
}

/* Where the `start` of a oneof is, NULL when that is not what the message holds. */
static ProtobufCMessage **start_of(const ProtobufCMessage *message)
{
	const ProtobufCFieldDescriptor *field =
	    protobuf_c_message_descriptor_get_field_by_name(message->descriptor, "start");
	if (!field || field->type != PROTOBUF_C_TYPE_MESSAGE ||
	    !(field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
		return NULL;
	if (*(const uint32_t *)((const char *)message + field->quantifier_offset) != field->id)
		return NULL;
	return (ProtobufCMessage **)((char *)message + field->offset);
}

static void fill_defaults(const incus_client *client, ProtobufCMessage *message)
{
	char **project = message_field(message, "project", PROTOBUF_C_TYPE_STRING);
	char **target = message_field(message, "target", PROTOBUF_C_TYPE_STRING);
	const protobuf_c_boolean *all = message_field(message, "all_projects", PROTOBUF_C_TYPE_BOOL);
	if (project && (!*project || !**project) && !(all && *all))
		*project = client->project;
	if (target && (!*target || !**target))
		*target = client->target;
}

grpc_byte_buffer *call_pack(const incus_client *client, const ProtobufCMessage *message)
{
	/* The caller's message is const: the defaults stand in a copy of its outermost structure,
	 * and of the `start` that the first message of ExecInstance and ConsoleInstance is. */
	g_autofree ProtobufCMessage *copy = g_memdup2(message, message->descriptor->sizeof_message);
	g_autofree ProtobufCMessage *inner = NULL;
	ProtobufCMessage **start = start_of(copy);
	if (start) {
		inner = g_memdup2(*start, (*start)->descriptor->sizeof_message);
		fill_defaults(client, inner);
		*start = inner;
	}
	fill_defaults(client, copy);
	grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(copy));
	protobuf_c_message_pack(copy, GRPC_SLICE_START_PTR(slice));
	grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
	grpc_slice_unref(slice);
	return buffer;
}

/* The message's bytes in one piece; without a copy where they came in one. */
static grpc_slice whole_slice(grpc_byte_buffer *buffer)
{
	grpc_byte_buffer_reader reader;
	if (buffer && buffer->type == GRPC_BB_RAW &&
	    buffer->data.raw.compression == GRPC_COMPRESS_NONE &&
	    buffer->data.raw.slice_buffer.count == 1)
		return grpc_slice_ref(buffer->data.raw.slice_buffer.slices[0]);
	if (!buffer || !grpc_byte_buffer_reader_init(&reader, buffer))
		return grpc_empty_slice();
	grpc_slice slice = grpc_byte_buffer_reader_readall(&reader);
	grpc_byte_buffer_reader_destroy(&reader);
	return slice;
}

ProtobufCMessage *call_unpack(
    const ProtobufCMessageDescriptor *descriptor, grpc_byte_buffer *buffer, incus_error **err)
{
	if (!buffer) {
		sdk_error(
		    err, ERROR_INTERNAL, "The server's reply is no %s", descriptor->short_name);
		return NULL;
	}
	grpc_slice slice = whole_slice(buffer);
	const uint8_t *data = GRPC_SLICE_START_PTR(slice);
	ProtobufCMessage *message = NULL;
	if (wire_check(descriptor, data, GRPC_SLICE_LENGTH(slice), NULL) == 0)
		message = protobuf_c_message_unpack(
		    descriptor, NULL, GRPC_SLICE_LENGTH(slice), data);
	grpc_slice_unref(slice);
	if (!message)
		sdk_error(
		    err, ERROR_INTERNAL, "The server's reply is no %s", descriptor->short_name);
	return message;
}

/* The name of the error in a google.rpc.Status, NULL when it has none. The caller's to free. */
static char *reason_of(const grpc_metadata_array *trailers)
{
	for (size_t i = 0; i < trailers->count; i++) {
		if (grpc_slice_str_cmp(trailers->metadata[i].key, "grpc-status-details-bin") != 0)
			continue;
		grpc_slice value = trailers->metadata[i].value;
		Google__Rpc__Status *status = NULL;
		if (wire_check(&google__rpc__status__descriptor, GRPC_SLICE_START_PTR(value),
			GRPC_SLICE_LENGTH(value), NULL) == 0)
			status = google__rpc__status__unpack(
			    NULL, GRPC_SLICE_LENGTH(value), GRPC_SLICE_START_PTR(value));
		char *name = NULL;
		for (size_t k = 0; status && k < status->n_details && !name; k++) {
			const Google__Protobuf__Any *any = status->details[k];
			if (!g_str_has_suffix(any->type_url, "/google.rpc.ErrorInfo"))
				continue;
			Google__Rpc__ErrorInfo *info = NULL;
			if (wire_check(&google__rpc__error_info__descriptor, any->value.data,
				any->value.len, NULL) == 0)
				info = google__rpc__error_info__unpack(
				    NULL, any->value.len, any->value.data);
			if (info)
				name = g_strdup(info->reason);
			google__rpc__error_info__free_unpacked(info, NULL);
		}
		google__rpc__status__free_unpacked(status, NULL);
		return name;
	}
	return NULL;
}

int call_status(grpc_status_code status, grpc_slice details, const grpc_metadata_array *trailers,
    incus_error **err)
{
	if (status == GRPC_STATUS_OK)
		return 0;
	g_autofree char *name = reason_of(trailers);
	g_autofree char *message = grpc_slice_to_c_string(details);
	ErrorKind kind = name ? error_kind_from_name(name) : error_kind_from_grpc(status);
	if (!name && status == GRPC_STATUS_UNAVAILABLE)
		return sdk_error(err, kind, "The connection to the server was lost");
	sdk_error(err, kind, "%s", *message ? message : error_row(kind)->name);
	return -1;
}

typedef struct Unary {
	grpc_completion_queue *queue;
	grpc_call *call; /* owns the slices of the trailers */
	grpc_metadata_array headers, trailers;
	grpc_byte_buffer *request, *reply;
	grpc_status_code status;
	grpc_slice details;
} Unary;

static gpr_timespec deadline_in(int timeout_ms)
{
	return gpr_time_add(
	    gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(timeout_ms, GPR_TIMESPAN));
}

/* unary->queue gets the event, whose tag is `unary`; FALSE: it will not. deadline NULL: as the
 * client has it. */
static gboolean unary_start(incus_client *client, const SchemaMethod *method, const void *in,
    const gpr_timespec *deadline, Unary *unary)
{
	CallStart start;
	call_start_init(client, method, &start);
	if (deadline)
		start.deadline = *deadline;
	grpc_metadata_array_init(&unary->headers);
	grpc_metadata_array_init(&unary->trailers);
	unary->request = call_pack(client, in);
	unary->call = grpc_channel_create_call(client_channel(client), NULL,
	    GRPC_PROPAGATE_DEFAULTS, unary->queue, grpc_slice_from_static_string(method->path),
	    NULL, start.deadline, NULL);
	grpc_op ops[6] = {
		{ .op = GRPC_OP_SEND_INITIAL_METADATA },
		{ .op = GRPC_OP_SEND_MESSAGE },
		{ .op = GRPC_OP_SEND_CLOSE_FROM_CLIENT },
		{ .op = GRPC_OP_RECV_INITIAL_METADATA },
		{ .op = GRPC_OP_RECV_MESSAGE },
		{ .op = GRPC_OP_RECV_STATUS_ON_CLIENT },
	};
	ops[0].data.send_initial_metadata.count = start.n_entries;
	ops[0].data.send_initial_metadata.metadata = start.entries;
	ops[1].data.send_message.send_message = unary->request;
	ops[3].data.recv_initial_metadata.recv_initial_metadata = &unary->headers;
	ops[4].data.recv_message.recv_message = &unary->reply;
	ops[5].data.recv_status_on_client.trailing_metadata = &unary->trailers;
	ops[5].data.recv_status_on_client.status = &unary->status;
	ops[5].data.recv_status_on_client.status_details = &unary->details;
	unary->status = GRPC_STATUS_INTERNAL;
	unary->details = grpc_empty_slice();
	gboolean started = grpc_call_start_batch(unary->call, ops, 6, unary, NULL) == GRPC_CALL_OK;
	call_start_clear(&start);
	return started;
}

static int unary_result(Unary *unary, const SchemaMethod *method, void **ret, incus_error **err)
{
	int result = call_status(unary->status, unary->details, &unary->trailers, err);
	if (result < 0 || !ret)
		return result;
	*ret = call_unpack(method->output, unary->reply, err);
	return *ret ? 0 : -1;
}

static void unary_clear(Unary *unary)
{
	grpc_byte_buffer_destroy(unary->request);
	grpc_byte_buffer_destroy(unary->reply);
	grpc_metadata_array_destroy(&unary->headers);
	grpc_metadata_array_destroy(&unary->trailers);
	grpc_slice_unref(unary->details);
	grpc_call_unref(unary->call);
}

static void queue_end(grpc_completion_queue *queue)
{
	grpc_completion_queue_shutdown(queue);
	grpc_completion_queue_destroy(queue);
}

/* malloc()ed; NULL: the call brought none. */
static char *unary_etag(const Unary *unary)
{
	for (size_t i = 0; i < unary->trailers.count; i++)
		if (grpc_slice_str_cmp(unary->trailers.metadata[i].key, "etag") == 0) {
			grpc_slice value = unary->trailers.metadata[i].value;
			return strndup((const char *)GRPC_SLICE_START_PTR(value),
			    GRPC_SLICE_LENGTH(value));
		}
	return NULL;
}

static int call_unary(incus_client *client, const SchemaMethod *method, const void *in,
    int timeout_ms, void **ret, char **ret_etag, incus_error **err)
{
	g_autofree ProtobufCMessage *empty = NULL;
	if (!in) {
		empty = g_malloc0(method->input->sizeof_message);
		method->input->message_init(empty);
		in = empty;
	}
	Unary unary = { .queue = grpc_completion_queue_create_for_pluck(NULL) };
	gpr_timespec deadline = deadline_in(timeout_ms);
	if (unary_start(client, method, in, timeout_ms > 0 ? &deadline : NULL, &unary))
		grpc_completion_queue_pluck(
		    unary.queue, &unary, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
	int result = unary_result(&unary, method, ret, err);
	if (ret_etag)
		*ret_etag = result == 0 ? unary_etag(&unary) : NULL;
	unary_clear(&unary);
	queue_end(unary.queue);
	return result;
}

int call_unary_within(incus_client *client, const SchemaMethod *method, const void *in,
    int timeout_ms, void **ret, incus_error **err)
{
	return call_unary(client, method, in, timeout_ms, ret, NULL, err);
}

void call_unary_all(CallEntry *calls, size_t n, const SchemaMethod *method, int timeout_ms)
{
	g_autofree Unary *unaries = g_new0(Unary, n);
	grpc_completion_queue *queue = grpc_completion_queue_create_for_next(NULL);
	gpr_timespec deadline = deadline_in(timeout_ms);
	size_t running = 0;
	for (size_t i = 0; i < n; i++) {
		unaries[i].queue = queue;
		running += unary_start(
		    calls[i].client, method, calls[i].in, &deadline, &unaries[i]);
	}
	/* Their order means nothing: each has ended by its deadline. */
	for (; running > 0; running--)
		grpc_completion_queue_next(queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
	for (size_t i = 0; i < n; i++) {
		unary_result(&unaries[i], method, &calls[i].reply, &calls[i].error);
		unary_clear(&unaries[i]);
	}
	queue_end(queue);
}

int incus_call_unary(incus_client *client, const struct SchemaMethod *method, const void *in,
    void **ret, incus_error **err)
{
	return call_unary(client, method, in, 0, ret, NULL, err);
}

int incus_call_unary_etag(incus_client *client, const struct SchemaMethod *method, const void *in,
    void **ret, char **ret_etag, incus_error **err)
{
	return call_unary(client, method, in, 0, ret, ret_etag, err);
}
