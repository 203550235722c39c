#include "server/rpc/grpc.h"
#include "sdk/base/log.h"
#include "server/rpc/access.h"
#include "server/rpc/decode.h"
#include "server/rpc/etag.h"
#include "server/rpc/field.h"
#include "server/rpc/grpc_call.h"
#include "server/rpc/identity.h"
#include "server/rpc/worker.h"
#include <grpc/grpc_posix.h>
#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum {
	MESSAGE_MAX = 16 * 1024 * 1024,
	WINDOW = 1024 * 1024,
	SOCKET_BUFFER = 1024 * 1024,
	ARMED = 32,
	FIRST_MESSAGE_MS = 60000,
	STOP_MS = 10000
};

struct GrpcDoor {
	Daemon *daemon;
	grpc_server *server;
	grpc_completion_queue *queue;   /* new calls; every worker waits here */
	grpc_server_credentials *credentials;
	Workers workers;
	GMutex lock;
	GCond stopped;
	gboolean is_stopped;
	GHashTable *peers;              /* fd -> Peer */
	StreamOps ops;                  /* with files */
};

/* Who is behind a descriptor that gRPC core owns. Core keeps it open for as long as one of its
 * calls lives (each stream holds the transport, the transport the endpoint), so the number that
 * grpc_call_get_peer() tells cannot have become another connection's. */
typedef struct Peer {
	Caller *caller;
	ino_t inode;                    /* of the socket: tells dead entries */
} Peer;

static void peer_free(gpointer data)
{
	Peer *peer = data;
	caller_free(peer->caller);
	g_free(peer);
}

static gboolean peer_is_dead(gpointer key, gpointer value, gpointer data)
{
	struct stat info;
	return fstat(GPOINTER_TO_INT(key), &info) < 0 || info.st_ino != ((Peer *)value)->inode;
}

void grpc_door_add(GrpcDoor *door, int fd, Caller *caller)
{
	struct stat info = { 0 };
	Peer *peer = g_new0(Peer, 1);
	fstat(fd, &info);
	/* Several chunks fit: fewer turns between the two processes. A refusal only costs speed. */
	int buffer = SOCKET_BUFFER;
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
	peer->caller = caller;
	peer->inode = info.st_ino;
	g_mutex_lock(&door->lock);
	if (g_hash_table_size(door->peers) % 64 == 63)
		g_hash_table_foreach_remove(door->peers, peer_is_dead, NULL);
	g_hash_table_replace(door->peers, GINT_TO_POINTER(fd), peer);
	g_mutex_unlock(&door->lock);
	grpc_server_add_channel_from_fd(door->server, fd, door->credentials);
}

/* A copy for the call; strangers where the peer is unknown. */
static Caller *find_caller(GrpcDoor *door, grpc_call *call)
{
	char *name = grpc_call_get_peer(call);
	int fd = -1;
	Caller *caller = NULL;
	if (name && sscanf(name, "fd:%d", &fd) == 1) {
		g_mutex_lock(&door->lock);
		Peer *peer = g_hash_table_lookup(door->peers, GINT_TO_POINTER(fd));
		if (peer) {
			Caller *fresh = identity_refresh(door->daemon, peer->caller);
			if (fresh) {
				caller_free(peer->caller);
				peer->caller = fresh;
			}
			caller = caller_copy(peer->caller);
		}
		g_mutex_unlock(&door->lock);
	}
	gpr_free(name);
	return caller ? caller : identity_tls_caller(door->daemon, NULL, 0, "");
}

static int64_t deadline_us(gpr_timespec deadline)
{
	gpr_timespec mono = gpr_convert_clock_type(deadline, GPR_CLOCK_MONOTONIC);
	if (gpr_time_cmp(mono, gpr_inf_future(GPR_CLOCK_MONOTONIC)) == 0)
		return G_MAXINT64;
	return mono.tv_sec * G_USEC_PER_SEC + mono.tv_nsec / 1000;
}

static char *slice_text(Arena *arena, grpc_slice slice)
{
	return arena_strndup(
	    arena, (const char *)GRPC_SLICE_START_PTR(slice), GRPC_SLICE_LENGTH(slice));
}

static const char *find_metadata(GrpcCall *call, const char *name)
{
	for (size_t i = 0; i < call->metadata.count; i++)
		if (!grpc_slice_str_cmp(call->metadata.metadata[i].key, name))
			return slice_text(call->arena, call->metadata.metadata[i].value);
	return NULL;
}

static void destroy_caller(void *data)
{
	caller_free(data);
}

static void fill_request(GrpcDoor *door, GrpcCall *call)
{
	Caller *caller = find_caller(door, call->call);
	call->arena = arena_new();
	arena_defer(call->arena, destroy_caller, caller);
	call->stream.arena = call->arena;
	call->rq = (Request){
		.caller = caller,
		.project = "default",
		.target = "",
		.if_match = find_metadata(call, "if-match"),
		.host = slice_text(call->arena, call->details.host),
		.deadline_us = deadline_us(call->details.deadline),
		.arena = call->arena,
		.daemon = door->daemon,
		.door = call,
	};
}

/* The first message of the call, decoded. */
static int read_first(
    GrpcCall *call, const SchemaMethod *schema, ProtobufCMessage **ret_in, Error **err)
{
	int result = grpc_call_first(call, schema->input, FIRST_MESSAGE_MS, ret_in, err);
	if (result == 0)
		decode_body_message(schema, *ret_in, call->arena);
	return result;
}

static int check_shutdown(GrpcDoor *door, const SchemaMethod *schema, Error **err)
{
	gboolean harmless = (schema->http_verb && !strcmp(schema->http_verb, "GET")) ||
	    (schema->http_path && g_str_has_prefix(schema->http_path, "/internal/")) ||
	    strstr(schema->path, ".OperationService/");
	if (g_atomic_int_get(&door->daemon->shutting_down) && !harmless)
		return error_set(err, ERROR_UNAVAILABLE, "Shutting down");
	return 0;
}

/* Uploads may carry data in their first message: the handler finds it again with its first recv. */
static void keep_first_data(GrpcCall *call, const SchemaMethod *schema, const ProtobufCMessage *in)
{
	const ProtobufCFieldDescriptor *field = field_data(schema->input);
	if (field && (schema->kind == METHOD_CLIENT_STREAM || schema->kind == METHOD_BIDI) &&
	    ((const ProtobufCBinaryData *)field_at(in, field))->len)
		call->replay = in;
}

static int serve_method(
    GrpcDoor *door, GrpcCall *call, const Method *method, grpc_slice *ret_reply, Error **err)
{
	const SchemaMethod *schema = method->schema;
	ProtobufCMessage *in;
	call->rq.method = method;
	call->stream.input = schema->input;
	call->stream.output = schema->output;
	if (check_shutdown(door, schema, err) < 0 || read_first(call, schema, &in, err) < 0)
		return -1;
	decode_request(&call->rq, in);
	if (access_check(&call->rq, err) < 0)
		return -1;
	if (method->unary) {
		ProtobufCMessage *out = field_new_message(call->arena, schema->output);
		if (method->unary(&call->rq, in, out, err) < 0)
			return -1;
		if (schema->etag && schema->http_verb && strcmp(schema->http_verb, "GET") == 0)
			etag_hash(schema->etag, out, call->etag);
		*ret_reply = grpc_call_pack(out);
		return 1;
	}
	keep_first_data(call, schema, in);
	if (worker_stream_begin(err) < 0)
		return -1;
	int result = method->stream(&call->rq, in, &call->stream, err);
	worker_stream_end();
	/* A client stream owes its client one message. */
	if (result == 0 && schema->kind == METHOD_CLIENT_STREAM && !call->opened) {
		*ret_reply = grpc_call_pack(field_new_message(call->arena, schema->output));
		return 1;
	}
	return result;
}

static void serve(GrpcDoor *door, GrpcCall *call)
{
	g_autoptr(Error) err = NULL;
	grpc_slice reply = grpc_empty_slice();
	fill_request(door, call);
	grpc_call_watch(call);
	const char *path = slice_text(call->arena, call->details.method);
	const SchemaMethod *schema = schema_method_by_path(path);
	if (!schema && grpc_builtin_serve(call, path)) {
		grpc_call_free(call);
		return;
	}
	int result = schema ?
	    serve_method(door, call, &methods[schema - schema_methods], &reply, &err) :
	    error_set(&err, ERROR_UNSUPPORTED, "Method \"%s\" not found", path);
	grpc_call_finish(call, result == 1 ? &reply : NULL, result < 0 ? err : NULL);
	grpc_slice_unref(reply);
	grpc_call_free(call);
}

/* --- accepting calls --- */

static void arm_call(GrpcDoor *door)
{
	GrpcCall *call = grpc_call_new();
	call->stream.ops = &door->ops;
	if (grpc_server_request_call(door->server, &call->call, &call->details, &call->metadata,
		call->queue, door->queue, call) != GRPC_CALL_OK)
		grpc_call_free(call);
}

static gboolean step(Workers *workers)
{
	GrpcDoor *door = workers->data;
	gpr_timespec until = gpr_time_add(
	    gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(WORKERS_IDLE_MS, GPR_TIMESPAN));
	workers_idle(workers);
	grpc_event event = grpc_completion_queue_next(door->queue, until, NULL);
	gboolean work = event.type == GRPC_OP_COMPLETE && event.tag != door && event.success;
	workers_woke(workers, work);
	if (event.type == GRPC_QUEUE_SHUTDOWN) {
		g_usleep(1000); /* stopping is about to be set */
	} else if (event.type == GRPC_OP_COMPLETE && event.tag == door) {
		g_mutex_lock(&door->lock);
		door->is_stopped = TRUE;
		g_cond_broadcast(&door->stopped);
		g_mutex_unlock(&door->lock);
	} else if (event.type == GRPC_OP_COMPLETE && !event.success) {
		grpc_call_free(event.tag);
	} else if (work) {
		arm_call(door);
		serve(door, event.tag);
	}
	return work;
}

static grpc_arg integer(const char *key, int value)
{
	return (grpc_arg){ .type = GRPC_ARG_INTEGER, .key = (char *)key, .value.integer = value };
}

int grpc_door_start(Daemon *daemon, GrpcDoor **ret_door, Error **err)
{
	GrpcDoor *door = g_new0(GrpcDoor, 1);
	grpc_arg list[] = {
		integer("grpc.max_receive_message_length", MESSAGE_MAX),
		integer("grpc.max_send_message_length", -1),
		/* The probe would let the windows grow without need: 26 MB instead of 120-300 MB.
		 */
		integer("grpc.http2.bdp_probe", 0),
		integer("grpc.http2.lookahead_bytes", WINDOW),
		integer("grpc.http2.max_frame_size", STREAM_CHUNK + 1024),
		integer("grpc.experimental.tcp_read_chunk_size", STREAM_CHUNK),
		integer("grpc.max_concurrent_streams", 1024),
		integer("grpc.keepalive_permit_without_calls", 1),
		integer("grpc.http2.min_ping_interval_without_data_ms", 5000),
		integer("grpc.http2.max_pings_without_data", 0),
	};
	grpc_channel_args args = { G_N_ELEMENTS(list), list };

	grpc_init();
	door->daemon = daemon;
	door->ops = grpc_stream_ops;
	door->ops.send_file = grpc_send_file;
	door->ops.recv_file = grpc_receive_file;
	g_mutex_init(&door->lock);
	g_cond_init(&door->stopped);
	door->peers = g_hash_table_new_full(NULL, NULL, NULL, peer_free);
	door->credentials = grpc_insecure_server_credentials_create();
	door->server = grpc_server_create(&args, NULL);
	door->queue = grpc_completion_queue_create_for_next(NULL);
	grpc_server_register_completion_queue(door->server, door->queue, NULL);
	grpc_server_start(door->server);
	for (int i = 0; i < ARMED; i++)
		arm_call(door);
	*ret_door = door;
	return workers_start(&door->workers, "grpc", step, door, err);
}

static void wake(void *data)
{
}

void grpc_door_stop(GrpcDoor *door)
{
	if (!door)
		return;
	grpc_server_shutdown_and_notify(door->server, door->queue, door);
	grpc_server_cancel_all_calls(door->server);
	int64_t until = g_get_monotonic_time() + (int64_t)STOP_MS * 1000;
	g_mutex_lock(&door->lock);
	while (!door->is_stopped && g_cond_wait_until(&door->stopped, &door->lock, until))
		;
	gboolean clean = door->is_stopped;
	g_mutex_unlock(&door->lock);
	if (!clean) {
		log_warn("gRPC calls are still running");
		return; /* the process ends; nothing may be freed under them */
	}
	grpc_completion_queue_shutdown(door->queue);
	workers_stop(&door->workers, wake);
	grpc_server_destroy(door->server);
	grpc_completion_queue_destroy(door->queue);
	grpc_server_credentials_release(door->credentials);
	g_hash_table_unref(door->peers);
	g_mutex_clear(&door->lock);
	g_cond_clear(&door->stopped);
	g_free(door);
	grpc_shutdown();
}
