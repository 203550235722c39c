/*
 * For the tsan build only, as tsan_glib.c: what is given to gRPC core with a tag happens before the
 * thread that takes the tag from a completion queue.
 */
#include <dlfcn.h>
#include <grpc/grpc.h>
#include <sanitizer/tsan_interface.h>

grpc_call_error grpc_server_request_call(grpc_server *server, grpc_call **call,
    grpc_call_details *details, grpc_metadata_array *metadata, grpc_completion_queue *bound,
    grpc_completion_queue *notify, void *tag)
{
	__typeof__(&grpc_server_request_call) next;
	*(void **)&next = dlsym(RTLD_NEXT, "grpc_server_request_call");
	__tsan_release(tag);
	return next(server, call, details, metadata, bound, notify, tag);
}

grpc_event grpc_completion_queue_next(
    grpc_completion_queue *queue, gpr_timespec deadline, void *reserved)
{
	__typeof__(&grpc_completion_queue_next) next;
	*(void **)&next = dlsym(RTLD_NEXT, "grpc_completion_queue_next");
	grpc_event event = next(queue, deadline, reserved);
	if (event.type == GRPC_OP_COMPLETE) /* else the tag is undefined */
		__tsan_acquire(event.tag);
	return event;
}
