/* Handlers of ExecService. */
#include "incus/v1/handlers.h"
#include "server/daemon.h"
#include "server/instance/exec_operation.h"
#include "server/instance/exec_session.h"
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

int api_start_exec(Request *rq, const Pb__StartExecRequest *in, Pb__Operation *out, Error **err)
{
	g_autoptr(Instance) instance = NULL;
	if (instance_get(rq->daemon, rq->project, in->name, &instance, err) < 0 ||
	    exec_session_create(rq, instance, in->exec, out, err) < 0)
		return -1;
	instance_event(instance, "instance-exec", NULL, rq->caller);
	return 0;
}

/* One command on one gRPC stream: this thread sends output, another takes what the client sends. */
typedef struct Attached {
	Stream *stream;
	ExecProcess process;
	int stop_fd;
	gint ended; /* atomic: the status has been sent */
} Attached;

static int send_output(void *data, int which, const uint8_t *bytes, size_t length)
{
	Attached *attached = data;
	Pb__ExecInstanceOutput message = PB__EXEC_INSTANCE_OUTPUT__INIT;
	ProtobufCBinaryData binary = {length, (uint8_t *)bytes};
	message.message_case = which == 1 ? PB__EXEC_INSTANCE_OUTPUT__MESSAGE_OUTPUT
					  : PB__EXEC_INSTANCE_OUTPUT__MESSAGE_ERROR;
	if (which == 1)
		message.output = binary;
	else
		message.error = binary;
	return stream_send(attached->stream, &message, NULL);
}

static void take(Attached *attached, const Pb__ExecInstanceInput *message)
{
	ExecProcess *process = &attached->process;
	switch (message->message_case) {
	case PB__EXEC_INSTANCE_INPUT__MESSAGE_INPUT:
		exec_write(process, message->input.data, message->input.len, attached->stop_fd);
		break;
	case PB__EXEC_INSTANCE_INPUT__MESSAGE_INPUT_EOF:
		if (!process->pty && process->input >= 0) {
			close(process->input);
			process->input = -1;
		}
		break;
	case PB__EXEC_INSTANCE_INPUT__MESSAGE_RESIZE:
		exec_resize(process, (int)message->resize->width, (int)message->resize->height);
		break;
	case PB__EXEC_INSTANCE_INPUT__MESSAGE_SIGNAL:
		exec_signal(process, message->signal);
		break;
	default:
		break;
	}
}

/* Until the client half-closes or the status is sent; a client that has gone before leaves its
 * command to be killed. */
static gpointer take_input(gpointer data)
{
	Attached *attached = data;
	const void *message;
	int got;
	while ((got = stream_recv(attached->stream, -1, &message, NULL)) == 1)
		take(attached, message);
	if (got < 0 && !g_atomic_int_get(&attached->ended))
		exec_signal(&attached->process, SIGKILL);
	return NULL;
}

static int send_started(Attached *attached, Error **err)
{
	Pb__ExecInstanceOutput message = PB__EXEC_INSTANCE_OUTPUT__INIT;
	Pb__ExecStarted started = PB__EXEC_STARTED__INIT;
	started.pid = attached->process.pid;
	message.message_case = PB__EXEC_INSTANCE_OUTPUT__MESSAGE_STARTED;
	message.started = &started;
	return stream_send(attached->stream, &message, err);
}

static int send_status(Attached *attached, int code, Error **err)
{
	Pb__ExecInstanceOutput message = PB__EXEC_INSTANCE_OUTPUT__INIT;
	message.message_case = PB__EXEC_INSTANCE_OUTPUT__MESSAGE_EXIT_CODE;
	message.exit_code = code;
	return stream_send(attached->stream, &message, err);
}

static int attach(Attached *attached, Instance *instance, Operation *op, Error **err)
{
	int code = -1;
	guint64 one = 1;
	g_autoptr(Error) failure = NULL;
	GThread *thread = g_thread_new("exec-input", take_input, attached);
	int result = send_started(attached, &failure);
	if (result < 0)
		exec_signal(&attached->process, SIGKILL);
	if (exec_pump(&attached->process, send_output, attached, &code, failure ? NULL : &failure) <
	    0)
		result = -1;
	exec_moved(instance, &result, &code, &failure);
	g_autofree char *words = exec_moved_words(instance, code);
	if (result == 0 && words)
		send_output(attached, attached->process.pty ? 1 : 2, (const uint8_t *)words,
		    strlen(words));
	/* Before the client knows: it may look at the operation next. */
	exec_operation_end(op, result, code, failure);
	g_atomic_int_set(&attached->ended, 1);
	if (write(attached->stop_fd, &one, sizeof(one)) < 0)
		g_warn_if_reached();
	if (result == 0)
		result = send_status(attached, code, &failure);
	/* Either wakes the thread: the client need not half-close. */
	if (result < 0)
		stream_cancel(attached->stream);
	else
		stream_close_send(attached->stream, NULL);
	g_thread_join(thread);
	return result < 0 ? error_propagate(err, g_steal_pointer(&failure)) : 0;
}

static int run(Request *rq, Instance *instance, const Pb__InstanceExecPost *post,
    Attached *attached, Error **err)
{
	g_autoptr(Operation) op = NULL;
	if (exec_start(instance, post, NULL, &attached->process, err) < 0)
		return -1;
	if (exec_operation_begin(rq, instance, post, &attached->process, &op, err) < 0) {
		exec_signal(&attached->process, SIGKILL);
		return -1;
	}
	instance_event(instance, "instance-exec", NULL, rq->caller);
	return attach(attached, instance, op, err);
}

int api_exec_instance(Request *rq, const Pb__ExecInstanceInput *in, Stream *stream, Error **err)
{
	g_autoptr(Instance) instance = NULL;
	if (in->message_case != PB__EXEC_INSTANCE_INPUT__MESSAGE_START || !in->start->exec)
		return error_set(err, ERROR_INVALID, "The first message must say what to run");
	const char *project = *in->start->project ? in->start->project : rq->project;
	if (!caller_has_project(rq->caller, project))
		return error_set(err, ERROR_FORBIDDEN, "not authorized");
	if (instance_get(rq->daemon, project, in->start->name, &instance, err) < 0)
		return -1;
	Attached attached = {.stream = stream, .process = EXEC_PROCESS_INIT,
	    .stop_fd = eventfd(0, EFD_CLOEXEC)};
	int result = run(rq, instance, in->start->exec, &attached, err);
	exec_process_close(&attached.process);
	close(attached.stop_fd);
	return result;
}
