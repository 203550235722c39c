#pragma once
/*
 * incus-agent: the inside of a virtual machine, for incusd. A gRPC server (agent.proto) behind the
 * machine's serial channel. It runs as root, from early boot on, in whatever guest: linked
 * statically, it needs no library, no configuration and no service of the guest.
 *
 * Two processes: this one has gRPC's threads; the helper, started before them, has one and forks
 * what is to run (commands) or to be confined to a child (files), as incus-spawner does on the
 * host.
 */
#include "server/helper/process.h"
#include "server/helper/session.h"
#include "server/rpc/stream.h"
#include "incus/v1/agent.pb-c.h"

/* --- the process --- */

Spawner *agent_spawner(void);
/* What the helper does; control: number of its socket. */
int helper_run(int control);

/* --- door.c: the gRPC server --- */

int door_start(Error **err);
/* Takes a connected socket that speaks HTTP/2. */
void door_add(int fd);

/* --- port.c: the serial channel --- */

/* Opens the channel: a device (given, or found by its name) or a socket; -1. */
int port_open(const char *path, Error **err);
/* Serves one host after the other, until the channel is gone. Never returns 0. */
int port_run(int port, Error **err);

/* --- relay.c --- */

/* Carries bytes between a stream of AgentBytes, whose first message is `in`, and a socket
 * (borrowed) until either ends. */
void relay_run(Stream *stream, const Pb__AgentBytes *in, int socket);

/* --- guest_api.c: /dev/incus/sock --- */

enum { GUEST_API_WAITING = 32 };

/* Where else the socket is to be; for tests. */
void guest_api_place(const char *path);
void guest_api_offer(gboolean wanted);
/* Tells the host of those who wait and that it does not know of yet. */
void guest_api_announce(void);

/* --- watch.c --- */

/* Somebody has connected to the guest API; FALSE: no host listens. */
gboolean watch_tell_guest_api(uint64_t id);

/* The agent was told to end (SIGTERM): watchers are told, and have been when this returns. */
void watch_shutdown(void);
