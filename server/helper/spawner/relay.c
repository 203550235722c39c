/* The loop, and listeners of streams. */
#include "server/helper/spawner/relay.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { EVENTS = 64, TICK_MS = 10000, ACCEPTS = 64 };

typedef struct Listener {
	Watch watch;
	Relay *relay;
	const Route *route;
	int waits; /* there was no descriptor left */
} Listener;

typedef struct Garbage {
	struct Garbage *next;
	void *memory;
} Garbage;

struct Relay {
	int epoll;
	Listener *listeners;
	size_t n_listeners;
	Garbage *garbage;
	struct Datagrams *datagrams;
};

int relay_watch(Relay *relay, int fd, unsigned events, Watch *watch)
{
	struct epoll_event event = { .events = events, .data.ptr = watch };
	return epoll_ctl(relay->epoll, EPOLL_CTL_ADD, fd, &event);
}

void relay_watch_again(Relay *relay, int fd, unsigned events, Watch *watch)
{
	struct epoll_event event = { .events = events, .data.ptr = watch };
	epoll_ctl(relay->epoll, EPOLL_CTL_MOD, fd, &event);
}

void relay_forget(Relay *relay, void *memory)
{
	Garbage *garbage = malloc(sizeof(*garbage));
	if (!garbage)
		_exit(1); /* the supervisor begins anew */
	*garbage = (Garbage){ .next = relay->garbage, .memory = memory };
	relay->garbage = garbage;
}

static void collect(Relay *relay)
{
	for (Garbage *next; relay->garbage; relay->garbage = next) {
		next = relay->garbage->next;
		free(relay->garbage->memory);
		free(relay->garbage);
	}
}

struct Datagrams **relay_datagrams(Relay *relay)
{
	return &relay->datagrams;
}

static void listen_again(Listener *listener, unsigned events)
{
	listener->waits = !events;
	relay_watch_again(listener->relay, listener->route->listener, events, &listener->watch);
}

void relay_ended(Relay *relay)
{
	for (size_t i = 0; i < relay->n_listeners; i++)
		if (relay->listeners[i].waits)
			listen_again(&relay->listeners[i], EPOLLIN);
}

int relay_connect(const Address *to)
{
	int type = to->kind == ADDRESS_UDP ? SOCK_DGRAM : SOCK_STREAM;
	int fd = socket(to->socket.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	if (connect(fd, (const struct sockaddr *)&to->socket, to->length) == 0 ||
	    errno == EINPROGRESS)
		return fd;
	int error = errno;
	close(fd);
	errno = error;
	return -1;
}

/* Nobody may keep the others waiting: some at a time. */
static void accept_some(Watch *watch, unsigned events)
{
	Listener *listener = (Listener *)watch;
	for (int i = 0; i < ACCEPTS; i++) {
		int fd = accept4(
		    listener->route->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0 &&
		    (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
			listen_again(listener, 0);
			return;
		}
		if (fd < 0)
			return;
		relay_stream_begin(listener->relay, fd, listener->route);
	}
}

static int begin(Relay *relay, const Route *routes, size_t n)
{
	relay->epoll = epoll_create1(EPOLL_CLOEXEC);
	relay->listeners = calloc(n, sizeof(*relay->listeners));
	if (relay->epoll < 0 || !relay->listeners)
		return -1;
	relay->n_listeners = n;
	for (size_t i = 0; i < n; i++) {
		Listener *listener = &relay->listeners[i];
		*listener = (Listener){
			.watch.ready = accept_some, .relay = relay, .route = &routes[i]
		};
		if ((routes[i].kind == ADDRESS_UDP ?
			    relay_datagrams_begin(relay, &routes[i]) :
			    relay_watch(relay, routes[i].listener, EPOLLIN, &listener->watch)) < 0)
			return -1;
	}
	return 0;
}

int relay_run(const Route *routes, size_t n)
{
	static Relay relay;
	struct epoll_event events[EVENTS];
	if (begin(&relay, routes, n) < 0)
		return -1;
	for (;;) {
		int ready = epoll_wait(relay.epoll, events, EVENTS, TICK_MS);
		for (int i = 0; i < ready; i++) {
			Watch *watch = events[i].data.ptr;
			watch->ready(watch, events[i].events);
		}
		collect(&relay);
		relay_datagrams_expire(&relay);
		/* As sure as after an end: descriptors of others may have been what was missing. */
		if (ready == 0)
			relay_ended(&relay);
	}
}
