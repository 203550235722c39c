/* Datagrams: whoever sends one has a socket of its own for a while, so that answers find back. */
#include "server/helper/spawner/relay.h"
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { SESSIONS = 1024, BUCKETS = 256, IDLE_S = 60, BATCH = 64, DATAGRAM = 65536, CONTROL = 128 };

typedef struct Datagrams Datagrams;
typedef struct Session {
	Watch watch;
	Datagrams *owner;
	struct Session *next; /* in its bucket */
	int fd;
	time_t used;
	struct sockaddr_storage caller;
	socklen_t length;
	/* The address of ours that was called, which answers come from. */
	_Alignas(struct cmsghdr) char control[CONTROL];
	size_t control_length;
} Session;

struct Datagrams {
	Watch watch;
	Relay *relay;
	const Route *route;
	Datagrams *next;
	Session *buckets[BUCKETS];
	unsigned n;
};

static char bytes[DATAGRAM]; /* one thread, one datagram at a time */

static time_t now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec;
}

static Session **bucket_of(Datagrams *d, const struct sockaddr_storage *caller, socklen_t length)
{
	unsigned hash = 5381;
	const unsigned char *at = (const void *)caller;
	for (socklen_t i = 0; i < length; i++)
		hash = hash * 33 + at[i];
	return &d->buckets[hash % BUCKETS];
}

static void session_end(Session **link)
{
	Session *session = *link;
	*link = session->next;
	session->owner->n--;
	close(session->fd);
	session->fd = -1;
	relay_forget(session->owner->relay, session);
}

static void expire(Datagrams *d, time_t before)
{
	for (int i = 0; i < BUCKETS; i++)
		for (Session **link = &d->buckets[i]; *link;)
			if ((*link)->used < before)
				session_end(link);
			else
				link = &(*link)->next;
}

void relay_datagrams_expire(Relay *relay)
{
	static time_t last;
	time_t time = now();
	if (time - last < IDLE_S / 4)
		return;
	last = time;
	for (Datagrams *d = *relay_datagrams(relay); d; d = d->next)
		expire(d, time - IDLE_S);
}

/* The one that was quiet for longest makes room. */
static void make_room(Datagrams *d)
{
	Session **oldest = NULL;
	for (int i = 0; i < BUCKETS; i++)
		for (Session **link = &d->buckets[i]; *link; link = &(*link)->next)
			if (!oldest || (*link)->used < (*oldest)->used)
				oldest = link;
	if (oldest)
		session_end(oldest);
}

/* ---- back to the caller ---- */

static void answer(Watch *watch, unsigned events)
{
	Session *session = (Session *)watch;
	for (int i = 0; i < BATCH && session->fd >= 0; i++) {
		ssize_t n = recv(session->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (n < 0) /* nothing more, or nobody listens there: the caller asks again */
			return;
		struct iovec part = { .iov_base = bytes, .iov_len = (size_t)n };
		struct msghdr message = { .msg_name = &session->caller,
			.msg_namelen = session->length,
			.msg_iov = &part,
			.msg_iovlen = 1,
			.msg_control = session->control_length ? session->control : NULL,
			.msg_controllen = session->control_length };
		session->used = now();
		sendmsg(session->owner->route->listener, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	}
}

/* ---- from the caller ---- */

static Session *session_new(Datagrams *d, Session **bucket)
{
	if (d->n >= SESSIONS)
		make_room(d);
	Session *session = calloc(1, sizeof(*session));
	if (!session)
		return NULL;
	session->fd = relay_connect(&d->route->to);
	*session = (Session){ .watch.ready = answer, .owner = d, .fd = session->fd };
	if (session->fd < 0 || relay_watch(d->relay, session->fd, EPOLLIN, &session->watch) < 0) {
		if (session->fd >= 0)
			close(session->fd);
		free(session);
		return NULL;
	}
	session->next = *bucket;
	*bucket = session;
	d->n++;
	return session;
}

static Session *session_of(Datagrams *d, const struct msghdr *message)
{
	Session **bucket = bucket_of(d, message->msg_name, message->msg_namelen);
	for (Session *session = *bucket; session; session = session->next)
		if (session->length == message->msg_namelen &&
		    memcmp(&session->caller, message->msg_name, session->length) == 0)
			return session;
	/* Making room may take this bucket's first away: its place stays. */
	Session *session = session_new(d, bucket);
	if (!session)
		return NULL;
	session->length = message->msg_namelen;
	memcpy(&session->caller, message->msg_name, session->length);
	session->control_length = message->msg_controllen;
	memcpy(session->control, message->msg_control, session->control_length);
	return session;
}

/* What came says which interface it came by; an answer goes whichever way leads there. */
static void any_interface(struct msghdr *message)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO)
			((struct in_pktinfo *)CMSG_DATA(c))->ipi_ifindex = 0;
		else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO &&
		    !IN6_IS_ADDR_LINKLOCAL(&((struct in6_pktinfo *)CMSG_DATA(c))->ipi6_addr))
			((struct in6_pktinfo *)CMSG_DATA(c))->ipi6_ifindex = 0;
	}
}

static void forward(Watch *watch, unsigned events)
{
	Datagrams *d = (Datagrams *)watch;
	_Alignas(struct cmsghdr) char control[CONTROL];
	for (int i = 0; i < BATCH; i++) {
		struct sockaddr_storage caller = { 0 };
		struct iovec part = { .iov_base = bytes, .iov_len = sizeof(bytes) };
		struct msghdr message = { .msg_name = &caller,
			.msg_namelen = sizeof(caller),
			.msg_iov = &part,
			.msg_iovlen = 1,
			.msg_control = control,
			.msg_controllen = sizeof(control) };
		ssize_t n = recvmsg(d->route->listener, &message, MSG_DONTWAIT);
		if (n < 0)
			return;
		any_interface(&message);
		Session *session = session_of(d, &message);
		if (!session)
			continue; /* lost, as datagrams are */
		session->used = now();
		/* A first try may report what happened to an earlier datagram. */
		if (send(session->fd, bytes, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
		    errno == ECONNREFUSED)
			send(session->fd, bytes, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
	}
}

int relay_datagrams_begin(Relay *relay, const Route *route)
{
	int on = 1;
	Datagrams *d = calloc(1, sizeof(*d));
	if (!d)
		return -1;
	*d = (Datagrams){ .watch.ready = forward,
		.relay = relay,
		.route = route,
		.next = *relay_datagrams(relay) };
	*relay_datagrams(relay) = d;
	setsockopt(route->listener, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on));
	setsockopt(route->listener, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on));
	return relay_watch(relay, route->listener, EPOLLIN, &d->watch);
}
