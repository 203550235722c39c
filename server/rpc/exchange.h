#pragma once
/*
 * One HTTP request and its answer on a Conn: body bytes in, head and body bytes out. Knows framing
 * (content-length, chunked, 100-continue, HEAD) and nothing of methods; server/rpc/rest.h does.
 */
#include "server/daemon.h"
#include "server/rpc/conn.h"
#include "server/rpc/door.h"
#include "server/rpc/http.h"

typedef struct Exchange {
	Door door;              /* first: rq->door points here */
	Daemon *daemon;
	Conn *conn;
	HttpHead head;
	Request rq;
	gboolean keep_alive;    /* the connection can carry another request after this one */
	gboolean head_only;     /* HEAD */
	/* Request body. */
	uint64_t body_left;     /* content-length, or rest of the present chunk */
	gboolean body_chunked, body_done, continue_due;
	uint64_t body_read;
	/* Reply. */
	gboolean begun, chunked, ended;
	int status;
	void *upgraded;         /* the WebSocket that took the connection over */
	GString *headers;       /* extra lines, each with CRLF; NULL none */
} Exchange;

void exchange_start(Exchange *ex, Daemon *daemon, Conn *conn, Arena *arena);
void exchange_clear(Exchange *ex);
/* Body bytes: >0, 0 at the end, -1. deadline_us as in conn_read. */
ssize_t exchange_read(Exchange *ex, void *data, size_t n, int64_t deadline_us, Error **err);
/* The whole body into arena memory with a NUL after it; more than limit is ERROR_TOO_LARGE. */
int exchange_read_all(Exchange *ex, size_t limit, char **ret_data, size_t *ret_length, Error **err);
/* Reads away what the handler left, so that the connection can go on; gives up on much of it. */
void exchange_drain(Exchange *ex);

/* Refuses values with control characters (header splitting): such a header is left out. */
void exchange_header(Exchange *ex, const char *name, const char *value);
/* Head and whole body. content_type NULL: no body and no Content-Type. */
int exchange_reply(Exchange *ex, int status, const char *content_type, const char *body,
    size_t length, Error **err);
/* Head only; length -1 is chunked (or until close for HTTP/1.0). Then writes, then the end. */
int exchange_begin(Exchange *ex, int status, const char *content_type, int64_t length, Error **err);
int exchange_write(Exchange *ex, const void *data, size_t length, Error **err);
int exchange_end(Exchange *ex, Error **err);
