/* One caller and whom it is connected to, with bytes going both ways. */
#include "server/helper/spawner/relay.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHUNK = 64 * 1024, DATAGRAM = 16 * 1024, FDS_MAX = 253, HEADER = 128, ROUNDS = 32 };
static const unsigned both_ways = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;

/* One direction. Streams go through a pipe; where file descriptors may come along (between unix
 * sockets) or messages must stay below a size (datagrams), through memory. */
typedef struct Flow {
	int from, to, pipe[2];
	char *memory;
	size_t limit, at, pending; /* in memory: bytes from `at` on */
	int fds[FDS_MAX], n_fds;   /* came with what is pending */
	int ended, done;	   /* nothing more comes; and all of it went */
} Flow;

typedef struct Stream Stream;
typedef struct End {
	Watch watch;
	Stream *stream;
} End;

struct Stream {
	Relay *relay;
	End caller, callee;
	int caller_fd, callee_fd;
	Flow out, in; /* of the caller, to the caller */
	int connected, closed, datagrams;
};

/* ---- through memory ---- */

static void drop_fds(Flow *flow)
{
	while (flow->n_fds > 0)
		close(flow->fds[--flow->n_fds]);
}

static void take_fds(Flow *flow, struct msghdr *message)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		flow->n_fds = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(flow->fds, CMSG_DATA(c), (size_t)flow->n_fds * sizeof(int));
	}
}

/* As read(): bytes, 0 at the end, -1. Only into an empty memory: descriptors belong to their byte.
 */
static ssize_t fill_memory(Flow *flow)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control;
	struct iovec part = { .iov_base = flow->memory, .iov_len = flow->limit };
	struct msghdr message = { .msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control) };
	if (flow->pending) {
		errno = EAGAIN;
		return -1;
	}
	ssize_t n = recvmsg(flow->from, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (n > 0)
		take_fds(flow, &message);
	flow->at = 0;
	return n;
}

static ssize_t empty_memory(Flow *flow)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control = { 0 };
	struct iovec part = { .iov_base = flow->memory + flow->at, .iov_len = flow->pending };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	size_t length = (size_t)flow->n_fds * sizeof(int);
	if (flow->n_fds) {
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(length);
		struct cmsghdr *c = CMSG_FIRSTHDR(&message);
		*c = (struct cmsghdr){ .cmsg_len = CMSG_LEN(length),
			.cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS };
		memcpy(CMSG_DATA(c), flow->fds, length);
	}
	ssize_t n = sendmsg(flow->to, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n > 0) {
		flow->at += (size_t)n;
		drop_fds(flow);
	}
	return n;
}

/* ---- one direction ---- */

static ssize_t fill(Flow *flow)
{
	return flow->memory ?
	    fill_memory(flow) :
	    splice(flow->from, NULL, flow->pipe[1], NULL, CHUNK, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
}

static ssize_t empty(Flow *flow)
{
	return flow->memory ? empty_memory(flow) :
			      splice(flow->pipe[0], NULL, flow->to, NULL, flow->pending,
				  SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
}

static int fatal(ssize_t n)
{
	return n < 0 && errno != EAGAIN && errno != EINTR;
}

/* Carries what there is, but not for ever. 1 when there may be more, 0, or -1 when the connection
 * is broken. */
static int flow_pump(Flow *flow)
{
	int progress = 1;
	for (int round = 0; progress && !flow->done && round < ROUNDS; round++) {
		progress = 0;
		ssize_t n = flow->ended ? -1 : fill(flow);
		if (!flow->ended && fatal(n))
			return -1;
		if (n > 0)
			flow->pending += (size_t)n;
		flow->ended |= n == 0;
		progress |= n > 0;
		n = flow->pending ? empty(flow) : 0;
		if (fatal(n))
			return -1;
		if (n > 0)
			flow->pending -= (size_t)n;
		progress |= n > 0;
		if (flow->ended && !flow->pending) {
			shutdown(flow->to, SHUT_WR);
			flow->done = 1;
		}
	}
	return progress && !flow->done;
}

static int flow_open(Flow *flow, int from, int to, size_t memory)
{
	*flow = (Flow){ .from = from, .to = to, .pipe = { -1, -1 }, .limit = memory };
	if (!memory)
		return pipe2(flow->pipe, O_CLOEXEC | O_NONBLOCK);
	flow->memory = malloc(memory);
	return flow->memory ? 0 : -1;
}

static void flow_close(Flow *flow)
{
	for (int i = 0; i < 2; i++)
		if (flow->pipe[i] >= 0)
			close(flow->pipe[i]);
	drop_fds(flow);
	free(flow->memory);
}

/* ---- both ---- */

static void stream_end(Stream *stream)
{
	if (stream->closed)
		return;
	stream->closed = 1;
	close(stream->caller_fd);
	close(stream->callee_fd);
	flow_close(&stream->out);
	flow_close(&stream->in);
	relay_forget(stream->relay, stream);
	relay_ended(stream->relay);
}

/* Edges only: whatever happened, both directions go as far as they can. */
static void stream_ready(Watch *watch, unsigned events)
{
	End *end = (End *)watch;
	Stream *stream = end->stream;
	if (stream->closed)
		return;
	if (!stream->connected && end == &stream->callee) {
		int error = 0;
		socklen_t length = sizeof(error);
		getsockopt(stream->callee_fd, SOL_SOCKET, SO_ERROR, &error, &length);
		if (error) {
			stream_end(stream);
			return;
		}
		stream->connected = (events & EPOLLOUT) != 0;
	}
	if (!stream->connected)
		return;
	int out = flow_pump(&stream->out), in = flow_pump(&stream->in);
	if (out < 0 || in < 0 || (stream->out.done && (stream->in.done || stream->datagrams)))
		stream_end(stream);
	else if (out || in) /* an edge that was seen comes again when it is asked for anew */
		relay_watch_again(
		    stream->relay, stream->callee_fd, both_ways, &stream->callee.watch);
}

/* "PROXY TCP4 1.2.3.4 5.6.7.8 1000 80": version 1 of HAProxy's protocol. */
static size_t header_of(int caller, char *text, size_t size)
{
	struct sockaddr_storage from, to;
	socklen_t length = sizeof(from), own = sizeof(to);
	char a[INET6_ADDRSTRLEN], b[INET6_ADDRSTRLEN];
	if (getpeername(caller, (struct sockaddr *)&from, &length) < 0 ||
	    getsockname(caller, (struct sockaddr *)&to, &own) < 0 || from.ss_family == AF_UNIX)
		return (size_t)snprintf(text, size, "PROXY UNKNOWN\r\n");
	const struct sockaddr_in *four[] = { (void *)&from, (void *)&to };
	const struct sockaddr_in6 *six[] = { (void *)&from, (void *)&to };
	int is_four = from.ss_family == AF_INET;
	/* A socket for both families has callers of the older one as ::ffff:1.2.3.4. */
	int mapped = !is_four && IN6_IS_ADDR_V4MAPPED(&six[0]->sin6_addr);
	const void *bytes[2];
	for (int i = 0; i < 2; i++)
		bytes[i] = is_four ? (const void *)&four[i]->sin_addr :
		    mapped	   ? (const void *)&six[i]->sin6_addr.s6_addr[12] :
				     (const void *)&six[i]->sin6_addr;
	int family = is_four || mapped ? AF_INET : AF_INET6;
	inet_ntop(family, bytes[0], a, sizeof(a));
	inet_ntop(family, bytes[1], b, sizeof(b));
	return (size_t)snprintf(text, size, "PROXY %s %s %s %u %u\r\n",
	    family == AF_INET ? "TCP4" : "TCP6", a, b,
	    ntohs(is_four ? four[0]->sin_port : six[0]->sin6_port),
	    ntohs(is_four ? four[1]->sin_port : six[1]->sin6_port));
}

static int announce(Stream *stream)
{
	char text[HEADER];
	size_t length = header_of(stream->caller_fd, text, sizeof(text));
	if (write(stream->out.pipe[1], text, length) != (ssize_t)length)
		return -1;
	stream->out.pending = length;
	return 0;
}

/* Answers come as they are typed, not gathered. */
static void hurry(int fd, AddressKind kind)
{
	int on = 1;
	if (kind == ADDRESS_TCP) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	}
}

static int stream_open(Stream *stream, const Route *route)
{
	int to_unix = route->kind == ADDRESS_UNIX && route->to.kind == ADDRESS_UNIX;
	size_t memory = stream->datagrams ? DATAGRAM : to_unix ? CHUNK : 0;
	if (flow_open(&stream->out, stream->caller_fd, stream->callee_fd, memory) < 0 ||
	    flow_open(&stream->in, stream->callee_fd, stream->caller_fd, memory) < 0)
		return -1;
	hurry(stream->caller_fd, route->kind);
	hurry(stream->callee_fd, route->to.kind);
	if (route->announce && announce(stream) < 0)
		return -1;
	return relay_watch(stream->relay, stream->caller_fd, both_ways, &stream->caller.watch) < 0 ?
	    -1 :
	    relay_watch(stream->relay, stream->callee_fd, both_ways, &stream->callee.watch);
}

int relay_stream_begin(Relay *relay, int caller, const Route *route)
{
	int callee = relay_connect(&route->to);
	Stream *stream = callee < 0 ? NULL : calloc(1, sizeof(*stream));
	if (!stream) {
		if (callee >= 0)
			close(callee);
		close(caller);
		return -1;
	}
	*stream = (Stream){ .relay = relay,
		.caller_fd = caller,
		.callee_fd = callee,
		.datagrams = route->to.kind == ADDRESS_UDP,
		.out.pipe = { -1, -1 },
		.in.pipe = { -1, -1 } };
	stream->caller = (End){ .watch.ready = stream_ready, .stream = stream };
	stream->callee = (End){ .watch.ready = stream_ready, .stream = stream };
	if (stream_open(stream, route) == 0)
		return 0;
	stream_end(stream);
	return -1;
}
