#pragma once
/*
 * The daemon's side of incus-spawner: starts it (again when it died) and sends requests.
 * Thread-safe; requests run side by side, each with a socket of its own. What the messages are:
 * packet.h.
 */
#include "sdk/base/error.h"
#include "server/daemon.h"
#include "server/helper/packet.h"

typedef struct Spawner Spawner;

/* Its path (g_free): beside incusd, where both the build and the package put it. */
char *spawner_program(void);
/* Before the daemon has threads. */
int spawner_start(Daemon *d, Error **err);
/* The same without a daemon: `program` is given the number of its control socket. It is started
 * before the caller has threads, and ends with it. */
int spawner_new(const char *program, Spawner **ret_spawner, Error **err);
void spawner_stop(Daemon *d); /* containers and their monitors go on */

/* Sends `request`, with fds[0..] already added by packet_add_fd() as the second and later ones, and
 * waits for the answer (call may be NULL; timeout 0: for ever). The request is freed, its fds stay
 * the caller's. *ret_answer holds the answer's fds until taken or packet_free(). An answer that
 * reports a failure becomes an Error (errno of ENOENT and its kin in *ret_errno when given).
 * ret_socket, when given, keeps the request's socket for more messages (exec, files). */
typedef struct SpawnerCall {
	int timeout_ms;
	int *ret_socket;
	int *ret_errno;
} SpawnerCall;
int spawner_call(Spawner *spawner, Packet *request, const SpawnerCall *call, Packet **ret_answer,
    Error **err);
/* Next packet on a socket kept from a call. 1, 0 at its end, -1; ERROR_TIMEOUT. */
int spawner_receive(int socket, int timeout_ms, Packet *packet, Error **err);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Packet, packet_free)
