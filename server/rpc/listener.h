#pragma once
/*
 * The unix socket and the TLS ports (core.https_address, core.metrics_address), each carrying gRPC
 * and REST. Owns every connection until a door has it. Not for what requests mean.
 */
#include "server/daemon.h"

/* Binds INCUS_DIR/unix.socket (or takes LISTEN_FDS) and the TLS ports, starts both doors. Refuses
 * when another daemon answers on the socket. Sets daemon->listener. When an address is changed
 * later, the new one is bound before the old is closed; "" closes the port. "[::]:8443",
 * "10.0.0.1", ":8443": the default ports are 8443 and, for metrics, 9100. */
int listener_start(Daemon *daemon, Error **err);
/* server.crt or server.key has changed: new connections use it. */
int listener_reload_certificate(Daemon *daemon, Error **err);
/* Ends accepting and all connections, waits for handlers, removes the socket. */
void listener_stop(Daemon *daemon);
/* core.https_address as it is bound ("[::]:8443"), NULL when there is none; the caller frees it. */
char *listener_https_address(Daemon *daemon);
/* What clients can reach it by: HOST:PORT of every interface for a wildcard; NULL-terminated, free
 * with g_strfreev. Empty when there is no TLS port. */
char **listener_https_addresses(Daemon *daemon);
