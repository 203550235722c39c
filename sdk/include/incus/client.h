#pragma once
/*
 * A connection to one Incus server, over its unix socket or TLS, and the errors that calls give.
 * Everything here is thread-safe except incus_client_set_* and incus_client_free: those are for the
 * thread that owns the client. No call prints anything.
 */
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct incus_client incus_client;

/* Why a call failed. Every function takes `incus_error **err` last: NULL when the caller does not
 * care, else a pointer to NULL; set on failure only, to be freed with incus_error_free(). */
typedef struct incus_error {
	char *name;      /* "NOT_FOUND", "EXISTS", ...: the kind; never NULL */
	char *message;   /* for people; never NULL */
	int grpc_status; /* grpc_status_code, 1 to 16 */
	int code;        /* what REST would answer: 404, 409, ... */
} incus_error;

void incus_error_free(incus_error *error);
/* True when error is not NULL and of that kind. */
bool incus_error_is(const incus_error *error, const char *name);
/* Sets *err (when err is not NULL) to an error of that kind ("INVALID"); returns -1. */
int incus_error_set(incus_error **err, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* How to reach and recognise a server over TLS. Strings are copied. */
typedef struct incus_tls {
	const char *client_certificate; /* PEM; NULL: come as nobody */
	const char *client_key;         /* PEM, goes with client_certificate */
	const char *server_certificate; /* PEM that the server must show; NULL: see below */
	const char
	    *server_fingerprint; /* SHA-256, hexadecimal, that it must have; NULL: see below */
	bool insecure;                  /* take any certificate (with neither of the two above) */
	int connect_timeout_ms;         /* 0: 10 seconds */
} incus_tls;

/* The unix socket at `path`; NULL: INCUS_SOCKET, else INCUS_DIR/unix.socket, else
 * /var/lib/incus/unix.socket. The connection is made here, so that a missing daemon is told at once
 * ("UNAVAILABLE"; "FORBIDDEN" where the socket is not ours to use). */
int incus_connect_unix(const char *path, incus_client **ret, incus_error **err);
/* "https://host[:port]" (8443), "host:port" or "[v6]:port". Without server_certificate and
 * server_fingerprint the certificate must be one that the system's authorities know for that name.
 */
int incus_connect_tls(const char *url, const incus_tls *tls, incus_client **ret, incus_error **err);
/* NULL is allowed. Streams of the client must be freed before. */
void incus_client_free(incus_client *client);

/* Put into the `project` and `target` fields of requests that leave them empty. NULL: nothing. */
void incus_client_set_project(incus_client *client, const char *project);
void incus_client_set_target(incus_client *client, const char *target);
const char *incus_client_project(const incus_client *client); /* "" when not set */
const char *incus_client_target(const incus_client *client);
/* Longest time of a unary call; 0 (at first) is for ever. */
void incus_client_set_timeout(incus_client *client, int timeout_ms);
/* ETag that the object of UpdateX and PatchX calls must have from now on; NULL: any. */
void incus_client_set_if_match(incus_client *client, const char *etag);
/* PEM of the certificate that the server showed; NULL over the unix socket. */
const char *incus_client_server_certificate(const incus_client *client);
/* "unix:PATH" or "https://HOST:PORT". */
const char *incus_client_url(const incus_client *client);

#ifdef __cplusplus
}
#endif
