#pragma once
/*
 * HTTP/1.1 request heads and chunk lines (RFC 9112), strictly: what two parsers could read in two
 * ways is refused. Pure functions over a buffer, no input or output; server/rpc/conn.h does that.
 */
#include "sdk/base/error.h"
#include <sys/types.h>

enum {
	HTTP_HEAD_MAX = 64 * 1024,  /* request line and headers */
	HTTP_TARGET_MAX = 16 * 1024,
	HTTP_HEADERS_MAX = 100,
	HTTP_CHUNK_LINE_MAX = 256,
};

typedef struct HttpHeader {
	const char *name, *value; /* value without the white space around it */
} HttpHeader;

typedef struct HttpHead {
	const char *method;
	const char *path;         /* raw: still percent-encoded */
	const char *query;        /* raw, without '?'; "" when none */
	int minor;                /* HTTP/1.minor */
	unsigned n_headers;
	HttpHeader headers[HTTP_HEADERS_MAX];
	gboolean keep_alive;      /* what the client wants */
	gboolean chunked;
	int64_t content_length;   /* -1 when not given */
	gboolean expect_continue;
	const char *host;         /* "" when none (HTTP/1.0) */
	const char *upgrade;      /* NULL unless "Connection: upgrade" names it */
} HttpHead;

/* Length of the head at the start of `data`, its empty line included; 0 while it is incomplete. */
size_t http_head_length(const char *data, size_t length);
/* Parses a complete head in place: strings of *ret_head point into `data`, which it cuts up with
 * NULs. Returns 0, or the HTTP status to refuse it with (400, 414, 417, 431, 501, 505). */
int http_head_parse(char *data, size_t length, HttpHead *ret_head);
/* First header of this name (any case), NULL when absent. */
const char *http_header(const HttpHead *head, const char *name);
/* True when the comma-separated list holds the token (any case). */
gboolean http_list_has(const char *list, const char *token);

/* Reads "SIZE[;extensions]CRLF". Returns the line's length, 0 while incomplete, -1 when malformed.
 */
ssize_t http_chunk_line(const char *data, size_t length, uint64_t *ret_size);

/* Decodes %XX; NULL for bad escapes, NUL and what is not UTF-8 then. plus: '+' is a space. */
char *http_percent_decode(const char *text, size_t length, gboolean plus);
/* Encodes everything outside the unreserved characters of RFC 3986. */
char *http_percent_encode(const char *text);
const char *http_status_text(int status);
