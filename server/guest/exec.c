/*
 * Two threads carry the streams of one command: one takes what the guest sends, until the status;
 * one sends input, until there is no more or the command has ended.
 */
#include "server/guest/exec.h"
#include "sdk/base/arena.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "server/guest/call.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>

enum {
	CONTROL_MS = 5000, /* for a signal or a new size */
	KILLED_MS = 10000, /* from SIGKILL to the status */
	INPUT_CHUNK = 64 * 1024,
};

typedef struct Command {
	ProcessRemote remote; /* first */
	GuestLink *link;
	incus_stream *stream;
	uint64_t id;
	int input, output, error; /* our ends; input and output are two of one pty's socket */
	int status;		  /* where process->socket waits */
	int stop_fd;
	GMutex lock;
	GCond changed;
	gboolean ended;
} Command;

static void command_destroy(ProcessRemote *remote)
{
	Command *c = (Command *)remote;
	int fds[] = { c->input, c->output, c->error, c->status, c->stop_fd };
	incus_stream_free(c->stream);
	for (gsize i = 0; i < G_N_ELEMENTS(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	guest_link_unref(c->link);
	g_mutex_clear(&c->lock);
	g_cond_clear(&c->changed);
	g_free(c);
}

/* --- beside the stream --- */

/* A guest that does not answer, or does not end what was killed, loses the stream: all ends. */
static int control(Command *c, const Pb__AgentControlRequest *in)
{
	g_autoptr(Error) err = NULL;
	if (guest_call(c->link, AGENT_CONTROL, in, CONTROL_MS, NULL, &err) == 0 ||
	    err->kind == ERROR_NOT_FOUND)
		return 0;
	incus_stream_cancel(c->stream);
	return -1;
}

static gpointer wait_killed(gpointer data)
{
	Command *c = data;
	gint64 until = g_get_monotonic_time() + KILLED_MS * (gint64)1000;
	g_mutex_lock(&c->lock);
	while (!c->ended && g_cond_wait_until(&c->changed, &c->lock, until))
		;
	gboolean ended = c->ended;
	g_mutex_unlock(&c->lock);
	if (!ended)
		incus_stream_cancel(c->stream);
	process_remote_unref(&c->remote);
	return NULL;
}

static void command_signal(ProcessRemote *remote, int signal_number)
{
	Command *c = (Command *)remote;
	Pb__AgentControlRequest in = PB__AGENT_CONTROL_REQUEST__INIT;
	in.id = c->id;
	in.what_case = PB__AGENT_CONTROL_REQUEST__WHAT_SIGNAL;
	in.signal = signal_number;
	if (control(c, &in) < 0 || signal_number != SIGKILL)
		return;
	process_remote_ref(remote);
	g_thread_unref(g_thread_new("exec-killed", wait_killed, c));
}

static void command_resize(ProcessRemote *remote, int columns, int rows)
{
	Command *c = (Command *)remote;
	Pb__AgentControlRequest in = PB__AGENT_CONTROL_REQUEST__INIT;
	Pb__WindowSize size = PB__WINDOW_SIZE__INIT;
	size.width = (uint32_t)columns;
	size.height = (uint32_t)rows;
	in.id = c->id;
	in.what_case = PB__AGENT_CONTROL_REQUEST__WHAT_RESIZE;
	in.resize = &size;
	control(c, &in);
}

/* --- streams --- */

static gboolean write_output(Command *c, const Pb__ExecInstanceOutput *message)
{
	gboolean error = message->message_case == PB__EXEC_INSTANCE_OUTPUT__MESSAGE_ERROR;
	int fd = error ? c->error : c->output;
	const ProtobufCBinaryData *data = error ? &message->error : &message->output;
	/* Standard error of a terminal is none. A reader that has gone wants no more. */
	return fd < 0 || file_write_all(fd, data->data, data->len) == 0;
}

/* The command's exit code; -1: the stream ended without. */
static int take_output(Command *c)
{
	Pb__ExecInstanceOutput *message;
	int code = -1;
	while (code < 0 && incus_stream_recv(c->stream, -1, (void **)&message, NULL) == 1) {
		gboolean goes_on = TRUE;
		switch (message->message_case) {
		case PB__EXEC_INSTANCE_OUTPUT__MESSAGE_OUTPUT:
		case PB__EXEC_INSTANCE_OUTPUT__MESSAGE_ERROR:
			goes_on = write_output(c, message);
			break;
		case PB__EXEC_INSTANCE_OUTPUT__MESSAGE_EXIT_CODE:
			code = message->exit_code & 0xff;
			break;
		default:
			break;
		}
		incus_message_free(message);
		if (!goes_on)
			break;
	}
	return code;
}

static gpointer carry_output(gpointer data)
{
	Command *c = data;
	int code = take_output(c);
	if (code < 0)
		incus_stream_cancel(c->stream);
	g_mutex_lock(&c->lock);
	c->ended = TRUE;
	g_cond_broadcast(&c->changed);
	g_mutex_unlock(&c->lock);
	if (code >= 0) {
		Packet *packet = packet_new(0);
		packet->n[0] = code << 8; /* as wait() tells it */
		packet_send(c->status, packet);
		packet_free(packet);
	}
	shutdown(c->status, SHUT_RDWR);
	eventfd_write(c->stop_fd, 1);
	guest_busy(c->link, FALSE);
	process_remote_unref(&c->remote);
	return NULL;
}

static int send_input(Command *c, const uint8_t *bytes, size_t length)
{
	Pb__AgentExecInput in = PB__AGENT_EXEC_INPUT__INIT;
	in.message_case = PB__AGENT_EXEC_INPUT__MESSAGE_INPUT;
	in.input = (ProtobufCBinaryData){ length, (uint8_t *)bytes };
	if (length == 0) {
		in.message_case = PB__AGENT_EXEC_INPUT__MESSAGE_INPUT_EOF;
		in.input_eof = TRUE;
	}
	return incus_stream_send(c->stream, &in, NULL);
}

/* 1: something came; 0: no more does; -1: the command has ended, or its caller has gone. */
static int wait_input(Command *c, gboolean open)
{
	struct pollfd polls[] = {
		{ .fd = open ? c->input : -1, .events = POLLIN },
		{ .fd = c->stop_fd, .events = POLLIN },
		{ .fd = c->status }, /* hangs up when the process is closed */
	};
	while (poll(polls, 3, -1) < 0)
		if (errno != EINTR)
			return -1;
	return polls[1].revents || polls[2].revents ? -1 : 1;
}

static gpointer carry_input(gpointer data)
{
	Command *c = data;
	g_autofree uint8_t *buffer = g_malloc(INPUT_CHUNK);
	gboolean open = c->input >= 0;
	if (!open)
		send_input(c, NULL, 0);
	while (wait_input(c, open) > 0) {
		ssize_t n = read(c->input, buffer, INPUT_CHUNK);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		/* When the guest has ended the stream, what it sent before is still to be read. */
		open = send_input(c, buffer, (size_t)MAX(n, 0)) == 0 && n > 0;
	}
	g_mutex_lock(&c->lock);
	gboolean ended = c->ended;
	g_mutex_unlock(&c->lock);
	if (!ended) /* nobody is there to take the status */
		incus_stream_cancel(c->stream);
	process_remote_unref(&c->remote);
	return NULL;
}

/* --- starting --- */

/* "KEY=value" as entries of a message. */
static void fill_environment(Arena *arena, char *const *lines, Pb__InstanceExecPost *out)
{
	size_t n = g_strv_length((char **)lines);
	out->environment = arena_alloc(arena, (n + 1) * sizeof(void *));
	out->n_environment = 0;
	for (; *lines; lines++) {
		Pb__InstanceExecPost__EnvironmentEntry *entry = arena_message(arena,
		    Pb__InstanceExecPost__EnvironmentEntry,
		    pb__instance_exec_post__environment_entry);
		const char *equals = strchr(*lines, '=');
		if (!equals)
			continue;
		entry->key = arena_strndup(arena, *lines, (size_t)(equals - *lines));
		entry->value = arena_strdup(arena, equals + 1);
		out->environment[out->n_environment++] = entry;
	}
}

static int open_stream(Command *c, const Pb__InstanceExecPost *post, char *const *environment,
    pid_t *ret_pid, Error **err)
{
	g_autoptr(Arena) arena = arena_new();
	incus_error *error = NULL;
	Pb__ExecInstanceOutput *first = NULL;
	Pb__InstanceExecPost exec = *post;
	Pb__AgentCommand command = PB__AGENT_COMMAND__INIT;
	Pb__AgentExecInput in = PB__AGENT_EXEC_INPUT__INIT;
	const char *home = g_environ_getenv((char **)environment, "HOME");
	if (!*exec.cwd)
		exec.cwd = (char *)(home ? home : "/");
	fill_environment(arena, environment, &exec);
	command.id = c->id;
	command.exec = &exec;
	in.message_case = PB__AGENT_EXEC_INPUT__MESSAGE_COMMAND;
	in.command = &command;
	if (incus_stream_open(
		c->link->client, &schema_agent_methods[AGENT_EXEC], &in, &c->stream, &error) < 0 ||
	    incus_stream_recv(c->stream, GUEST_CALL_MS, (void **)&first, &error) != 1)
		return guest_fail(error, err);
	gboolean started = first->message_case == PB__EXEC_INSTANCE_OUTPUT__MESSAGE_STARTED;
	*ret_pid = started ? MAX(0, first->started->pid) : 0;
	incus_message_free(first);
	return started ? 0 : error_set(err, ERROR_INTERNAL, "The VM agent started no command");
}

static void set_nonblocking(int fd)
{
	if (fd >= 0)
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static int make_terminal(Command *c, ExecProcess *process, Error **err)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot make a socket");
	process->input = process->output = pair[0];
	c->input = pair[1];
	c->output = fcntl(pair[1], F_DUPFD_CLOEXEC, 0);
	process->pty = TRUE;
	set_nonblocking(process->input);
	return 0;
}

static int make_streams(
    Command *c, gboolean terminal, const int *output_fds, ExecProcess *process, Error **err)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot make a socket");
	process->socket = pair[0];
	c->status = pair[1];
	if (terminal)
		return make_terminal(c, process, err);
	if (output_fds) {
		c->output = fcntl(output_fds[0], F_DUPFD_CLOEXEC, 0);
		c->error = fcntl(output_fds[1], F_DUPFD_CLOEXEC, 0);
		return 0;
	}
	if (process_make_pipe(&c->input, &process->input, err) < 0 ||
	    process_make_pipe(&process->output, &c->output, err) < 0 ||
	    process_make_pipe(&process->error, &c->error, err) < 0)
		return -1;
	set_nonblocking(process->input);
	set_nonblocking(process->output);
	set_nonblocking(process->error);
	return 0;
}

static Command *command_new(GuestLink *link)
{
	Command *c = g_new0(Command, 1);
	c->remote = (ProcessRemote){ .refs = 1,
		.signal = command_signal,
		.resize = command_resize,
		.destroy = command_destroy };
	c->link = link;
	c->input = c->output = c->error = c->status = -1;
	c->stop_fd = eventfd(0, EFD_CLOEXEC);
	g_mutex_init(&c->lock);
	g_cond_init(&c->changed);
	if (getrandom(&c->id, sizeof(c->id), 0) != sizeof(c->id))
		c->id = (uint64_t)g_get_monotonic_time();
	return c;
}

int guest_exec(Guest *guest, const Pb__InstanceExecPost *post, char *const *environment,
    const int *output_fds, ExecProcess *ret_process, Error **err)
{
	GuestLink *link;
	ExecProcess process = EXEC_PROCESS_INIT;
	if (guest_link(guest, &link, err) < 0)
		return -1;
	Command *c = command_new(link);
	process.remote = &c->remote;
	if (make_streams(c, post->interactive, output_fds, &process, err) < 0 ||
	    open_stream(c, post, environment, &process.pid, err) < 0) {
		exec_process_close(&process);
		return error_prefix(err, "Failed to run the command");
	}
	guest_busy(link, TRUE);
	process_remote_ref(&c->remote);
	g_thread_unref(g_thread_new("exec-output", carry_output, c));
	process_remote_ref(&c->remote);
	g_thread_unref(g_thread_new("exec-input", carry_input, c));
	*ret_process = process;
	return 0;
}
