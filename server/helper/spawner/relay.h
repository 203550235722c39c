#pragma once
/*
 * What a forwarder does all day: takes connections (or datagrams) at listening sockets and carries
 * bytes between each and a new connection to where it leads. One thread, one epoll; bytes of
 * streams do not leave the kernel (splice). Not for who may listen where: proxy.h.
 */
#include <stddef.h>
#include <sys/socket.h>

typedef enum AddressKind { ADDRESS_TCP, ADDRESS_UDP, ADDRESS_UNIX } AddressKind;

typedef struct Address {
	AddressKind kind;
	socklen_t length;
	struct sockaddr_storage socket;
} Address;

/* A socket that listens and where what comes in goes. */
typedef struct Route {
	int listener;
	AddressKind kind;
	Address to;
	int announce; /* every connection begins with a PROXY line that tells who called */
} Route;

/* Serves for ever. Listeners are non-blocking. -1 with errno when it cannot begin. */
int relay_run(const Route *routes, size_t n);

/* ---- between relay*.c ---- */

typedef struct Relay Relay;

/* Whatever epoll watches; `ready` may free it. */
typedef struct Watch {
	void (*ready)(struct Watch *watch, unsigned events);
} Watch;

int relay_watch(Relay *relay, int fd, unsigned events, Watch *watch);
void relay_watch_again(Relay *relay, int fd, unsigned events, Watch *watch);
/* Watches that go are freed after the events in hand: another of them may name the same one. */
void relay_forget(Relay *relay, void *memory);
/* A non-blocking socket that connects there, at once or later; -1 with errno. */
int relay_connect(const Address *to);
/* Takes one caller's connection over. 0, or -1 with errno; the socket is closed either way. */
int relay_stream_begin(Relay *relay, int caller, const Route *route);
/* Takes a listener of datagrams over. */
int relay_datagrams_begin(Relay *relay, const Route *route);
/* Called about every ten seconds. */
void relay_datagrams_expire(Relay *relay);
/* Relay's own lists. */
struct Datagrams **relay_datagrams(Relay *relay);
/* A connection ended: listeners that had to wait for a free descriptor go on. */
void relay_ended(Relay *relay);
