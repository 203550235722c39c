#include "server/helper/client.h"
#include "sdk/base/fault.h"
#include "sdk/base/log.h"
#include "sdk/base/own.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { CONTROL_FD = 3, SEND_BUFFER = 1 << 20 };

struct Spawner {
	GMutex lock;     /* control and pid: held to start the program and to send one packet */
	int control;
	pid_t pid;
	char *program;
};

extern char **environ;

char *spawner_program(void)
{
	const char *given = g_getenv("INCUS_SPAWNER");
	if (given)
		return g_strdup(given);
	g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
	g_autofree char *folder = g_path_get_dirname(self ? self : "/usr/bin/incusd");
	return g_build_filename(folder, "incus-spawner", NULL);
}

/* lock held. */
static int launch(Spawner *s, Error **err)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot make a socket for the spawner");
	autofd int ours = pair[0];
	autofd int theirs = pair[1];
	int size = SEND_BUFFER;
	setsockopt(ours, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));

	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none, all;
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_adddup2(&actions, 2, 1);
	/* Away from the target number first: dup2 on itself would leave close-on-exec set. */
	autofd int source = fcntl(theirs, F_DUPFD_CLOEXEC, 10);
	posix_spawn_file_actions_adddup2(&actions, source, CONTROL_FD);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &all);
	posix_spawnattr_setflags(&attributes,
	    POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
	char number[16];
	snprintf(number, sizeof(number), "%d", CONTROL_FD);
	char *argv[] = { s->program, number, NULL };
	int error = posix_spawn(&s->pid, s->program, &actions, &attributes, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	if (error)
		return error_errno(err, ERROR_INTERNAL, error, "Cannot start \"%s\"", s->program);
	if (s->control >= 0)
		close(s->control);
	s->control = own_steal_fd(&ours);
	return 0;
}

int spawner_new(const char *program, Spawner **ret_spawner, Error **err)
{
	Spawner *s = g_new0(Spawner, 1);
	g_mutex_init(&s->lock);
	s->control = -1;
	s->program = g_strdup(program);
	if (launch(s, err) < 0) {
		g_free(s->program);
		g_free(s);
		return -1;
	}
	*ret_spawner = s;
	return 0;
}

int spawner_start(Daemon *d, Error **err)
{
	g_autofree char *program = spawner_program();
	return spawner_new(program, &d->spawner, err);
}

void spawner_stop(Daemon *d)
{
	Spawner *s = d->spawner;
	if (!s)
		return;
	d->spawner = NULL;
	close(s->control); /* the end of its input is its end */
	waitpid(s->pid, NULL, 0);
	g_mutex_clear(&s->lock);
	g_free(s->program);
	g_free(s);
}

/* Sends; starts the program again once when it is gone. */
static int send_request(Spawner *s, const Packet *request, Error **err)
{
	int result = 0;
	g_mutex_lock(&s->lock);
	if (packet_send(s->control, request) < 0) {
		int error = errno;
		if (error == EPIPE || error == ECONNRESET || error == ENOTCONN) {
			waitpid(s->pid, NULL, 0);
			log_warn("Spawner ended and is started again");
			result = launch(s, err);
			if (result == 0 && packet_send(s->control, request) < 0)
				result = error_errno(
				    err, ERROR_INTERNAL, errno, "Cannot reach the spawner");
		} else {
			result = error_errno(err,
			    error == EMSGSIZE ? ERROR_TOO_LARGE : ERROR_INTERNAL, error,
			    "Cannot send to the spawner");
		}
	}
	g_mutex_unlock(&s->lock);
	return result;
}

int spawner_receive(int socket, int timeout_ms, Packet *packet, Error **err)
{
	gint64 end = timeout_ms < 0 ? G_MAXINT64 :
				      g_get_monotonic_time() + timeout_ms * (gint64)1000;
	for (;;) {
		struct pollfd p = { .fd = socket, .events = POLLIN };
		gint64 left = timeout_ms < 0 ? 0 : (end - g_get_monotonic_time() + 999) / 1000;
		int ready = poll(&p, 1, timeout_ms < 0 ? -1 : (int)MAX(left, 0));
		if (ready < 0 && errno == EINTR)
			continue;
		if (ready < 0)
			return error_errno(
			    err, ERROR_INTERNAL, errno, "Cannot wait for the spawner");
		if (ready == 0)
			return error_set(err, ERROR_TIMEOUT, "Timed out waiting for the instance");
		int got = packet_recv(socket, packet);
		if (got < 0 && errno != ECONNRESET)
			return error_errno(
			    err, ERROR_INTERNAL, errno, "Bad answer from the spawner");
		return MAX(got, 0);
	}
}

static ErrorKind kind_of(int error)
{
	switch (error) {
	case ENOENT: case ENOTDIR: return ERROR_NOT_FOUND;
	case EEXIST: return ERROR_EXISTS;
	case EACCES: case EPERM: return ERROR_FORBIDDEN;
	case EINVAL:
	case EISDIR:
	case ELOOP:
	case ENAMETOOLONG:
	case ENOTEMPTY:
	case ENXIO:
		return ERROR_INVALID;
	case EBUSY: return ERROR_BUSY;
	default: return ERROR_INTERNAL;
	}
}

int spawner_call(
    Spawner *s, Packet *request, const SpawnerCall *call, Packet **ret_answer, Error **err)
{
	g_autoptr(Packet) rq = request;
	unsigned n = rq->n_fds;
	int pair[2];
	rq->n_fds = 0; /* they stay the caller's, whatever fails */
	if (fault_point("spawner", err) < 0)
		return -1;
	if (n == PACKET_FDS || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot make a socket for the spawner");
	autofd int ours = pair[0];
	memmove(rq->fds + 1, rq->fds, n * sizeof(int));
	rq->fds[0] = pair[1];
	rq->n_fds = n + 1;
	int result = send_request(s, rq, err);
	rq->n_fds = 0;
	close(pair[1]);
	if (result < 0)
		return -1;
	g_autoptr(Packet) answer = packet_new(0);
	int got = spawner_receive(
	    ours, call && call->timeout_ms ? call->timeout_ms : -1, answer, err);
	if (got < 0)
		return -1;
	if (got == 0)
		return error_set(
		    err, ERROR_INTERNAL, "The spawner's child ended without an answer");
	if (answer->error) {
		if (call && call->ret_errno)
			*call->ret_errno = answer->error;
		return error_set(err, kind_of(answer->error), "%s", packet_next(answer));
	}
	if (call && call->ret_socket)
		*call->ret_socket = own_steal_fd(&ours);
	if (ret_answer)
		*ret_answer = g_steal_pointer(&answer);
	return 0;
}
