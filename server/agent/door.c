/* The gRPC server: calls of the host, each on a thread of its own. */
#include "incus/v1/agent_handlers.h"
#include "incus/v1/agent_schema.h"
#include "server/agent/agent.h"
#include "server/rpc/grpc_call.h"
#include <grpc/grpc_posix.h>
#include <grpc/grpc_security.h>
#include <grpc/support/log.h>
#include <stdlib.h>
#include <string.h>

enum {
	CALLS_MAX = 128, /* at once */
	MESSAGE_MAX = 1 << 20,
	FIRST_MESSAGE_MS = 30000,
};

extern const Method agent_methods[];

static grpc_server *server;
static grpc_completion_queue *queue; /* new calls */
static grpc_server_credentials *credentials;
static gint calls; /* atomic: that run */

static void arm(void)
{
	GrpcCall *call = grpc_call_new();
	if (grpc_server_request_call(server, &call->call, &call->details, &call->metadata,
		call->queue, queue, call) != GRPC_CALL_OK)
		grpc_call_free(call);
}

static const Method *find_method(grpc_slice path)
{
	for (int i = 0; i < AGENT_METHODS; i++)
		if (!grpc_slice_str_cmp(path, agent_methods[i].schema->path))
			return &agent_methods[i];
	return NULL;
}

static int serve_method(GrpcCall *call, const Method *method, grpc_slice *ret_reply, Error **err)
{
	ProtobufCMessage *in;
	call->stream.input = method->schema->input;
	call->stream.output = method->schema->output;
	if (grpc_call_first(call, method->schema->input, FIRST_MESSAGE_MS, &in, err) < 0)
		return -1;
	if (method->stream)
		return method->stream(&call->rq, in, &call->stream, err);
	ProtobufCMessage *out = arena_alloc(call->arena, method->schema->output->sizeof_message);
	protobuf_c_message_init(method->schema->output, out);
	if (method->unary(&call->rq, in, out, err) < 0)
		return -1;
	*ret_reply = grpc_call_pack(out);
	return 1;
}

static gpointer serve(gpointer data)
{
	GrpcCall *call = data;
	g_autoptr(Error) err = NULL;
	grpc_slice reply = grpc_empty_slice();
	call->arena = arena_new();
	call->stream.arena = call->arena;
	call->rq = (Request){ .arena = call->arena, .door = call, .deadline_us = G_MAXINT64 };
	grpc_call_watch(call);
	const Method *method = find_method(call->details.method);
	int result = -1;
	if (!method)
		error_set(&err, ERROR_UNSUPPORTED, "This agent does not know the call");
	else if (g_atomic_int_get(&calls) > CALLS_MAX)
		error_set(&err, ERROR_UNAVAILABLE, "Too many calls at once");
	else
		result = serve_method(call, method, &reply, &err);
	grpc_call_finish(call, result == 1 ? &reply : NULL, result < 0 ? err : NULL);
	grpc_slice_unref(reply);
	grpc_call_free(call);
	g_atomic_int_add(&calls, -1);
	return NULL;
}

static gpointer accept_calls(gpointer data)
{
	for (;;) {
		grpc_event event = grpc_completion_queue_next(
		    queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
		if (event.type != GRPC_OP_COMPLETE)
			return NULL;
		arm();
		if (!event.success) {
			grpc_call_free(event.tag);
			continue;
		}
		g_atomic_int_inc(&calls);
		g_thread_unref(g_thread_new("call", serve, event.tag));
	}
}

static void log_nothing(gpr_log_func_args *args)
{
}

static grpc_arg integer(const char *key, int value)
{
	return (grpc_arg){ .type = GRPC_ARG_INTEGER, .key = (char *)key, .value.integer = value };
}

int door_start(Error **err)
{
	grpc_arg list[] = {
		integer("grpc.max_receive_message_length", MESSAGE_MAX),
		integer("grpc.http2.bdp_probe", 0),
		integer("grpc.http2.lookahead_bytes", 1 << 20),
		integer("grpc.max_concurrent_streams", CALLS_MAX),
	};
	grpc_channel_args args = { G_N_ELEMENTS(list), list };
	if (!getenv("GRPC_VERBOSITY"))
		gpr_set_log_function(log_nothing);
	grpc_init();
	credentials = grpc_insecure_server_credentials_create();
	server = grpc_server_create(&args, NULL);
	queue = grpc_completion_queue_create_for_next(NULL);
	grpc_server_register_completion_queue(server, queue, NULL);
	grpc_server_start(server);
	arm();
	g_thread_unref(g_thread_new("door", accept_calls, NULL));
	return 0;
}

void door_add(int fd)
{
	grpc_server_add_channel_from_fd(server, fd, credentials);
}
