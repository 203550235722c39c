#include "server/rpc/grpc_call.h"
#include "sdk/base/wire.h"
#include "server/rpc/wire_out.h"
#include <grpc/byte_buffer_reader.h>
#include <grpc/support/alloc.h>
#include <string.h>

/* Tags on the call's queue. */
static char tag_receive, tag_send, tag_status, tag_close;

enum { SEND_LIMIT_S = 300 };

static gpr_timespec after_ms(int64_t ms)
{
	return ms < 0 ?
	    gpr_inf_future(GPR_CLOCK_MONOTONIC) :
	    gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(ms, GPR_TIMESPAN));
}

static grpc_event pluck(GrpcCall *call, void *tag, int64_t ms)
{
	return grpc_completion_queue_pluck(call->queue, tag, after_ms(ms), NULL);
}

static gboolean call_cancelled(const Door *door)
{
	GrpcCall *call = (GrpcCall *)door;
	if (g_atomic_int_get(&call->cancel_asked))
		return TRUE;
	if (!g_mutex_trylock(&call->closing))
		return FALSE;
	if (!call->closed && pluck(call, &tag_close, 0).type == GRPC_OP_COMPLETE)
		call->closed = TRUE;
	gboolean cancelled = call->closed && call->cancelled;
	g_mutex_unlock(&call->closing);
	return cancelled;
}

GrpcCall *grpc_call_new(void)
{
	GrpcCall *call = g_new0(GrpcCall, 1);
	call->door.cancelled = call_cancelled;
	call->stream.ops = &grpc_stream_ops;
	call->queue = grpc_completion_queue_create_for_pluck(NULL);
	grpc_call_details_init(&call->details);
	grpc_metadata_array_init(&call->metadata);
	g_mutex_init(&call->sending);
	g_mutex_init(&call->closing);
	return call;
}

void grpc_call_watch(GrpcCall *call)
{
	grpc_op op = { .op = GRPC_OP_RECV_CLOSE_ON_SERVER,
		.data.recv_close_on_server.cancelled = &call->cancelled };
	if (grpc_call_start_batch(call->call, &op, 1, &tag_close, NULL) != GRPC_CALL_OK)
		call->closed = TRUE;
}

void grpc_call_free(GrpcCall *call)
{
	if (call->call) {
		static const Error unanswered = { ERROR_INTERNAL,
			(char *)"The call was not answered" };
		if (!call->finished)
			grpc_call_finish(call, NULL, &unanswered);
		if (call->receiving) {
			/* The client may never end its side: it has its answer, so end it here. */
			if (pluck(call, &tag_receive, 1000).type == GRPC_QUEUE_TIMEOUT) {
				grpc_call_cancel(call->call, NULL);
				pluck(call, &tag_receive, -1);
			}
			grpc_byte_buffer_destroy(call->received);
		}
		if (!call->closed && pluck(call, &tag_close, 1000).type == GRPC_QUEUE_TIMEOUT) {
			grpc_call_cancel(call->call, NULL);
			pluck(call, &tag_close, -1);
		}
		grpc_call_unref(call->call);
	}
	grpc_completion_queue_shutdown(call->queue);
	grpc_completion_queue_destroy(call->queue);
	grpc_call_details_destroy(&call->details);
	grpc_metadata_array_destroy(&call->metadata);
	arena_free(call->arena);
	arena_free(call->message_arena);
	g_mutex_clear(&call->sending);
	g_mutex_clear(&call->closing);
	g_free(call);
}

/* --- receiving --- */

int grpc_call_receive(GrpcCall *call, int timeout_ms, grpc_byte_buffer **ret_bytes, Error **err)
{
	if (call->receive_ended)
		return 0;
	if (g_atomic_int_get(&call->cancel_asked))
		return error_set(err, ERROR_CANCELLED, "Cancelled");
	if (!call->receiving) {
		grpc_op op = { .op = GRPC_OP_RECV_MESSAGE,
			.data.recv_message.recv_message = &call->received };
		call->received = NULL;
		if (grpc_call_start_batch(call->call, &op, 1, &tag_receive, NULL) != GRPC_CALL_OK)
			return error_set(err, ERROR_INTERNAL, "Failed to receive");
		call->receiving = TRUE;
	}
	grpc_event event = pluck(call, &tag_receive, timeout_ms);
	if (event.type == GRPC_QUEUE_TIMEOUT)
		return error_set(err, ERROR_TIMEOUT, "Client sent nothing in time");
	call->receiving = FALSE;
	if (event.success && call->received) {
		*ret_bytes = call->received;
		return 1;
	}
	call->receive_ended = TRUE;
	if (g_atomic_int_get(&call->cancel_asked) || !event.success ||
	    grpc_call_failed_before_recv_message(call->call))
		return error_set(err, ERROR_CANCELLED, "Cancelled by the client");
	return 0;
}

int grpc_call_decode(const ProtobufCMessageDescriptor *descriptor, grpc_byte_buffer *bytes,
    Arena *arena, ProtobufCMessage **ret_message, Error **err)
{
	grpc_byte_buffer_reader reader;
	if (!grpc_byte_buffer_reader_init(&reader, bytes))
		return error_set(err, ERROR_INVALID, "Malformed message");
	grpc_slice slice = grpc_byte_buffer_reader_readall(&reader);
	grpc_byte_buffer_reader_destroy(&reader);
	const uint8_t *data = GRPC_SLICE_START_PTR(slice);
	size_t length = GRPC_SLICE_LENGTH(slice);
	int result = wire_check(descriptor, data, length, err);
	if (result == 0) {
		*ret_message = protobuf_c_message_unpack(
		    descriptor, arena_allocator(arena), length, data);
		if (!*ret_message)
			result = error_set(
			    err, ERROR_INVALID, "Malformed \"%s\"", descriptor->name);
	}
	grpc_slice_unref(slice);
	return result;
}

static int stream_receive(Stream *stream, int timeout_ms, const void **ret_message, Error **err)
{
	GrpcCall *call = grpc_call_of(stream);
	grpc_byte_buffer *bytes;
	ProtobufCMessage *message;
	if (call->replay) {
		*ret_message = g_steal_pointer(&call->replay);
		return 1;
	}
	int got = grpc_call_receive(call, timeout_ms, &bytes, err);
	if (got <= 0)
		return got;
	arena_free(call->message_arena);
	call->message_arena = arena_new();
	int result = grpc_call_decode(stream->input, bytes, call->message_arena, &message, err);
	grpc_byte_buffer_destroy(bytes);
	if (result < 0)
		return -1;
	*ret_message = message;
	return 1;
}

/* --- sending --- */

static grpc_op op_initial_metadata(void)
{
	return (grpc_op){ .op = GRPC_OP_SEND_INITIAL_METADATA };
}

/* Runs a batch of send operations; the caller holds `sending`. */
static int send_batch(GrpcCall *call, const grpc_op *ops, size_t n, Error **err)
{
	if (g_atomic_int_get(&call->cancel_asked))
		return error_set(err, ERROR_CANCELLED, "Cancelled");
	if (grpc_call_start_batch(call->call, ops, n, &tag_send, NULL) != GRPC_CALL_OK)
		return error_set(err, ERROR_CANCELLED, "Call is over");
	grpc_event event = pluck(call, &tag_send, SEND_LIMIT_S * 1000);
	if (event.type == GRPC_QUEUE_TIMEOUT) {
		grpc_call_cancel(call->call, NULL);
		event = pluck(call, &tag_send, -1);
	}
	return event.success ? 0 : error_set(err, ERROR_CANCELLED, "Cancelled by the client");
}

static int stream_open_call(Stream *stream, Error **err)
{
	GrpcCall *call = grpc_call_of(stream);
	grpc_op op = op_initial_metadata();
	int result = 0;
	g_mutex_lock(&call->sending);
	if (!call->opened) {
		call->opened = TRUE;
		result = send_batch(call, &op, 1, err);
	}
	g_mutex_unlock(&call->sending);
	return result;
}

int grpc_call_first(GrpcCall *call, const ProtobufCMessageDescriptor *descriptor, int timeout_ms,
    ProtobufCMessage **ret_message, Error **err)
{
	grpc_byte_buffer *bytes;
	int got = grpc_call_receive(call, timeout_ms, &bytes, err);
	if (got == 0)
		return error_set(err, ERROR_INVALID, "The call has no message");
	if (got < 0)
		return -1;
	int result = grpc_call_decode(descriptor, bytes, call->arena, ret_message, err);
	grpc_byte_buffer_destroy(bytes);
	return result;
}

int grpc_call_send(GrpcCall *call, grpc_slice payload, Error **err)
{
	grpc_op ops[2];
	size_t n = 0;
	grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&payload, 1);
	grpc_slice_unref(payload);
	g_mutex_lock(&call->sending);
	if (!call->opened)
		ops[n++] = op_initial_metadata();
	call->opened = TRUE;
	ops[n++] = (grpc_op){ .op = GRPC_OP_SEND_MESSAGE,
		.data.send_message.send_message = buffer };
	int result = send_batch(call, ops, n, err);
	g_mutex_unlock(&call->sending);
	grpc_byte_buffer_destroy(buffer);
	return result;
}

grpc_slice grpc_call_pack(const ProtobufCMessage *message)
{
	grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(message));
	protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
	return slice;
}

/* google.rpc.Status with one google.rpc.ErrorInfo: the kind of error comes back exact. */
static grpc_slice pack_details(const Error *err)
{
	g_autoptr(GByteArray) info = g_byte_array_new(), any = g_byte_array_new(),
			      status = g_byte_array_new();
	wire_out_string(info, 1, error_row(err->kind)->name);
	wire_out_string(info, 2, "incus");
	wire_out_string(any, 1, "type.googleapis.com/google.rpc.ErrorInfo");
	wire_out_bytes(any, 2, info->data, info->len);
	wire_out_varint_field(status, 1, (uint64_t)error_row(err->kind)->grpc_status);
	wire_out_string(status, 2, err->message);
	wire_out_bytes(status, 3, any->data, any->len);
	return grpc_slice_from_copied_buffer((const char *)status->data, status->len);
}

void grpc_call_finish(GrpcCall *call, const grpc_slice *reply, const Error *err)
{
	grpc_op ops[3];
	size_t n = 0;
	grpc_byte_buffer *buffer = NULL;
	grpc_metadata trailer = { 0 };
	grpc_slice text = grpc_empty_slice();

	g_mutex_lock(&call->sending);
	if (call->finished) { /* by stream_close_send */
		g_mutex_unlock(&call->sending);
		return;
	}
	call->finished = TRUE;
	if (!call->opened)
		ops[n++] = op_initial_metadata();
	call->opened = TRUE;
	if (reply && !err) {
		grpc_slice copy = *reply;
		buffer = grpc_raw_byte_buffer_create(&copy, 1);
		ops[n++] = (grpc_op){ .op = GRPC_OP_SEND_MESSAGE,
			.data.send_message.send_message = buffer };
	}
	grpc_op status = { .op = GRPC_OP_SEND_STATUS_FROM_SERVER };
	if (err) {
		trailer.key = grpc_slice_from_static_string("grpc-status-details-bin");
		trailer.value = pack_details(err);
		text = grpc_slice_from_copied_string(err->message);
		status.data.send_status_from_server.trailing_metadata = &trailer;
		status.data.send_status_from_server.trailing_metadata_count = 1;
		status.data.send_status_from_server.status =
		    (grpc_status_code)error_row(err->kind)->grpc_status;
		status.data.send_status_from_server.status_details = &text;
	} else if (*call->etag) {
		trailer.key = grpc_slice_from_static_string("etag");
		trailer.value = grpc_slice_from_copied_string(call->etag);
		status.data.send_status_from_server.trailing_metadata = &trailer;
		status.data.send_status_from_server.trailing_metadata_count = 1;
	}
	ops[n++] = status;
	if (grpc_call_start_batch(call->call, ops, n, &tag_status, NULL) == GRPC_CALL_OK &&
	    pluck(call, &tag_status, SEND_LIMIT_S * 1000).type == GRPC_QUEUE_TIMEOUT) {
		grpc_call_cancel(call->call, NULL);
		pluck(call, &tag_status, -1);
	}
	g_mutex_unlock(&call->sending);
	if (buffer)
		grpc_byte_buffer_destroy(buffer);
	if (err || *call->etag)
		grpc_slice_unref(trailer.value);
	grpc_slice_unref(text);
}

static int stream_send_message(Stream *stream, const ProtobufCMessage *message, Error **err)
{
	return grpc_call_send(grpc_call_of(stream), grpc_call_pack(message), err);
}

static void stream_cancel_call(Stream *stream)
{
	GrpcCall *call = grpc_call_of(stream);
	g_atomic_int_set(&call->cancel_asked, 1);
	grpc_call_cancel(call->call, NULL);
}

/* A server's half-close is its status; core then ends the client's side, which wakes recv. */
static int stream_close_call(Stream *stream, Error **err)
{
	grpc_call_finish(grpc_call_of(stream), NULL, NULL);
	return 0;
}

const StreamOps grpc_stream_ops = {
	.open = stream_open_call,
	.send = stream_send_message,
	.recv = stream_receive,
	.cancel = stream_cancel_call,
	.close_send = stream_close_call,
};
