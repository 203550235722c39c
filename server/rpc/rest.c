#include "server/rpc/rest.h"
#include "sdk/base/log.h"
#include "server/rpc/access.h"
#include "server/rpc/cors.h"
#include "server/rpc/decode.h"
#include "server/rpc/field.h"
#include "server/rpc/identity.h"
#include "server/rpc/raw.h"
#include "server/rpc/reply.h"
#include "server/rpc/websocket.h"
#include "server/rpc/worker.h"
#include <poll.h>
#include <sched.h>
#include <string.h>

/* How long a worker stays with a connection that has just been served: a busy client is answered
 * without a trip through epoll. */
enum { LINGER_US = 2000 };
/* To be woken takes an idle processor some 20 us, of a virtual machine more: a client that asks again
 * at once is looked for that long before the worker sleeps. */
enum { SPIN_US = 50, AGAIN_US = 100 };

static int serve_unary(Exchange *ex, const Method *method, ProtobufCMessage *in, Error **err)
{
	ProtobufCMessage *out = field_new_message(ex->rq.arena, method->schema->output);
	if (decode_body(ex, method->schema, in, err) < 0 ||
	    method->unary(&ex->rq, in, out, err) < 0)
		return -1;
	return reply_message(ex, method->schema, in, out, err);
}

static int serve_method(Exchange *ex, const Method *method, ProtobufCMessage *in, Error **err)
{
	if (method->unary)
		return serve_unary(ex, method, in, err);
	if (worker_stream_begin(err) < 0)
		return -1;
	int result = method->schema->envelope == ENVELOPE_WEBSOCKET ?
	    websocket_serve(ex, method, in, err) :
	    raw_serve(ex, method, in, err);
	worker_stream_end();
	return result;
}

/* While the daemon shuts down only these go on. */
static gboolean allowed_in_shutdown(const HttpHead *head)
{
	return !strcmp(head->method, "GET") || g_str_has_prefix(head->path, "/internal/") ||
	       !strcmp(head->path, "/1.0") || g_str_has_prefix(head->path, "/1.0/operations");
}

static int find_method(Exchange *ex, RouteMatch *match, Error **err)
{
	static const char *const verbs[] = { "GET", "HEAD", "PUT", "POST", "DELETE", "PATCH",
		NULL };
	RouteResult found = route_find(
	    ex->head.method, ex->head.path, http_header(&ex->head, "Content-Type"), match);
	if (found == ROUTE_NO_PATH)
		return error_set(err, ERROR_NOT_FOUND, "not found");
	if (!g_strv_contains(verbs, ex->head.method))
		return error_set(err, ERROR_METHOD, "Method \"%s\" not found", ex->head.method);
	if (g_atomic_int_get(&ex->daemon->shutting_down) && !allowed_in_shutdown(&ex->head))
		return error_set(err, ERROR_UNAVAILABLE, "Shutting down");
	if (found == ROUTE_FOUND)
		return 0;
	if (ex->rq.caller->kind == CALLER_UNTRUSTED)
		return error_set(err, ERROR_FORBIDDEN, "not authorized");
	return error_set(err, ERROR_UNSUPPORTED, "not implemented");
}

static int serve(Exchange *ex, Error **err)
{
	RouteMatch match;
	ProtobufCMessage *in;
	if (find_method(ex, &match, err) < 0)
		return -1;
	ex->rq.method = match.method;
	if (decode_head(ex, &match, &in, err) < 0)
		return -1;
	/* A client that says it has authenticated elsewhere must not fall back to being a stranger.
	 */
	if (ex->rq.caller->kind == CALLER_UNTRUSTED &&
	    http_header(&ex->head, "X-Incus-authenticated"))
		return error_set(err, ERROR_FORBIDDEN, "not authorized");
	if (access_check(&ex->rq, err) < 0)
		return -1;
	return serve_method(ex, match.method, in, err);
}

static void handle(Exchange *ex)
{
	g_autoptr(Error) err = NULL;
	cors_headers(ex);
	if (!strcmp(ex->head.method, "OPTIONS")) {
		exchange_reply(ex, 200, NULL, "", 0, &err);
		return;
	}
	if (serve(ex, &err) < 0)
		reply_error(ex, err);
}

void rest_answer_as_admin(Exchange *ex)
{
	g_autoptr(Error) err = NULL;
	g_autoptr(Caller) admin = caller_copy(ex->rq.caller);
	const Caller *before = ex->rq.caller;
	admin->admin = TRUE;
	ex->rq.caller = admin;
	if (serve(ex, &err) < 0)
		reply_error(ex, err);
	ex->rq.caller = before;
}

/* One request whose head is complete; FALSE: close the connection. */
static gboolean serve_one(Daemon *daemon, Conn *conn, size_t head_length)
{
	g_autoptr(Arena) arena = arena_new();
	Exchange ex = { 0 };
	/* A copy: reading the body moves the buffer. */
	char *head = arena_memdup(arena, conn->in + conn->start, head_length);
	conn->start += head_length;
	int status = http_head_parse(head, head_length, &ex.head);
	if (status) {
		ex.head.method = "";
		ex.head.keep_alive = ex.head.chunked = FALSE;
		ex.head.content_length = -1;
		exchange_start(&ex, daemon, conn, arena);
		reply_status(&ex, status, http_status_text(status));
		exchange_clear(&ex);
		return FALSE;
	}
	Caller *fresh = conn->ssl ? identity_refresh(daemon, conn->caller) : NULL;
	if (fresh) {
		caller_free(conn->caller);
		conn->caller = fresh;
	}
	exchange_start(&ex, daemon, conn, arena);
	handle(&ex);
	exchange_drain(&ex);
	exchange_clear(&ex);
	if (!ex.keep_alive && !ex.body_done && ex.begun && !ex.continue_due)
		conn_linger(conn);
	return ex.keep_alive;
}

static void refuse_head(Daemon *daemon, Conn *conn)
{
	g_autoptr(Arena) arena = arena_new();
	Exchange ex = {
		.head = { .method = "", .path = "", .query = "", .host = "", .content_length = -1 }
	};
	exchange_start(&ex, daemon, conn, arena);
	reply_status(&ex, 431, http_status_text(431));
	exchange_clear(&ex);
}

static void skip_empty_line(Conn *conn)
{
	if (conn->end - conn->start >= 2 && !memcmp(conn->in + conn->start, "\r\n", 2))
		conn->start += 2;
}

static gboolean spin(const Conn *conn, int64_t until)
{
	struct pollfd pfd = { .fd = conn->fd, .events = POLLIN };
	do {
		if (poll(&pfd, 1, 0) > 0)
			return TRUE;
		sched_yield(); /* the client may wait for this very processor */
	} while (g_get_monotonic_time() < until);
	return FALSE;
}

/* Waits a moment for the next request. */
static gboolean linger(Conn *conn, Error **err)
{
	if (worker_scarce())
		return FALSE;
	int64_t start = g_get_monotonic_time();
	gboolean came = (conn->eager && spin(conn, start + SPIN_US)) ||
	    conn_wait(conn, POLLIN, start + LINGER_US, err) > 0;
	conn->eager = came && g_get_monotonic_time() - start < AGAIN_US;
	return came;
}

RestResult rest_serve(Daemon *daemon, Conn *conn)
{
	gboolean served = FALSE;
	for (;;) {
		g_autoptr(Error) err = NULL;
		size_t have = conn->end - conn->start;
		size_t length = have ? http_head_length(conn->in + conn->start, have) : 0;
		if (length > HTTP_HEAD_MAX || (!length && have > HTTP_HEAD_MAX)) {
			refuse_head(daemon, conn);
			return REST_CLOSE;
		}
		if (length) {
			if (!serve_one(daemon, conn, length))
				return REST_CLOSE;
			served = TRUE;
			skip_empty_line(conn);
			continue;
		}
		/* TLS may hold decrypted bytes that poll does not see: there the read comes first.
		 */
		if (served && !have && !conn->ssl && !linger(conn, &err))
			return err ? REST_CLOSE : REST_PARK;
		int got = conn_fill(conn, 0, &err);
		if (got > 0)
			continue;
		if (got == 0 || err)
			return REST_CLOSE;
		if (!served || have || !conn->ssl || !linger(conn, &err))
			return err ? REST_CLOSE : REST_PARK;
		served = FALSE;
	}
}

/* "HTTP/1.1 200 OK\r\nName: value\r\n...\r\n\r\nbody", made by exchange.c. */
static int split_reply(Arena *arena, const GByteArray *bytes, int *ret_status,
    const char *const **ret_headers, const uint8_t **ret_body, size_t *ret_length, Error **err)
{
	size_t head_length = http_head_length((const char *)bytes->data, bytes->len);
	if (!head_length || bytes->len < 13)
		return error_set(err, ERROR_INTERNAL, "The request was not answered");
	char *head = arena_strndup(arena, (const char *)bytes->data, head_length - 4);
	g_auto(GStrv) lines = g_strsplit(head, "\r\n", -1);
	guint n = g_strv_length(lines);
	const char **headers = arena_alloc(arena, sizeof(char *) * (2 * n + 1));
	size_t k = 0;
	for (guint i = 1; i < n; i++) {
		char *colon = strstr(lines[i], ": ");
		if (!colon)
			continue;
		headers[k++] = arena_strndup(arena, lines[i], (size_t)(colon - lines[i]));
		headers[k++] = arena_strdup(arena, colon + 2);
	}
	*ret_status = atoi(head + strlen("HTTP/1.1 "));
	*ret_headers = headers;
	*ret_length = bytes->len - head_length;
	*ret_body = arena_memdup(arena, bytes->data + head_length, *ret_length);
	return 0;
}

int rest_query(Request *rq, const char *verb, const char *path, const char *if_match,
    const void *body, size_t length, int *ret_status, const char *const **ret_headers,
    const uint8_t **ret_body, size_t *ret_length, Error **err)
{
	g_autoptr(Conn) conn = conn_new(-1, NULL, caller_copy(rq->caller));
	g_autoptr(Arena) arena = arena_new();
	g_autoptr(GString) head = g_string_new(NULL);
	Exchange ex = { 0 };

	for (const char *c = path; *c; c++)
		if (*c <= 0x20)
			return error_set(err, ERROR_INVALID, "Malformed path");
	if (if_match && strpbrk(if_match, "\r\n"))
		return error_set(err, ERROR_INVALID, "Malformed ETag");
	conn->memory = g_byte_array_new();
	conn->in = length ? g_memdup2(body, length) : NULL;
	conn->end = conn->capacity = length;
	/* HTTP/1.0: no chunks, the body ends with the connection. */
	g_string_append_printf(
	    head, "%s %s HTTP/1.0\r\nContent-Length: %zu\r\n", verb, path, length);
	if (if_match && *if_match)
		g_string_append_printf(head, "If-Match: %s\r\n", if_match);
	g_string_append(head, "\r\n");
	if (http_head_parse(head->str, head->len, &ex.head))
		return error_set(err, ERROR_INVALID, "Malformed request: %s", path);
	exchange_start(&ex, rq->daemon, conn, arena);
	ex.rq.host = rq->host;
	handle(&ex);
	exchange_clear(&ex);
	return split_reply(
	    rq->arena, conn->memory, ret_status, ret_headers, ret_body, ret_length, err);
}
