#pragma once
/*
 * The sockets of a forwarder (a proxy device): addresses as text, and listening sockets made on the
 * host or inside a container. For proxy.c.
 */
#include "server/helper/spawner/relay.h"

/* How a socket file is to be: its mode and owner where it is made. */
typedef struct SocketOwner {
	unsigned mode, uid, gid;
} SocketOwner;

/* "tcp 10.0.0.1 80", "udp :: 53", "unix /path", "abstract NAME". 0, or -1 with errno. */
int address_parse(const char *text, Address *ret);
/* A socket file's path; NULL for all else. */
const char *address_path(const Address *address);
/* A non-blocking socket that listens there, in the namespaces that we are in. -1 with errno. */
int address_listen(const Address *address, const SocketOwner *owner);
