/* Commands: one on each Exec stream, reached by Control beside it. */
#include "incus/v1/agent_handlers.h"
#include "sdk/base/own.h"
#include "server/agent/agent.h"
#include <signal.h>
#include <sys/eventfd.h>

enum { ARGUMENTS_MAX = 4096 };

typedef struct Running {
	uint64_t id;
	Stream *stream;
	ExecProcess process;
	int stop_fd;
	gint ended; /* atomic: the status has been sent */
} Running;

/* id -> Running, borrowed. */
static GMutex table_lock;
static GHashTable *table;

static int add(Running *running, Error **err)
{
	int result = 0;
	g_mutex_lock(&table_lock);
	if (!table)
		table = g_hash_table_new(g_int64_hash, g_int64_equal);
	if (g_hash_table_contains(table, &running->id))
		result = error_set(err, ERROR_EXISTS, "A command with this id runs");
	else
		g_hash_table_add(table, running); /* the id is its first member */
	g_mutex_unlock(&table_lock);
	return result;
}

static void drop(Running *running)
{
	g_mutex_lock(&table_lock);
	g_hash_table_remove(table, running);
	g_mutex_unlock(&table_lock);
}

int agent_control(
    Request *rq, const Pb__AgentControlRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	int result = 0;
	g_mutex_lock(&table_lock);
	Running *running = table ? g_hash_table_lookup(table, &in->id) : NULL;
	if (!running)
		result = error_set(err, ERROR_NOT_FOUND, "The command has ended");
	else if (in->what_case == PB__AGENT_CONTROL_REQUEST__WHAT_SIGNAL)
		exec_signal(&running->process, in->signal);
	else if (in->what_case == PB__AGENT_CONTROL_REQUEST__WHAT_RESIZE)
		exec_resize(&running->process, (int)MIN(in->resize->width, G_MAXUINT16),
		    (int)MIN(in->resize->height, G_MAXUINT16));
	g_mutex_unlock(&table_lock);
	return result;
}

static int send_output(void *data, int which, const uint8_t *bytes, size_t length)
{
	Running *running = data;
	Pb__ExecInstanceOutput message = PB__EXEC_INSTANCE_OUTPUT__INIT;
	ProtobufCBinaryData binary = { length, (uint8_t *)bytes };
	message.message_case = which == 1 ? PB__EXEC_INSTANCE_OUTPUT__MESSAGE_OUTPUT :
					    PB__EXEC_INSTANCE_OUTPUT__MESSAGE_ERROR;
	if (which == 1)
		message.output = binary;
	else
		message.error = binary;
	return stream_send(running->stream, &message, NULL);
}

static int send_started(Running *running, Error **err)
{
	Pb__ExecInstanceOutput message = PB__EXEC_INSTANCE_OUTPUT__INIT;
	Pb__ExecStarted started = PB__EXEC_STARTED__INIT;
	started.pid = running->process.pid;
	message.message_case = PB__EXEC_INSTANCE_OUTPUT__MESSAGE_STARTED;
	message.started = &started;
	return stream_send(running->stream, &message, err);
}

static int send_status(Running *running, int code, Error **err)
{
	Pb__ExecInstanceOutput message = PB__EXEC_INSTANCE_OUTPUT__INIT;
	message.message_case = PB__EXEC_INSTANCE_OUTPUT__MESSAGE_EXIT_CODE;
	message.exit_code = code;
	return stream_send(running->stream, &message, err);
}

static void end_input(Running *running)
{
	if (running->process.pty || running->process.input < 0)
		return;
	close(running->process.input);
	running->process.input = -1;
}

/* Until the host half-closes; one that has gone leaves its command to be killed. */
static gpointer take_input(gpointer data)
{
	Running *running = data;
	const void *message;
	int got;
	while ((got = stream_recv(running->stream, -1, &message, NULL)) == 1) {
		const Pb__AgentExecInput *input = message;
		if (input->message_case == PB__AGENT_EXEC_INPUT__MESSAGE_INPUT)
			exec_write(&running->process, input->input.data, input->input.len,
			    running->stop_fd);
		else if (input->message_case == PB__AGENT_EXEC_INPUT__MESSAGE_INPUT_EOF)
			end_input(running);
	}
	if (got < 0 && !g_atomic_int_get(&running->ended))
		exec_signal(&running->process, SIGKILL);
	return NULL;
}

static int attend(Running *running, Error **err)
{
	int code = -1;
	guint64 one = 1;
	g_autoptr(Error) failure = NULL;
	GThread *thread = g_thread_new("exec-input", take_input, running);
	int result = send_started(running, &failure);
	if (result < 0)
		exec_signal(&running->process, SIGKILL);
	if (exec_pump(&running->process, send_output, running, &code, failure ? NULL : &failure) <
	    0)
		result = -1;
	g_atomic_int_set(&running->ended, 1);
	if (write(running->stop_fd, &one, sizeof(one)) < 0)
		g_warn_if_reached();
	if (result == 0)
		result = send_status(running, code, &failure);
	/* Either wakes the thread. */
	if (result < 0)
		stream_cancel(running->stream);
	else
		stream_close_send(running->stream, NULL);
	g_thread_join(thread);
	return result < 0 ? error_propagate(err, g_steal_pointer(&failure)) : 0;
}

static int start(Running *running, const Pb__InstanceExecPost *post, Error **err)
{
	if (!post || !post->n_command || !*post->command[0] || post->n_command > ARGUMENTS_MAX ||
	    post->n_environment > ARGUMENTS_MAX)
		return error_set(err, ERROR_INVALID, "No command was given, or a too long one");
	g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);
	for (size_t i = 0; i < post->n_environment; i++)
		g_ptr_array_add(lines,
		    g_strdup_printf(
			"%s=%s", post->environment[i]->key, post->environment[i]->value));
	g_ptr_array_add(lines, NULL);
	ProcessSpec spec = { .name = "",
		.lxcpath = "",
		.cgroup = "",
		.cwd = post->cwd,
		.command = post->command,
		.n_command = post->n_command,
		.environment = (char *const *)lines->pdata,
		.user = post->user,
		.group = post->group,
		.interactive = post->interactive,
		.width = post->width,
		.height = post->height };
	return process_start(agent_spawner(), &spec, NULL, &running->process, err);
}

int agent_exec(Request *rq, const Pb__AgentExecInput *in, Stream *stream, Error **err)
{
	if (in->message_case != PB__AGENT_EXEC_INPUT__MESSAGE_COMMAND)
		return error_set(err, ERROR_INVALID, "The first message must say what to run");
	Running running = { .id = in->command->id,
		.stream = stream,
		.process = EXEC_PROCESS_INIT,
		.stop_fd = eventfd(0, EFD_CLOEXEC) };
	int result = start(&running, in->command->exec, err);
	if (result == 0 && (result = add(&running, err)) < 0)
		exec_signal(&running.process, SIGKILL);
	if (result == 0) {
		result = attend(&running, err);
		drop(&running);
	}
	exec_process_close(&running.process);
	close(running.stop_fd);
	return result;
}
