#pragma once
/* Unix sockets by path. */

/* A stream connection, close-on-exec; flags: SOCK_NONBLOCK or 0. -1 with errno; ENAMETOOLONG: the path
 * does not fit into an address. */
int unix_connect(const char *path, int flags);
/* A stream socket with that path, of which nothing may be there, before listen(): nobody can connect
 * while it gets its rights. -1 as above. */
int unix_bind(const char *path, int flags);
/* Bytes of a path that fit. */
enum { UNIX_PATH_MOST = 107 };
