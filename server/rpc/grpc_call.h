#pragma once
/*
 * One gRPC call on the server: its queue, messages in and out, status. Private to server/rpc.
 */
#include "server/daemon.h"
#include "server/rpc/door.h"
#include "server/rpc/method.h"
#include "server/rpc/stream_ops.h"
#include <grpc/grpc.h>
#include <stddef.h>

typedef struct GrpcCall {
	Door door;                  /* first: rq.door points here */
	Stream stream;              /* after it: found again by offset */
	grpc_call *call;
	grpc_call_details details;
	grpc_metadata_array metadata;
	grpc_completion_queue *queue; /* the call's own: plucked by its handler */
	Request rq;
	Arena *arena;
	/* Receiving. */
	grpc_byte_buffer *received;
	gboolean receiving, receive_ended;
	Arena *message_arena;       /* of the message handed out last */
	const void *replay; /* the first message, when it carries data: recv gives it once more */
	/* Sending. */
	GMutex sending;
	gboolean opened, finished;
	char etag[65]; /* goes with the status of a call that went well; "": none */
	int64_t send_wait_us;
	/* The client's end. */
	GMutex closing;
	gboolean closed;            /* RECV_CLOSE has come; under `closing` */
	int cancelled;              /* filled by core */
	gint cancel_asked;          /* atomic */
} GrpcCall;

GrpcCall *grpc_call_new(void);
/* After it has arrived: watches for its end. */
void grpc_call_watch(GrpcCall *call);
/* Sends the status when that has not been done, waits for core to let go, frees. */
void grpc_call_free(GrpcCall *call);

/* Raw bytes of the next message: 1 (the caller destroys *ret_bytes), 0 at the end, -1. */
int grpc_call_receive(GrpcCall *call, int timeout_ms, grpc_byte_buffer **ret_bytes, Error **err);
/* Scans and unpacks into `arena`. */
int grpc_call_decode(const ProtobufCMessageDescriptor *descriptor, grpc_byte_buffer *bytes,
    Arena *arena, ProtobufCMessage **ret_message, Error **err);
/* The first message, which every call has, into the call's arena. */
int grpc_call_first(GrpcCall *call, const ProtobufCMessageDescriptor *descriptor, int timeout_ms,
    ProtobufCMessage **ret_message, Error **err);
/* Takes the slice. */
int grpc_call_send(GrpcCall *call, grpc_slice payload, Error **err);
/* Sends the status, once; err NULL: OK; reply NULL: none. */
void grpc_call_finish(GrpcCall *call, const grpc_slice *reply, const Error *err);
grpc_slice grpc_call_pack(const ProtobufCMessage *message);

static inline GrpcCall *grpc_call_of(Stream *stream)
{
	return (GrpcCall *)((char *)stream - offsetof(GrpcCall, stream));
}

/* Messages alone: what a new call has. */
extern const StreamOps grpc_stream_ops;

/* grpc_file.c: send_file and recv_file of streams. */
int grpc_send_file(Stream *stream, int fd, uint64_t offset, uint64_t length, Error **err);
int grpc_receive_file(
    Stream *stream, int fd, uint64_t limit, uint64_t *ret_written, Error **err);

/* Reflection and health: TRUE when `path` was theirs and the call is finished. */
gboolean grpc_builtin_serve(GrpcCall *call, const char *path);
