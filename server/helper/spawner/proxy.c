/*
 * Forwarders: one for each proxy device. The request's child stays as its supervisor on the host:
 * it has the listening sockets, starts the worker (relay.c) again should that die, and ends with
 * the container or at SIGTERM. Sockets are made, and connections are opened, on the side that each
 * belongs to: whatever the container's root did to its file system is seen with its rights.
 */
#include "server/helper/spawner/proxy.h"
#include "server/helper/spawner/spawner.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	PAUSE_MIN_MS = 100,
	PAUSE_MAX_MS = 10000,
	INSIDE = CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS
};

typedef struct Proxy {
	int init; /* pidfd */
	int listens_inside, announce;
	size_t n;
	Address *listen;
	Route *routes;
	SocketOwner owner;
	unsigned uid, gid; /* who connects */
	char note[4096];   /* where our pid is written */
	pid_t worker;
} Proxy;

static void proxy_read(Job *job, Proxy *proxy)
{
	Packet *rq = job->request;
	*proxy = (Proxy){ .init = packet_take_fd(rq, 1),
		.listens_inside = rq->n[0] != 0,
		.announce = rq->n[1] != 0,
		.n = (size_t)rq->n[2],
		.owner = { .mode = (unsigned)rq->n[3],
		    .uid = (unsigned)rq->n[4],
		    .gid = (unsigned)rq->n[5] },
		.uid = (unsigned)rq->n[6],
		.gid = (unsigned)rq->n[7] };
	snprintf(proxy->note, sizeof(proxy->note), "%s", packet_next(rq));
	proxy->listen = calloc(proxy->n, sizeof(*proxy->listen));
	proxy->routes = calloc(proxy->n, sizeof(*proxy->routes));
	if (!proxy->listen || !proxy->routes)
		job_fail(job, ENOMEM, "There is not enough memory");
	for (size_t i = 0; i < proxy->n; i++) {
		const char *from = packet_next(rq), *to = packet_next(rq);
		Route *route = &proxy->routes[i];
		if (address_parse(from, &proxy->listen[i]) < 0 || address_parse(to, &route->to) < 0)
			job_fail(job, errno, "Invalid address \"%s\" or \"%s\": %s", from, to,
			    strerror(errno));
		route->kind = proxy->listen[i].kind;
		route->announce = proxy->announce;
	}
}

/* ---- sockets that listen ---- */

static int send_fd(int socket, int fd)
{
	char byte = 0;
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec part = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = { .msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&message);
	*c = (struct cmsghdr){
		.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS
	};
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	return sendmsg(socket, &message, MSG_NOSIGNAL) == 1 ? 0 : -1;
}

/* In a child that is where the sockets are to be: errno as the answer's only number when one cannot
 * be made. */
static _Noreturn void make_listeners(const Proxy *proxy, int socket)
{
	size_t i = 0;
	int error = proxy->listens_inside && namespaces_enter(proxy->init, INSIDE) < 0 ? errno : 0;
	for (; !error && i < proxy->n; i++) {
		int fd = address_listen(&proxy->listen[i], &proxy->owner);
		if (fd < 0 || send_fd(socket, fd) < 0)
			error = errno;
		close(fd);
	}
	int words[2] = { error, (int)i };
	if (error)
		send(socket, words, sizeof(words), MSG_NOSIGNAL);
	_exit(error != 0);
}

/* The next listener; -1 with errno. */
static int receive_fd(int socket)
{
	int words[2] = { 0 }, fd = -1;
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec part = { .iov_base = words, .iov_len = sizeof(words) };
	struct msghdr message = { .msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;
	if (c && c->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(c), sizeof(int));
	else
		errno = n == (ssize_t)sizeof(words) ? words[0] : ECHILD;
	return fd;
}

/* As the request says it. */
static const char *listen_text(Packet *rq, size_t at)
{
	rq->cursor = 0;
	for (size_t i = 0; i < 1 + 2 * at; i++)
		packet_next(rq);
	return packet_next(rq);
}

static void proxy_listen(Job *job, Proxy *proxy)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		job_fail(job, errno, "Cannot make a socket");
	pid_t child = fork();
	if (child == 0)
		make_listeners(proxy, pair[1]);
	close(pair[1]);
	for (size_t i = 0; i < proxy->n; i++) {
		proxy->routes[i].listener = receive_fd(pair[0]);
		if (proxy->routes[i].listener >= 0)
			continue;
		int error = errno;
		job_fail(job, error, "Cannot listen at \"%s\"%s: %s", listen_text(job->request, i),
		    proxy->listens_inside ? " in the instance" : "", strerror(error));
	}
	close(pair[0]);
	waitpid(child, NULL, 0);
}

/* Socket files go when the forwarder does; inside, as the container's root. */
static void remove_files(const Proxy *proxy)
{
	pid_t child = fork();
	if (child > 0)
		waitpid(child, NULL, 0);
	if (child != 0)
		return;
	if (proxy->listens_inside && namespaces_enter(proxy->init, INSIDE) < 0)
		_exit(1);
	for (size_t i = 0; i < proxy->n; i++)
		if (address_path(&proxy->listen[i]))
			unlink(address_path(&proxy->listen[i]));
	_exit(0);
}

/* ---- the worker ---- */

/* Root keeps what opening anybody's socket file needs, and nothing else. */
static int drop_rights(const Proxy *proxy)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[2] = { 0 };
	if (setgroups(0, NULL) < 0 || setresgid(proxy->gid, proxy->gid, proxy->gid) < 0 ||
	    setresuid(proxy->uid, proxy->uid, proxy->uid) < 0)
		return -1;
	if (proxy->uid == 0)
		sets[0].effective = sets[0].permitted = 1U << CAP_DAC_OVERRIDE;
	return syscall(SYS_capset, &head, sets) < 0 ? -1 : prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/* `ready` hears a byte once it serves. */
static _Noreturn void work(const Proxy *proxy, int ready)
{
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGTERM, SIG_DFL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!proxy->listens_inside && namespaces_enter(proxy->init, INSIDE) < 0)
		_exit(2);
	if (drop_rights(proxy) < 0)
		_exit(3);
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* a change of user takes it away */
	close(proxy->init);
	if (ready >= 0 && write(ready, "", 1) != 1)
		_exit(4);
	close(ready);
	relay_run(proxy->routes, proxy->n);
	_exit(5);
}

static void start_worker(Proxy *proxy, int ready)
{
	proxy->worker = fork();
	if (proxy->worker == 0)
		work(proxy, ready);
}

static int first_worker(Proxy *proxy)
{
	int pair[2];
	char byte;
	if (pipe2(pair, O_CLOEXEC) < 0)
		return -1;
	start_worker(proxy, pair[1]);
	close(pair[1]);
	ssize_t n = read(pair[0], &byte, 1);
	close(pair[0]);
	return n == 1 ? 0 : -1;
}

/* ---- the supervisor ---- */

/* Nothing of the daemon's is held: it may end before us. */
static void settle(void)
{
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	setsid();
	prctl(PR_SET_NAME, "incus-proxy");
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int i = 0; i < 3; i++)
		dup2(null, i);
	close(null);
}

/* Until the container has ended or somebody says so. */
static void supervise(Proxy *proxy, int signals)
{
	int pause_ms = PAUSE_MIN_MS;
	struct pollfd polled[] = { { .fd = proxy->init, .events = POLLIN },
		{ .fd = signals, .events = POLLIN } };
	for (;;) {
		struct signalfd_siginfo info;
		int ready = poll(polled, 2, proxy->worker > 0 ? -1 : pause_ms);
		if (polled[0].revents)
			return;
		if (ready == 0) {
			start_worker(proxy, -1);
			pause_ms = pause_ms * 2 < PAUSE_MAX_MS ? pause_ms * 2 : PAUSE_MAX_MS;
		}
		if (ready <= 0 || read(signals, &info, sizeof(info)) != sizeof(info))
			continue;
		if (info.ssi_signo == SIGTERM)
			return;
		if (proxy->worker > 0 && waitpid(proxy->worker, NULL, WNOHANG) == proxy->worker)
			proxy->worker = -1;
	}
}

static int watch_signals(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGCHLD);
	signal(SIGTERM, SIG_DFL);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

void job_proxy(Job *job)
{
	static Proxy proxy;
	proxy_read(job, &proxy);
	proxy_listen(job, &proxy);
	settle();
	int signals = watch_signals();
	if (signals < 0 || first_worker(&proxy) < 0 || note_write(proxy.note) < 0) {
		int error = errno;
		remove_files(&proxy);
		job_fail(job, error, "The forwarder does not start");
	}
	job_answer(job, packet_new(0));
	close(job->answer);
	packet_free(job->request);
	supervise(&proxy, signals);
	if (proxy.worker > 0)
		kill(proxy.worker, SIGKILL);
	remove_files(&proxy);
	unlink(proxy.note);
}
