/* Streams of all four kinds over one gRPC call: the status, a send and a recv may each be pending.
 */
#include <incus/call.h>
#include "sdk/client.h"
#include <grpc/grpc.h>
#include <grpc/support/time.h>
#include <string.h>

/* Tags of the completion queue. */
enum { TAG_STATUS = 1, TAG_HEADERS, TAG_SEND, TAG_RECV };

struct incus_stream {
	incus_client *client;
	const SchemaMethod *method;
	grpc_call *call;
	grpc_completion_queue *queue;
	GMutex send_lock, recv_lock, status_lock;
	grpc_metadata_array headers, trailers;
	grpc_byte_buffer *received;
	grpc_status_code status;
	grpc_slice details;
	gboolean headers_pending, recv_pending, closed, done; /* done: the status is here */
};

static void *tag(int number)
{
	return GINT_TO_POINTER(number);
}

/* TRUE when the operation succeeded; *ret_timeout when it is still pending. */
static gboolean wait_for(incus_stream *stream, int number, int timeout_ms, gboolean *ret_timeout)
{
	gpr_timespec deadline = gpr_inf_future(GPR_CLOCK_REALTIME);
	if (timeout_ms >= 0)
		deadline = gpr_time_add(
		    gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(timeout_ms, GPR_TIMESPAN));
	grpc_event event = grpc_completion_queue_pluck(stream->queue, tag(number), deadline, NULL);
	if (ret_timeout)
		*ret_timeout = event.type == GRPC_QUEUE_TIMEOUT;
	return event.type == GRPC_OP_COMPLETE && event.success;
}

static int start_batch(incus_stream *stream, grpc_op *ops, size_t n_ops, int number)
{
	return grpc_call_start_batch(stream->call, ops, n_ops, tag(number), NULL) == GRPC_CALL_OK ?
	    0 :
	    -1;
}

/* Waits for the final status. */
static int final_status(incus_stream *stream, incus_error **err)
{
	g_mutex_lock(&stream->status_lock);
	if (!stream->done) {
		wait_for(stream, TAG_STATUS, -1, NULL);
		stream->done = TRUE;
	}
	g_mutex_unlock(&stream->status_lock);
	return call_status(stream->status, stream->details, &stream->trailers, err);
}

static int stream_start(incus_stream *stream, const CallStart *start)
{
	grpc_op status = { .op = GRPC_OP_RECV_STATUS_ON_CLIENT };
	status.data.recv_status_on_client.trailing_metadata = &stream->trailers;
	status.data.recv_status_on_client.status = &stream->status;
	status.data.recv_status_on_client.status_details = &stream->details;
	if (start_batch(stream, &status, 1, TAG_STATUS) < 0) {
		stream->done = TRUE;
		return -1;
	}
	grpc_op headers[2] = { { .op = GRPC_OP_SEND_INITIAL_METADATA },
		{ .op = GRPC_OP_RECV_INITIAL_METADATA } };
	headers[0].data.send_initial_metadata.count = start->n_entries;
	headers[0].data.send_initial_metadata.metadata = (grpc_metadata *)start->entries;
	headers[1].data.recv_initial_metadata.recv_initial_metadata = &stream->headers;
	int result = start_batch(stream, headers, 2, TAG_HEADERS);
	stream->headers_pending = result == 0;
	return result;
}

int incus_stream_open(incus_client *client, const struct SchemaMethod *method, const void *first,
    incus_stream **ret, incus_error **err)
{
	g_autofree ProtobufCMessage *empty = NULL;
	if (!first && method->kind == METHOD_SERVER_STREAM) {
		empty = g_malloc0(method->input->sizeof_message);
		method->input->message_init(empty);
		first = empty;
	}
	incus_stream *stream = g_new0(incus_stream, 1);
	stream->client = client;
	stream->method = method;
	g_mutex_init(&stream->send_lock);
	g_mutex_init(&stream->recv_lock);
	g_mutex_init(&stream->status_lock);
	grpc_metadata_array_init(&stream->headers);
	grpc_metadata_array_init(&stream->trailers);
	stream->details = grpc_empty_slice();
	stream->status = GRPC_STATUS_INTERNAL;
	stream->queue = grpc_completion_queue_create_for_pluck(NULL);
	CallStart start;
	call_start_init(client, method, &start);
	stream->call = grpc_channel_create_call(client_channel(client), NULL,
	    GRPC_PROPAGATE_DEFAULTS, stream->queue, grpc_slice_from_static_string(method->path),
	    NULL, start.deadline, NULL);
	int result = stream_start(stream, &start);
	call_start_clear(&start);
	if (result < 0) {
		sdk_error(err, ERROR_INTERNAL, "Cannot start %s", method->name);
	} else if (first) {
		/* A refusal shows in recv, with its reason: a failed first send is not the error.
		 */
		incus_stream_send(stream, first, NULL);
		if (method->kind == METHOD_SERVER_STREAM)
			incus_stream_close_send(stream, NULL);
	}
	if (result < 0) {
		incus_stream_free(stream);
		return -1;
	}
	*ret = stream;
	return 0;
}

static int ended(incus_error **err)
{
	return sdk_error(err, ERROR_CANCELLED, "The server has ended the stream");
}

int stream_send_within(
    incus_stream *stream, const void *message, int timeout_ms, incus_error **err)
{
	grpc_byte_buffer *buffer = call_pack(stream->client, message);
	gboolean late = FALSE;
	g_mutex_lock(&stream->send_lock);
	int result = -1;
	if (!stream->closed) {
		grpc_op op = { .op = GRPC_OP_SEND_MESSAGE };
		op.data.send_message.send_message = buffer;
		if (start_batch(stream, &op, 1, TAG_SEND) == 0 &&
		    wait_for(stream, TAG_SEND, timeout_ms, &late))
			result = 0;
		if (late) {
			grpc_call_cancel(stream->call, NULL);
			wait_for(stream, TAG_SEND, -1, NULL);
		}
	}
	g_mutex_unlock(&stream->send_lock);
	grpc_byte_buffer_destroy(buffer);
	if (late)
		return sdk_error(err, ERROR_TIMEOUT, "Nothing was taken in %d ms", timeout_ms);
	return result < 0 ? ended(err) : 0;
}

int incus_stream_send(incus_stream *stream, const void *message, incus_error **err)
{
	return stream_send_within(stream, message, -1, err);
}

int incus_stream_close_send(incus_stream *stream, incus_error **err)
{
	g_mutex_lock(&stream->send_lock);
	int result = 0;
	if (!stream->closed) {
		grpc_op op = { .op = GRPC_OP_SEND_CLOSE_FROM_CLIENT };
		stream->closed = TRUE;
		if (start_batch(stream, &op, 1, TAG_SEND) < 0 ||
		    !wait_for(stream, TAG_SEND, -1, NULL))
			result = -1;
	}
	g_mutex_unlock(&stream->send_lock);
	return result < 0 ? ended(err) : 0;
}

/* 1: received is set; 0: the stream ended; -1: timeout. Under recv_lock. */
static int recv_buffer(incus_stream *stream, int timeout_ms)
{
	if (!stream->recv_pending) {
		grpc_op op = { .op = GRPC_OP_RECV_MESSAGE };
		op.data.recv_message.recv_message = &stream->received;
		if (start_batch(stream, &op, 1, TAG_RECV) < 0)
			return 0;
		stream->recv_pending = TRUE;
	}
	gboolean timeout = FALSE;
	gboolean ok = wait_for(stream, TAG_RECV, timeout_ms, &timeout);
	if (timeout)
		return -1;
	stream->recv_pending = FALSE;
	return ok && stream->received;
}

int incus_stream_recv(incus_stream *stream, int timeout_ms, void **ret, incus_error **err)
{
	g_mutex_lock(&stream->recv_lock);
	int got = recv_buffer(stream, timeout_ms);
	grpc_byte_buffer *buffer = got > 0 ? stream->received : NULL;
	if (got >= 0)
		stream->received = NULL;
	g_mutex_unlock(&stream->recv_lock);
	if (got < 0)
		return sdk_error(err, ERROR_TIMEOUT, "Nothing came in %d ms", timeout_ms);
	if (!buffer)
		return final_status(stream, err);
	ProtobufCMessage *message = call_unpack(stream->method->output, buffer, err);
	grpc_byte_buffer_destroy(buffer);
	if (!message)
		return -1;
	*ret = message;
	return 1;
}

int incus_stream_finish(incus_stream *stream, void **ret, incus_error **err)
{
	void *reply = NULL;
	incus_stream_close_send(stream, NULL);
	int got = incus_stream_recv(stream, -1, &reply, err);
	if (got == 0)
		return sdk_error(err, ERROR_INTERNAL, "The server ended %s without a reply",
		    stream->method->name);
	if (got < 0 || final_status(stream, err) < 0) {
		incus_message_free(reply);
		return -1;
	}
	if (ret)
		*ret = reply;
	else
		incus_message_free(reply);
	return 0;
}

void incus_stream_cancel(incus_stream *stream)
{
	grpc_call_cancel(stream->call, NULL);
}

void incus_stream_free(incus_stream *stream)
{
	if (!stream)
		return;
	if (!stream->done)
		grpc_call_cancel(stream->call, NULL);
	final_status(stream, NULL);
	if (stream->headers_pending)
		wait_for(stream, TAG_HEADERS, -1, NULL);
	if (stream->recv_pending)
		wait_for(stream, TAG_RECV, -1, NULL);
	grpc_byte_buffer_destroy(stream->received);
	grpc_call_unref(stream->call);
	grpc_completion_queue_shutdown(stream->queue);
	grpc_completion_queue_destroy(stream->queue);
	grpc_metadata_array_destroy(&stream->headers);
	grpc_metadata_array_destroy(&stream->trailers);
	grpc_slice_unref(stream->details);
	g_mutex_clear(&stream->send_lock);
	g_mutex_clear(&stream->recv_lock);
	g_mutex_clear(&stream->status_lock);
	g_free(stream);
}
