#pragma once
/*
 * Socket addresses as Incus writes them ("[::]:8443", "10.0.0.1", ":8443"), and sockets bound to
 * them.
 */
#include "sdk/base/error.h"

enum { ADDRESS_DEFAULT_PORT = 8443, ADDRESS_METRICS_PORT = 9100 };

/* Listening, non-blocking TCP socket; *ret_bound is HOST:PORT. */
int address_listen(const char *address, int *ret_fd, char **ret_bound, Error **err);
/* Listening unix socket, 0660, of that group (NULL: the process's). A stale socket file is removed;
 * a living daemon behind it is ERROR_EXISTS. */
int address_listen_unix(const char *path, const char *group, int *ret_fd, Error **err);
/* Non-blocking and close-on-exec. */
void address_prepare_inherited(int fd);
/* "10.0.0.1:40000", "[fd00::1]:40000"; "" when unknown. The caller frees them. */
char *address_of_peer(int fd);
char *address_of_socket(int fd);
/* The address with this port where it names none; the caller frees it. */
char *address_complete(const char *address, int port);
/* Same host and port once defaults are filled in. */
gboolean address_equal(const char *a, const char *b);
gboolean address_same_port(const char *a, const char *b);
/* HOST:PORT by which others reach `bound`: every global address for a wildcard. g_strfreev. */
char **address_reachable(const char *bound);
