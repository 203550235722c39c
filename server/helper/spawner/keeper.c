#include "server/helper/spawner/keeper.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { RING = 128 * 1024 };

typedef struct Terminal {
	const Keeper *keeper;
	int master, log;
	int client, stream; /* the attached one's; -1 */
	size_t used;
	char ring[2 * RING];
} Terminal;

static void detach(Terminal *k)
{
	close(k->stream);
	close(k->client);
	k->stream = k->client = -1;
}

/* Half of it goes at once, so that keeping costs little. */
static void keep(Terminal *k, const char *data, size_t n)
{
	if (k->used + n > sizeof(k->ring)) {
		memmove(k->ring, k->ring + k->used - RING, RING);
		k->used = RING;
	}
	memcpy(k->ring + k->used, data, n);
	k->used += n;
}

/* What the container writes. Nobody is waited for. */
static void from_terminal(Terminal *k)
{
	char data[4096];
	ssize_t n = read(k->master, data, sizeof(data));
	if (n <= 0)
		return;
	keep(k, data, (size_t)n);
	if (k->log >= 0 &&
	    write(k->log, data, (size_t)n) < 0) { /* a full disk: kept all the same */
		close(k->log);
		k->log = -1;
	}
	if (k->stream >= 0 && send(k->stream, data, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 &&
	    errno != EAGAIN)
		detach(k);
}

static void from_person(Terminal *k)
{
	char data[4096];
	ssize_t n = recv(k->stream, data, sizeof(data), MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
		detach(k);
		return;
	}
	for (ssize_t done = 0, put; done < n; done += put) {
		put = write(k->master, data + done, (size_t)(n - done));
		if (put <= 0) /* nobody reads there: lost, as on any terminal */
			return;
	}
}

static void attach(Terminal *k, Packet *answer)
{
	int pair[2], size = 1 << 20;
	if (k->stream >= 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		answer->error = EBUSY;
		packet_add(answer, "The console is in use");
		return;
	}
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	k->stream = pair[0];
	packet_add_fd(answer, pair[1]);
	packet_add_fd(answer, k->master);
}

static void give_log(const Terminal *k, Packet *answer)
{
	size_t n = k->used < RING ? k->used : RING;
	int fd = memfd_create("console", MFD_CLOEXEC);
	if (fd < 0 || write(fd, k->ring + k->used - n, n) < 0)
		answer->error = errno;
	answer->n[0] = (int64_t)n;
	packet_add_fd(answer, fd);
}

static void answer_question(Terminal *k, int client, uint32_t op)
{
	Packet *answer = packet_new(0);
	if (op == KEEPER_ATTACH)
		attach(k, answer);
	else if (op == KEEPER_LOG)
		give_log(k, answer);
	else
		k->used = 0;
	packet_send(client, answer);
	for (unsigned i = 0; i < answer->n_fds; i++)
		if (answer->fds[i] != k->master)
			close(answer->fds[i]);
	answer->n_fds = 0;
	packet_free(answer);
}

/* One question each; who attaches stays. */
static void new_client(Terminal *k)
{
	struct timeval patience = { .tv_sec = 1 };
	int fd = accept4(k->keeper->listener, NULL, NULL, SOCK_CLOEXEC);
	Packet *rq = packet_new(0);
	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (fd >= 0 && packet_recv(fd, rq) > 0) {
		int free_before = k->stream < 0;
		answer_question(k, fd, rq->op);
		if (free_before && k->stream >= 0)
			k->client = fd, fd = -1;
	}
	if (fd >= 0)
		close(fd);
	packet_free(rq);
}

void keeper_serve(const Keeper *keeper, int master)
{
	static Terminal terminal;
	Terminal *k = &terminal;
	*k = (Terminal){
		.keeper = keeper, .master = master, .log = keeper->log, .client = -1, .stream = -1
	};
	/* Held open, so that the terminal does not hang up while nobody inside has it. */
	int peer = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	prctl(PR_SET_NAME, "incus-console");
	for (;;) {
		struct pollfd wait[] = { { .fd = keeper->monitor, .events = POLLIN },
			{ .fd = peer >= 0 ? k->master : -1, .events = POLLIN },
			{ .fd = keeper->listener, .events = POLLIN },
			{ .fd = k->client, .events = POLLIN },
			{ .fd = k->stream, .events = POLLIN } };
		if (poll(wait, sizeof(wait) / sizeof(wait[0]), -1) < 0)
			continue;
		if (wait[0].revents)
			_exit(0);
		if (wait[1].revents)
			from_terminal(k);
		if (wait[4].revents && k->stream == wait[4].fd)
			from_person(k);
		if (wait[3].revents &&
		    k->client == wait[3].fd) /* it has nothing to say but its end */
			detach(k);
		if (wait[2].revents)
			new_client(k);
	}
}

/* The folder's path may be longer than a socket's may be. */
static void address_of(int folder, struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/console", folder);
}

static int listener_open(const char *folder)
{
	struct sockaddr_un address;
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0 || listener < 0)
		return -1;
	address_of(fd, &address);
	unlinkat(fd, "console", 0);
	mode_t mask = umask(0077);
	int result = bind(listener, (struct sockaddr *)&address, sizeof(address));
	umask(mask);
	close(fd);
	return result < 0 || listen(listener, 8) < 0 ? -1 : listener;
}

int keeper_connect(const char *lxcpath, const char *name)
{
	char path[4200];
	struct sockaddr_un address;
	snprintf(path, sizeof(path), "%s/%s", lxcpath, name);
	int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (folder < 0 || fd < 0)
		return -1;
	address_of(folder, &address);
	int result = connect(fd, (struct sockaddr *)&address, sizeof(address));
	close(folder);
	if (result == 0)
		return fd;
	close(fd);
	return -1;
}

int keeper_open(Keeper *ret, const char *folder, const char *log, pid_t monitor)
{
	ret->listener = listener_open(folder);
	ret->monitor = pidfd_open_pid(monitor);
	ret->log = open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	return ret->listener < 0 || ret->monitor < 0 ? -1 : 0;
}
