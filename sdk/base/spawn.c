#include "sdk/base/spawn.h"

#include "sdk/base/file.h"
#include "sdk/base/own.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

extern char **environ;

enum { OUTPUT_LIMIT = 16 << 20, STDERR_KEEP = 4096, CANCEL_POLL_MS = 100 };

/* Our ends of the child's pipes, what it said, and how it is doing. */
typedef struct Child {
	const Spawn *spawn;
	pid_t pid;
	int pid_fd;
	int in, out, error; /* -1: none */
	size_t written;
	GString *output, *said;
} Child;

static void child_clear(Child *child)
{
	own_close_fd(&child->in);
	own_close_fd(&child->out);
	own_close_fd(&child->error);
	own_close_fd(&child->pid_fd);
	if (child->output)
		g_string_free(child->output, TRUE);
	if (child->said)
		g_string_free(child->said, TRUE);
}

static int spawn_call(const Spawn *spawn, const int standard[3], pid_t *ret_pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t all, none;
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	sigfillset(&all);
	sigemptyset(&none);
	posix_spawnattr_setsigdefault(&attributes, &all);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setpgroup(&attributes, 0);
	posix_spawnattr_setflags(
	    &attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
	/* The given fds may have any numbers, also each other's targets: first copy all of them
	 * above everything, then put them in place. The copies vanish with closefrom. */
	size_t n = 3 + spawn->n_fds;
	g_autofree int *copies = g_new(int, n);
	int failed = 0;
	for (size_t i = 0; i < n; i++) {
		int source = i < 3 ? standard[i] : spawn->fds[i - 3];
		copies[i] = fcntl(source, F_DUPFD_CLOEXEC, (int)n + 3);
		if (copies[i] < 0)
			failed = errno;
		else
			posix_spawn_file_actions_adddup2(&actions, copies[i], (int)i);
	}
	posix_spawn_file_actions_addclosefrom_np(&actions, (int)n);
	if (spawn->directory)
		posix_spawn_file_actions_addchdir_np(&actions, spawn->directory);
	if (!failed)
		failed = posix_spawnp(ret_pid, spawn->argv[0], &actions, &attributes,
		    (char *const *)(uintptr_t)spawn->argv,
		    spawn->environment ? (char *const *)(uintptr_t)spawn->environment : environ);
	for (size_t i = 0; i < n; i++)
		if (copies[i] >= 0)
			close(copies[i]);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	return failed;
}

/* A pipe whose parent end does not block; standard[index] becomes the child's end. */
static int child_pipe(int standard[3], int index, int *ret_ours)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	int ours = index == 0 ? 1 : 0;
	fcntl(ends[ours], F_SETFL, O_NONBLOCK);
	*ret_ours = ends[ours];
	standard[index] = ends[!ours];
	return 0;
}

static int child_start(Child *child, gboolean want_output, Error **err)
{
	const Spawn *spawn = child->spawn;
	autofd int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int standard[3] = {spawn->stdin_fd > 0 ? spawn->stdin_fd : null,
		spawn->stdout_fd > 0 ? spawn->stdout_fd : null,
		spawn->stderr_fd > 0 ? spawn->stderr_fd : null};
	autofd int in = -1, out = -1, error = -1; /* the child's ends */
	int failed = null < 0 ? errno : 0;
	if (!failed && spawn->input && spawn->stdin_fd <= 0) {
		failed = child_pipe(standard, 0, &child->in) < 0 ? errno : 0;
		in = failed ? -1 : standard[0];
	}
	if (!failed && want_output && spawn->stdout_fd <= 0) {
		failed = child_pipe(standard, 1, &child->out) < 0 ? errno : 0;
		out = failed ? -1 : standard[1];
	}
	if (!failed && spawn->stderr_fd <= 0) {
		failed = child_pipe(standard, 2, &child->error) < 0 ? errno : 0;
		error = failed ? -1 : standard[2];
	}
	if (!failed)
		failed = spawn_call(spawn, standard, &child->pid);
	if (failed)
		return error_errno(
		    err, ERROR_INTERNAL, failed, "Failed to run \"%s\"", spawn->argv[0]);
	child->pid_fd = (int)syscall(SYS_pidfd_open, child->pid, 0);
	return 0;
}

/* TRUE while the pipe is open. */
static gboolean pipe_read(int *fd, GString *into)
{
	char buffer[16384];
	ssize_t n = read(*fd, buffer, sizeof(buffer));
	if (n > 0)
		g_string_append_len(into, buffer, n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		close(own_steal_fd(fd));
		return FALSE;
	}
	return TRUE;
}

static void pipe_write(Child *child)
{
	const Spawn *spawn = child->spawn;
	ssize_t n = 0;
	if (child->written < spawn->input_length)
		n = write(child->in, (const char *)spawn->input + child->written,
		    spawn->input_length - child->written);
	if (n > 0)
		child->written += (size_t)n;
	if (child->written == spawn->input_length || (n < 0 && errno != EAGAIN && errno != EINTR))
		close(own_steal_fd(&child->in)); /* EPIPE: it did not want the rest */
}

static void child_kill(Child *child)
{
	kill(-child->pid, SIGKILL);
	kill(child->pid, SIGKILL);
}

/* One round of waiting: moves data; 1 when the child has ended, -1 when it must be killed. */
static int child_round(Child *child, gint64 deadline, Error **err)
{
	struct pollfd polls[] = { { .fd = child->pid_fd, .events = POLLIN },
		{ .fd = child->in, .events = POLLOUT }, { .fd = child->out, .events = POLLIN },
		{ .fd = child->error, .events = POLLIN } };
	gint64 left = deadline ? (deadline - g_get_monotonic_time() + 999) / 1000 : -1;
	int wait = deadline ? (int)CLAMP(left, 0, 60000) : -1;
	if (child->spawn->cancelled)
		wait = wait < 0 ? CANCEL_POLL_MS : MIN(wait, CANCEL_POLL_MS);
	poll(polls, G_N_ELEMENTS(polls), wait);
	if (polls[1].revents)
		pipe_write(child);
	if (polls[2].revents)
		pipe_read(&child->out, child->output);
	if (polls[3].revents && pipe_read(&child->error, child->said) &&
	    child->said->len > 2 * STDERR_KEEP)
		g_string_erase(child->said, 0, (gssize)child->said->len - STDERR_KEEP);
	size_t limit = child->spawn->output_limit ? child->spawn->output_limit : OUTPUT_LIMIT;
	if (child->output->len > limit)
		return error_set(err, ERROR_TOO_LARGE, "\"%s\" wrote more than %zu bytes",
		    child->spawn->argv[0], limit);
	if (polls[0].revents)
		return 1;
	if (deadline && g_get_monotonic_time() >= deadline)
		return error_set(err, ERROR_TIMEOUT, "\"%s\" did not finish within %d ms",
		    child->spawn->argv[0], child->spawn->timeout_ms);
	if (child->spawn->cancelled && child->spawn->cancelled(child->spawn->cancel_data))
		return error_set(
		    err, ERROR_CANCELLED, "\"%s\" was cancelled", child->spawn->argv[0]);
	return 0;
}

static int child_finish(Child *child, int *ret_status, Error **err)
{
	gint64 deadline = child->spawn->timeout_ms
	    ? g_get_monotonic_time() + (gint64)child->spawn->timeout_ms * 1000
	    : 0;
	int ended;
	while ((ended = child_round(child, deadline, err)) == 0)
		;
	if (ended < 0)
		child_kill(child);
	int status = 0;
	while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
		;
	if (ended < 0)
		return -1;
	/* What is left in the pipes; something it started may hold them open, so do not wait. */
	while (child->out >= 0 &&
	    poll(&(struct pollfd){ .fd = child->out, .events = POLLIN }, 1, 0) > 0)
		pipe_read(&child->out, child->output);
	while (child->error >= 0 &&
	    poll(&(struct pollfd){ .fd = child->error, .events = POLLIN }, 1, 0) > 0)
		pipe_read(&child->error, child->said);
	*ret_status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	return 0;
}

static int child_failed(Child *child, int status, Error **err)
{
	g_strstrip(child->said->str);
	const char *said = child->said->str;
	size_t length = strlen(said);
	if (length > STDERR_KEEP)
		said += length - STDERR_KEEP;
	g_autofree char *clean = g_utf8_make_valid(said, -1);
	if (status > 128)
		error_set(err, ERROR_INTERNAL, "\"%s\" was ended by signal %d",
		    child->spawn->argv[0], status - 128);
	else
		error_set(err, ERROR_INTERNAL, "\"%s\" failed with exit status %d%s%s",
		    child->spawn->argv[0], status, *clean ? ": " : "", clean);
	return -1;
}

static int spawn_whole(const Spawn *spawn, gboolean strict, char **ret_output, size_t *ret_length,
    int *ret_status, Error **err)
{
	Child child = {.spawn = spawn, .pid_fd = -1, .in = -1, .out = -1, .error = -1,
		.output = g_string_new(NULL), .said = g_string_new(NULL)};
	int status = 0;
	int failed = child_start(&child, ret_output != NULL, err);
	if (!failed)
		failed = child_finish(&child, &status, err);
	if (!failed && strict && status != 0)
		failed = child_failed(&child, status, err);
	if (!failed) {
		if (ret_length)
			*ret_length = child.output->len;
		if (ret_output)
			*ret_output = g_string_free(g_steal_pointer(&child.output), FALSE);
		if (ret_status)
			*ret_status = status;
	}
	child_clear(&child);
	return failed;
}

int spawn_run(const Spawn *spawn, char **ret_output, size_t *ret_length, Error **err)
{
	return spawn_whole(spawn, TRUE, ret_output, ret_length, NULL, err);
}

int spawn_status(const Spawn *spawn, char **ret_output, int *ret_status, Error **err)
{
	return spawn_whole(spawn, FALSE, ret_output, NULL, ret_status, err);
}

int spawn_simple(Error **err, const char *program, ...)
{
	g_autoptr(GPtrArray) argv = g_ptr_array_new();
	va_list args;
	va_start(args, program);
	for (const char *word = program; word; word = va_arg(args, const char *))
		g_ptr_array_add(argv, (char *)(uintptr_t)word);
	va_end(args);
	g_ptr_array_add(argv, NULL);
	Spawn spawn = {.argv = (const char *const *)argv->pdata, .timeout_ms = 30000};
	return spawn_run(&spawn, NULL, NULL, err);
}

int spawn_start(const Spawn *spawn, pid_t *ret_pid, Error **err)
{
	autofd int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int standard[3] = {spawn->stdin_fd > 0 ? spawn->stdin_fd : null,
		spawn->stdout_fd > 0 ? spawn->stdout_fd : null,
		spawn->stderr_fd > 0 ? spawn->stderr_fd : null};
	int failed = null < 0 ? errno : spawn_call(spawn, standard, ret_pid);
	return failed ?
	    error_errno(err, ERROR_INTERNAL, failed, "Failed to run \"%s\"", spawn->argv[0]) :
	    0;
}

void spawn_stop(pid_t pid, int timeout_ms)
{
	if (pid <= 0)
		return;
	autofd int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd >= 0) {
		struct pollfd ended = {.fd = fd, .events = POLLIN};
		syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0);
		if (poll(&ended, 1, timeout_ms) <= 0) {
			syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
			poll(&ended, 1, 5000);
		}
	}
	waitpid(pid, NULL, WNOHANG);
}
