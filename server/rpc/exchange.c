#include "server/rpc/exchange.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { BODY_IDLE_S = 60, DRAIN_MAX = 256 * 1024 };

static gboolean exchange_cancelled(const Door *door)
{
	return conn_gone(((const Exchange *)door)->conn);
}

void exchange_start(Exchange *ex, Daemon *daemon, Conn *conn, Arena *arena)
{
	ex->door.cancelled = exchange_cancelled;
	ex->daemon = daemon;
	ex->conn = conn;
	ex->keep_alive = ex->head.keep_alive;
	ex->head_only = !strcmp(ex->head.method, "HEAD");
	ex->body_chunked = ex->head.chunked;
	ex->body_left = ex->head.content_length > 0 ? (uint64_t)ex->head.content_length : 0;
	ex->body_done = !ex->body_chunked && !ex->body_left;
	ex->continue_due = ex->head.expect_continue && !ex->body_done;
	ex->rq = (Request){
		.caller = conn->caller,
		.project = "default",
		.target = "",
		.if_match = http_header(&ex->head, "If-Match"),
		.host = ex->head.host,
		.deadline_us = G_MAXINT64,
		.rest = TRUE,
		.arena = arena,
		.daemon = daemon,
		.door = ex,
	};
}

void exchange_clear(Exchange *ex)
{
	if (ex->headers)
		g_string_free(ex->headers, TRUE);
	ex->headers = NULL;
}

static int send_continue(Exchange *ex, Error **err)
{
	static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
	ex->continue_due = FALSE;
	if (ex->conn->start < ex->conn->end)
		return 0; /* the client did not wait */
	struct iovec part = { (char *)text, sizeof(text) - 1 };
	return conn_write(ex->conn, &part, 1, err);
}

/* Fills until the buffer's front holds a whole line, by `parse`, and drops that line. */
static int read_chunk_line(Exchange *ex, int64_t deadline_us, Error **err)
{
	Conn *conn = ex->conn;
	uint64_t size = 0;
	for (;;) {
		ssize_t n = http_chunk_line(conn->in + conn->start, conn->end - conn->start, &size);
		if (n < 0)
			return error_set(err, ERROR_INVALID, "Malformed chunk in the request body");
		if (n > 0) {
			conn->start += (size_t)n;
			break;
		}
		int got = conn_fill(conn, deadline_us, err);
		if (got <= 0)
			return got < 0 ?
			    -1 :
			    error_set(err, ERROR_CANCELLED, "Request body ended early");
	}
	ex->body_left = size;
	return 0;
}

/* The CRLF after a chunk's data. */
static int read_crlf(Exchange *ex, int64_t deadline_us, Error **err)
{
	char text[2];
	for (size_t have = 0; have < 2;) {
		ssize_t got = conn_read(ex->conn, text + have, 2 - have, deadline_us, err);
		if (got <= 0)
			return got < 0 ?
			    -1 :
			    error_set(err, ERROR_CANCELLED, "Request body ended early");
		have += (size_t)got;
	}
	if (text[0] != '\r' || text[1] != '\n')
		return error_set(err, ERROR_INVALID, "Malformed chunk in the request body");
	return 0;
}

/* Trailers are read and forgotten: nothing here uses them, and merging them is how smuggling
 * starts. */
static int skip_trailers(Exchange *ex, int64_t deadline_us, Error **err)
{
	Conn *conn = ex->conn;
	for (size_t total = 0;;) {
		char *line = conn->in + conn->start;
		char *eol = conn->start < conn->end ?
		    memmem(line, conn->end - conn->start, "\r\n", 2) :
		    NULL;
		if (eol) {
			size_t length = (size_t)(eol - line) + 2;
			conn->start += length;
			total += length;
			if (length == 2)
				return 0;
		} else {
			int got = conn_fill(conn, deadline_us, err);
			if (got <= 0)
				return got < 0 ?
				    -1 :
				    error_set(err, ERROR_CANCELLED, "Request body ended early");
		}
		if (total + (conn->end - conn->start) > HTTP_HEAD_MAX && !eol)
			return error_set(err, ERROR_INVALID, "Trailers too large");
	}
}

ssize_t exchange_read(Exchange *ex, void *data, size_t n, int64_t deadline_us, Error **err)
{
	if (ex->body_done)
		return 0;
	if (ex->continue_due && send_continue(ex, err) < 0)
		return -1;
	if (!deadline_us || deadline_us == G_MAXINT64)
		deadline_us = conn_deadline(CONN_IDLE_LIMIT_S);
	if (!ex->body_left) { /* chunked, between two chunks */
		if (ex->body_read && read_crlf(ex, deadline_us, err) < 0)
			goto broken;
		if (read_chunk_line(ex, deadline_us, err) < 0)
			goto broken;
		if (!ex->body_left) {
			if (skip_trailers(ex, deadline_us, err) < 0)
				goto broken;
			ex->body_done = TRUE;
			return 0;
		}
	}
	ssize_t got = conn_read(ex->conn, data, MIN(n, ex->body_left), deadline_us, err);
	if (got == 0)
		error_set(err, ERROR_CANCELLED, "Request body ended early");
	if (got <= 0)
		goto broken;
	ex->body_left -= (uint64_t)got;
	ex->body_read += (uint64_t)got;
	if (!ex->body_left && !ex->body_chunked)
		ex->body_done = TRUE;
	return got;
broken:
	ex->keep_alive = FALSE;
	return -1;
}

int exchange_read_all(Exchange *ex, size_t limit, char **ret_data, size_t *ret_length, Error **err)
{
	size_t capacity = !ex->body_chunked ? (size_t)MIN(ex->body_left, limit) + 1 : 4096;
	size_t length = 0;
	if (!ex->body_chunked && ex->body_left > limit)
		return error_set(err, ERROR_TOO_LARGE, "Request body too large");
	char *data = arena_alloc(ex->rq.arena, capacity);
	for (;;) {
		if (length + 1 == capacity && !ex->body_done) {
			char *bigger = arena_alloc(ex->rq.arena, capacity * 2);
			memcpy(bigger, data, length);
			data = bigger;
			capacity *= 2;
		}
		ssize_t got = exchange_read(
		    ex, data + length, capacity - 1 - length, conn_deadline(BODY_IDLE_S), err);
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		length += (size_t)got;
		if (length > limit)
			return error_set(err, ERROR_TOO_LARGE, "Request body too large");
	}
	data[length] = 0;
	*ret_data = data;
	*ret_length = length;
	return 0;
}

void exchange_drain(Exchange *ex)
{
	if (ex->body_done || !ex->keep_alive)
		return;
	if (ex->continue_due || (!ex->body_chunked && ex->body_left > DRAIN_MAX)) {
		ex->keep_alive = FALSE;
		return;
	}
	g_autofree char *scrap = g_malloc(16 * 1024);
	g_autoptr(Error) ignored = NULL;
	ssize_t got = 0;
	for (size_t total = 0; total < DRAIN_MAX; total += (size_t)got) {
		got = exchange_read(ex, scrap, 16 * 1024, conn_deadline(5), &ignored);
		if (got <= 0)
			break;
	}
	if (!ex->body_done)
		ex->keep_alive = FALSE;
}

void exchange_header(Exchange *ex, const char *name, const char *value)
{
	for (const char *c = value; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			return;
	if (!ex->headers)
		ex->headers = g_string_new(NULL);
	g_string_append_printf(ex->headers, "%s: %s\r\n", name, value);
}

/* "Date: ...", made once a second by each thread. */
static const char *date_line(void)
{
	static _Thread_local time_t made;
	static _Thread_local char line[64];
	time_t now = time(NULL);
	if (now != made) {
		struct tm tm;
		gmtime_r(&now, &tm);
		strftime(line, sizeof(line), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
		made = now;
	}
	return line;
}

/* `size` is enough for what is written here: a long content type goes among the other headers. */
static size_t format_head(
    Exchange *ex, char *out, size_t size, int status, const char *content_type, int64_t length)
{
	if (content_type && strlen(content_type) > 128) {
		exchange_header(ex, "Content-Type", content_type);
		content_type = NULL;
	}
	int n = snprintf(
	    out, size, "HTTP/1.1 %d %s\r\n%s", status, http_status_text(status), date_line());
	if (content_type)
		n += snprintf(out + n, size - (size_t)n, "Content-Type: %s\r\n", content_type);
	if (length >= 0)
		n += snprintf(
		    out + n, size - (size_t)n, "Content-Length: %" G_GINT64_FORMAT "\r\n", length);
	else if (ex->chunked)
		n += snprintf(out + n, size - (size_t)n, "Transfer-Encoding: chunked\r\n");
	if (!ex->keep_alive)
		n += snprintf(out + n, size - (size_t)n, "Connection: close\r\n");
	else if (!ex->head.minor)
		n += snprintf(out + n, size - (size_t)n, "Connection: keep-alive\r\n");
	return (size_t)n;
}

int exchange_reply(Exchange *ex, int status, const char *content_type, const char *body,
    size_t length, Error **err)
{
	char head[512];
	/* A client that waits for 100 Continue may send the body after all: do not guess. */
	if (ex->continue_due || (!ex->body_done && !ex->body_chunked && ex->body_left > DRAIN_MAX))
		ex->keep_alive = FALSE;
	ex->begun = ex->ended = TRUE;
	ex->status = status;
	size_t head_length = format_head(
	    ex, head, sizeof(head), status, content_type, (int64_t)length);
	struct iovec parts[4] = {
		{ head, head_length },
		{ ex->headers ? ex->headers->str : (char *)"", ex->headers ? ex->headers->len : 0 },
		{ (char *)"\r\n", 2 },
		{ (char *)body, ex->head_only ? 0 : length },
	};
	if (conn_write(ex->conn, parts, 4, err) < 0) {
		ex->keep_alive = FALSE;
		return -1;
	}
	return 0;
}

int exchange_begin(Exchange *ex, int status, const char *content_type, int64_t length, Error **err)
{
	char head[512];
	if (length < 0) {
		ex->chunked = ex->head.minor == 1;
		if (!ex->chunked)
			ex->keep_alive = FALSE;
	}
	ex->begun = TRUE;
	ex->status = status;
	size_t head_length = format_head(ex, head, sizeof(head), status, content_type, length);
	struct iovec parts[3] = {
		{ head, head_length },
		{ ex->headers ? ex->headers->str : (char *)"", ex->headers ? ex->headers->len : 0 },
		{ (char *)"\r\n", 2 },
	};
	return conn_write(ex->conn, parts, 3, err);
}

int exchange_write(Exchange *ex, const void *data, size_t length, Error **err)
{
	char size[24];
	if (ex->head_only || !length)
		return 0;
	struct iovec parts[3] = { { size, 0 }, { (void *)data, length }, { (char *)"\r\n", 0 } };
	if (ex->chunked) {
		parts[0].iov_len = (size_t)snprintf(size, sizeof(size), "%zx\r\n", length);
		parts[2].iov_len = 2;
	}
	return conn_write(ex->conn, parts, 3, err);
}

int exchange_end(Exchange *ex, Error **err)
{
	if (ex->ended)
		return 0;
	ex->ended = TRUE;
	struct iovec part = { (char *)"0\r\n\r\n", 5 };
	return ex->chunked && !ex->head_only ? conn_write(ex->conn, &part, 1, err) : 0;
}
