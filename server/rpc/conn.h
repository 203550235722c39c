#pragma once
/*
 * One client connection of the REST door: plain or TLS bytes with deadlines, a read-ahead buffer,
 * and who is at the other end. Blocking for the caller, non-blocking on the descriptor, so that
 * conn_cancel() from another thread wakes whoever waits. One reader and one writer at a time.
 * Requests made in process (rest_query) use a Conn without descriptor.
 */
#include "sdk/base/error.h"
#include "server/rpc/request.h"
#include <sys/uio.h>

struct ssl_st;

typedef struct Conn {
	int fd;              /* -1: in process */
	struct ssl_st *ssl;  /* NULL: plain */
	GMutex tls;          /* an SSL object serves one thread at a time */
	Caller *caller;
	gboolean local;      /* unix socket */
	char *in;            /* read ahead: in[start..end) */
	size_t start, end, capacity;
	gboolean eager;      /* the last request came at once after the one before */
	gint cancelled;      /* atomic */
	GByteArray *memory;  /* in process: what was written */
} Conn;

Conn *conn_new(int fd, struct ssl_st *ssl, Caller *caller); /* takes all three */
void conn_free(Conn *conn);
/* Wakes readers and writers, which then fail; safe from any thread while the Conn lives. */
void conn_cancel(Conn *conn);

/* At least one byte into the read-ahead buffer: 1, 0 at the end, -1 (ERROR_TIMEOUT,
 * ERROR_CANCELLED). deadline_us 0: only what is there already (-1 without *err set means: would
 * block). */
int conn_fill(Conn *conn, int64_t deadline_us, Error **err);
/* Up to n bytes, buffered ones first: >0, 0 at the end, -1. */
ssize_t conn_read(Conn *conn, void *data, size_t n, int64_t deadline_us, Error **err);
/* Everything, or -1. No progress for the idle limit is ERROR_TIMEOUT. */
int conn_write(Conn *conn, const struct iovec *parts, int n_parts, Error **err);
/* sendfile; plain descriptors only. */
int conn_sendfile(Conn *conn, int file, uint64_t offset, uint64_t length, Error **err);
/* As stream_network_wait(): TCP only. */
gboolean conn_network_wait(const Conn *conn, int64_t *ret_us);
/* Waits for events on the descriptor: 1 ready, 0 at the deadline, -1 cancelled. */
int conn_wait(Conn *conn, short events, int64_t deadline_us, Error **err);
/* True when the other side has closed or reset (nothing is consumed). */
gboolean conn_gone(Conn *conn);
/* Before closing on a client that is still sending: reads away what comes for a moment, so that it
 * sees the reply and not a reset. */
void conn_linger(Conn *conn);
/* Frees the read-ahead buffer if it is empty: idle connections stay small. */
void conn_trim(Conn *conn);

enum { CONN_IDLE_LIMIT_S = 300, CONN_BUFFER = 16 * 1024 };
static inline int64_t conn_deadline(int seconds)
{
	return g_get_monotonic_time() + (int64_t)seconds * G_USEC_PER_SEC;
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Conn, conn_free)
