#include "server/helper/process.h"
#include "sdk/base/own.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>

#define CHUNK (256 * 1024)
#define PIPE_SIZE (1024 * 1024)

ProcessRemote *process_remote_ref(ProcessRemote *remote)
{
	if (remote)
		g_atomic_int_inc(&remote->refs);
	return remote;
}

void process_remote_unref(ProcessRemote *remote)
{
	if (remote && g_atomic_int_dec_and_test(&remote->refs))
		remote->destroy(remote);
}

static Packet *build_request(const ProcessSpec *spec, const int fds[3])
{
	Packet *packet = packet_new(SPAWN_EXEC);
	packet_add(packet, spec->name);
	packet_add(packet, spec->lxcpath);
	packet_add(packet, spec->cgroup);
	packet_add(packet, spec->cwd);
	for (size_t i = 0; i < spec->n_command; i++)
		packet_add(packet, spec->command[i]);
	for (char *const *line = spec->environment; *line; line++, packet->n[1]++)
		packet_add(packet, *line);
	packet->n[0] = (int64_t)spec->n_command;
	packet->n[2] = spec->user;
	packet->n[3] = spec->group;
	packet->n[4] = spec->interactive;
	packet->n[5] = CLAMP(spec->width, 0, 65535);
	packet->n[6] = CLAMP(spec->height, 0, 65535);
	for (int i = 0; i < 3 && !spec->interactive; i++)
		packet_add_fd(packet, fds[i]);
	return packet;
}

int process_make_pipe(int *ret_read, int *ret_write, Error **err)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot make a pipe");
	fcntl(fds[1], F_SETPIPE_SZ, PIPE_SIZE);
	*ret_read = fds[0];
	*ret_write = fds[1];
	return 0;
}

static void set_nonblocking(int fd)
{
	if (fd >= 0)
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

int process_start(Spawner *spawner, const ProcessSpec *spec, const int *output_fds,
    ExecProcess *ret_process, Error **err)
{
	autofd int in_read = -1, in_write = -1, out_read = -1, out_write = -1, err_read = -1,
		   err_write = -1;
	if (!spec->interactive && output_fds) {
		in_read = open("/dev/null", O_RDONLY | O_CLOEXEC);
		out_write = fcntl(output_fds[0], F_DUPFD_CLOEXEC, 0);
		err_write = fcntl(output_fds[1], F_DUPFD_CLOEXEC, 0);
	} else if (!spec->interactive &&
	    (process_make_pipe(&in_read, &in_write, err) < 0 ||
		process_make_pipe(&out_read, &out_write, err) < 0 ||
		process_make_pipe(&err_read, &err_write, err) < 0)) {
		return -1;
	}
	int socket = -1;
	int fds[] = { in_read, out_write, err_write };
	SpawnerCall call = { .ret_socket = &socket };
	g_autoptr(Packet) answer = NULL;
	if (spawner_call(spawner, build_request(spec, fds), &call, &answer, err) < 0)
		return error_prefix(err, "Failed to run the command");
	ret_process->pid = (pid_t)answer->n[0];
	ret_process->socket = socket;
	ret_process->pidfd = packet_take_fd(answer, 0);
	ret_process->pty = spec->interactive;
	if (spec->interactive)
		ret_process->input = ret_process->output = packet_take_fd(answer, 1);
	else
		ret_process->input = own_steal_fd(&in_write);
	if (!spec->interactive)
		ret_process->output = own_steal_fd(&out_read);
	ret_process->error = own_steal_fd(&err_read);
	set_nonblocking(ret_process->input);
	set_nonblocking(ret_process->output);
	set_nonblocking(ret_process->error);
	return 0;
}

void exec_process_close(ExecProcess *process)
{
	int fds[] = { process->pidfd, process->socket, process->input,
		process->output == process->input ? -1 : process->output, process->error };
	for (gsize i = 0; i < G_N_ELEMENTS(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	process_remote_unref(process->remote);
	*process = (ExecProcess)EXEC_PROCESS_INIT;
}

void exec_signal(ExecProcess *process, int signal_number)
{
	if (signal_number <= 0 || signal_number >= NSIG)
		return;
	if (process->remote)
		process->remote->signal(process->remote, signal_number);
	else if (process->pidfd >= 0)
		syscall(SYS_pidfd_send_signal, process->pidfd, signal_number, NULL, 0);
}

void exec_resize(ExecProcess *process, int columns, int rows)
{
	struct winsize size = { .ws_col = (unsigned short)CLAMP(columns, 0, 65535),
		.ws_row = (unsigned short)CLAMP(rows, 0, 65535) };
	if (process->remote)
		process->remote->resize(process->remote, size.ws_col, size.ws_row);
	else if (process->pty)
		ioctl(process->output, TIOCSWINSZ, &size);
}

int exec_status(ExecProcess *process, int *ret_code, Error **err)
{
	g_autoptr(Packet) packet = packet_new(0);
	int got = spawner_receive(process->socket, -1, packet, err);
	if (got < 0)
		return -1;
	if (got == 0)
		return error_set(err, ERROR_INTERNAL, "The command's status was lost");
	int status = (int)packet->n[0];
	*ret_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	return 0;
}

void exec_write(ExecProcess *process, const void *data, size_t length, int stop_fd)
{
	const uint8_t *bytes = data;
	while (length > 0 && process->input >= 0) {
		ssize_t n = write(process->input, bytes, length);
		if (n >= 0) {
			bytes += n;
			length -= (size_t)n;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return;
		struct pollfd polls[] = { { .fd = process->input, .events = POLLOUT },
			{ .fd = stop_fd, .events = POLLIN } };
		if (poll(polls, 2, -1) < 0 && errno != EINTR)
			return;
		if (polls[1].revents)
			return;
	}
}

typedef struct Pump {
	ExecProcess *process;
	ExecSink sink;
	void *data;
	uint8_t *buffer;
	gboolean open[2]; /* output, error */
	gboolean sink_gone;
} Pump;

/* Takes what is readable now from one of the two; to_end: until nothing is left. */
static void pump_one(Pump *pump, int index, gboolean to_end)
{
	int fd = index == 0 ? pump->process->output : pump->process->error;
	while (pump->open[index]) {
		ssize_t n = read(fd, pump->buffer, CHUNK);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) { /* EIO: the last holder of the pty is gone */
			pump->open[index] = FALSE;
			return;
		}
		if (!pump->sink_gone &&
		    pump->sink(pump->data, index + 1, pump->buffer, (size_t)n) < 0) {
			pump->sink_gone = TRUE;
			exec_signal(pump->process, SIGKILL);
		}
		if (!to_end)
			return;
	}
}

int exec_pump(ExecProcess *process, ExecSink sink, void *data, int *ret_code, Error **err)
{
	g_autofree uint8_t *buffer = g_malloc(CHUNK);
	Pump pump = { .process = process,
		.sink = sink,
		.data = data,
		.buffer = buffer,
		.open = { process->output >= 0, process->error >= 0 } };
	for (;;) {
		struct pollfd polls[] = {
			{ .fd = pump.open[0] ? process->output : -1, .events = POLLIN },
			{ .fd = pump.open[1] ? process->error : -1, .events = POLLIN },
			{ .fd = process->socket, .events = POLLIN },
		};
		if (poll(polls, 3, -1) < 0) {
			if (errno == EINTR)
				continue;
			return error_errno(
			    err, ERROR_INTERNAL, errno, "Failed to wait for the command");
		}
		gboolean ended = polls[2].revents != 0;
		for (int i = 0; i < 2; i++)
			if (polls[i].revents || ended)
				pump_one(&pump, i, ended);
		if (ended)
			return exec_status(process, ret_code, err);
	}
}
