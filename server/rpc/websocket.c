#include "server/rpc/websocket.h"
#include "sdk/base/json.h"
#include "sdk/client.h"
#include "server/rpc/decode.h"
#include "server/rpc/field.h"
#include "server/rpc/stream_ops.h"
#include "server/rpc/websocket_frame.h"
#include <openssl/rand.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum {
	PING_S = 10,
	TEXT_MAX = 1024 * 1024,
	WHOLE_MAX = 16 * 1024 * 1024,
	HEAD_MAX = 16384,
	GROW = 64 * 1024, /* the buffer, ahead of what a head promises */
	CLOSE_NORMAL = 1000
};

typedef struct Socket {
	Stream base;
	Exchange *ex;
	Conn *conn;
	const Method *method;
	gboolean open, framed; /* framed: WebSocket, else plain bytes */
	gboolean client;       /* we are it: what goes out is masked */
	gboolean whole;	       /* messages are handed out complete */
	const ProtobufCFieldDescriptor *in_data, *in_text, *out_data, *out_text;
	ProtobufCMessage *chunk;
	/* Sending. */
	GMutex sending;
	gboolean close_sent;
	int64_t pinged_us;
	/* Receiving: one thread at a time. */
	GMutex receiving;
	gboolean close_received, broken;
	unsigned opcode; /* of the message being received */
	uint8_t head[WEBSOCKET_HEAD_MAX];
	size_t head_have;
	WebsocketHead frame; /* the present one */
	gboolean in_frame;
	uint64_t frame_got; /* bytes of its payload so far */
	uint8_t control[WEBSOCKET_CONTROL_MAX];
	uint8_t *buffer;
	size_t have, capacity;
	gboolean delivered; /* what is in the buffer */
} Socket;

char *websocket_accept_key(const char *key)
{
	g_autofree char *text = g_strconcat(key, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", NULL);
	GChecksum *sum = g_checksum_new(G_CHECKSUM_SHA1);
	guint8 digest[20];
	gsize length = sizeof(digest);
	g_checksum_update(sum, (const guchar *)text, -1);
	g_checksum_get_digest(sum, digest, &length);
	g_checksum_free(sum);
	return g_base64_encode(digest, length);
}

/* --- sending --- */

/* The frame, under the lock of those that send. */
static int write_frame(Socket *socket, WebsocketHead *frame, const uint8_t *data, Error **err)
{
	uint8_t head[WEBSOCKET_HEAD_MAX];
	g_autofree uint8_t *masked = NULL;
	if (frame->masked) { /* RFC 6455 5.3: what a client sends */
		RAND_bytes(frame->mask, sizeof(frame->mask));
		masked = g_malloc(frame->length + 1);
		websocket_mask(masked, data, frame->length, frame->mask, 0);
	}
	size_t size = websocket_head_write(frame, head);
	struct iovec parts[2] = { { head, size },
		{ masked ? masked : (uint8_t *)data, frame->length } };
	return conn_write(socket->conn, parts, 2, err);
}

static int send_frame(Socket *socket, unsigned opcode, const void *data, size_t length, Error **err)
{
	WebsocketHead frame = { opcode, .final = TRUE, .masked = socket->client, .length = length };
	g_mutex_lock(&socket->sending);
	int result = socket->close_sent ? error_set(err, ERROR_CANCELLED, "WebSocket is closed") :
					  write_frame(socket, &frame, data, err);
	socket->close_sent |= opcode == WEBSOCKET_CLOSE;
	g_mutex_unlock(&socket->sending);
	return result;
}

static void send_close(Socket *socket)
{
	const uint8_t code[2] = { CLOSE_NORMAL >> 8, CLOSE_NORMAL & 0xff };
	send_frame(socket, WEBSOCKET_CLOSE, code, sizeof(code), NULL);
}

static void ping_when_due(Socket *socket)
{
	int64_t now = g_get_monotonic_time();
	if (!socket->framed || now - socket->pinged_us < PING_S * G_USEC_PER_SEC)
		return;
	socket->pinged_us = now;
	send_frame(socket, WEBSOCKET_PING, "keepalive", strlen("keepalive"), NULL);
}

static int socket_open(Stream *stream, Error **err)
{
	Socket *socket = (Socket *)stream;
	if (socket->open)
		return 0;
	g_autoptr(GString) head = g_string_new("HTTP/1.1 101 Switching Protocols\r\n");
	if (socket->framed) {
		g_autofree char *accepted = websocket_accept_key(
		    http_header(&socket->ex->head, "Sec-WebSocket-Key"));
		g_string_append_printf(head,
		    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n",
		    accepted);
	} else {
		g_string_append_printf(head, "Upgrade: %s\r\nConnection: Upgrade\r\n",
		    socket->method->schema->upgrade);
	}
	g_string_append(head, "\r\n");
	socket->open = socket->ex->begun = TRUE;
	socket->ex->keep_alive = FALSE;
	struct iovec part = { head->str, head->len };
	return conn_write(socket->conn, &part, 1, err);
}

static int socket_send(Stream *stream, const ProtobufCMessage *message, Error **err)
{
	Socket *socket = (Socket *)stream;
	if (!socket->open && socket_open(stream, err) < 0)
		return -1;
	if (!socket->out_data) {
		g_autoptr(GString) json = g_string_sized_new(512);
		json_write(json, message, G_MAXUINT, 0);
		return send_frame(socket, WEBSOCKET_TEXT, json->str, json->len, err);
	}
	const ProtobufCBinaryData *data = field_at(message, socket->out_data);
	if (socket->framed) {
		gboolean text = socket->out_text &&
		    *(protobuf_c_boolean *)field_at(message, socket->out_text);
		return send_frame(
		    socket, text ? WEBSOCKET_TEXT : WEBSOCKET_BINARY, data->data, data->len, err);
	}
	g_mutex_lock(&socket->sending);
	struct iovec part = { data->data, data->len };
	int result = conn_write(socket->conn, &part, 1, err);
	g_mutex_unlock(&socket->sending);
	return result;
}

static int socket_close_send(Stream *stream, Error **err)
{
	Socket *socket = (Socket *)stream;
	if (!socket->open && socket_open(stream, err) < 0)
		return -1;
	if (socket->framed)
		send_close(socket);
	else if (!socket->conn->ssl)
		shutdown(socket->conn->fd, SHUT_WR);
	return 0;
}

static void socket_set_whole(Stream *stream)
{
	((Socket *)stream)->whole = TRUE;
}

static gboolean socket_network_wait(const Stream *stream, int64_t *ret_us)
{
	return conn_network_wait(((const Socket *)stream)->conn, ret_us);
}

static void socket_cancel(Stream *stream)
{
	conn_cancel(((Socket *)stream)->conn);
}

/* --- receiving --- */

static int protocol_error(Socket *socket, Error **err)
{
	socket->broken = TRUE;
	return error_set(err, ERROR_INVALID, "WebSocket protocol error");
}

/* Bytes that are here: >0, 0 none yet, -1. */
static ssize_t take_bytes(Socket *socket, void *data, size_t length, Error **err)
{
	g_autoptr(Error) problem = NULL;
	ssize_t got = conn_read(socket->conn, data, length, 0, &problem);
	if (got > 0)
		return got;
	if (got < 0 && !problem)
		return 0;
	socket->broken = TRUE;
	return error_set(err, ERROR_CANCELLED, "Connection closed by the client");
}

/* The head comes through the connection's buffer, which takes in more at once than its few bytes;
 * of the payload, only what came with it does. */
static ssize_t take_head(Socket *socket, Error **err)
{
	Conn *conn = socket->conn;
	size_t size;
	while (socket->head_have < (size = websocket_head_size(socket->head, socket->head_have))) {
		if (conn->start == conn->end)
			conn_fill(conn, 0, NULL);
		ssize_t got = take_bytes(
		    socket, socket->head + socket->head_have, size - socket->head_have, err);
		if (got <= 0)
			return got;
		socket->head_have += (size_t)got;
	}
	socket->head_have = 0;
	return websocket_head_read(socket->head, &socket->frame) ? 1 : protocol_error(socket, err);
}

/* 1: a frame has begun; 0: more must come; -1. */
static int begin_frame(Socket *socket, Error **err)
{
	const WebsocketHead *frame = &socket->frame;
	int got = (int)take_head(socket, err);
	if (got <= 0)
		return got;
	gboolean goes_on = frame->opcode == WEBSOCKET_CONTINUE;
	if (frame->masked == socket->client ||
	    (!websocket_is_control(frame->opcode) && goes_on != (socket->opcode != 0)))
		return protocol_error(socket, err);
	if (!websocket_is_control(frame->opcode) && !goes_on)
		socket->opcode = frame->opcode;
	socket->in_frame = TRUE;
	socket->frame_got = 0;
	return 1;
}

static size_t most(const Socket *socket)
{
	return socket->opcode == WEBSOCKET_TEXT ? TEXT_MAX :
	    socket->whole			? WHOLE_MAX :
						  STREAM_CHUNK;
}

/* Room for more of the message, or 0. What a head promises is not believed before it comes. */
static size_t reserve(Socket *socket, uint64_t wanted)
{
	size_t limit = most(socket);
	size_t room = MIN(wanted, MAX(socket->have, GROW));
	room = MIN(room, limit - MIN(limit, socket->have));
	if (socket->have + room > socket->capacity) {
		socket->capacity = socket->have + room;
		socket->buffer = g_realloc(socket->buffer, socket->capacity);
	}
	return room;
}

static void finish_control(Socket *socket)
{
	const WebsocketHead *frame = &socket->frame;
	if (frame->opcode == WEBSOCKET_PING) {
		send_frame(socket, WEBSOCKET_PONG, socket->control, frame->length, NULL);
	} else if (frame->opcode == WEBSOCKET_CLOSE) {
		socket->close_received = TRUE;
		send_close(socket);
	}
}

enum { PIECE_FAILED = -1, PIECE_MORE = 0, PIECE_MESSAGE = 1, PIECE_PART = 2, PIECE_NOTHING = 3 };

/* What is here of the present frame's payload, into `to`: 1 some or all, 0 none yet, -1. */
static int take_payload(Socket *socket, uint8_t *to, size_t room, Error **err)
{
	const WebsocketHead *frame = &socket->frame;
	ssize_t got = room ? take_bytes(socket, to, room, err) : 0;
	if (got <= 0)
		return (int)got;
	if (frame->masked)
		websocket_mask(to, to, (size_t)got, frame->mask, socket->frame_got);
	socket->frame_got += (uint64_t)got;
	return 1;
}

static int receive_control(Socket *socket, Error **err)
{
	const WebsocketHead *frame = &socket->frame;
	while (socket->frame_got < frame->length) {
		int got = take_payload(socket, socket->control + socket->frame_got,
		    frame->length - socket->frame_got, err);
		if (got <= 0)
			return got < 0 ? PIECE_FAILED : PIECE_NOTHING;
	}
	socket->in_frame = FALSE;
	finish_control(socket);
	return PIECE_MORE;
}

static int receive_data(Socket *socket, Error **err)
{
	const WebsocketHead *frame = &socket->frame;
	gboolean parts = socket->opcode == WEBSOCKET_BINARY && !socket->whole;
	while (socket->frame_got < frame->length) {
		size_t room = reserve(socket, frame->length - socket->frame_got);
		if (!room)
			return parts ? PIECE_PART : protocol_error(socket, err);
		uint64_t before = socket->frame_got;
		int got = take_payload(socket, socket->buffer + socket->have, room, err);
		if (got <= 0)
			return got < 0 ? PIECE_FAILED : PIECE_NOTHING;
		socket->have += socket->frame_got - before;
	}
	socket->in_frame = FALSE;
	return frame->final ? PIECE_MESSAGE : parts && socket->have ? PIECE_PART : PIECE_MORE;
}

/* A whole message is in the buffer, or a part of a binary one that is worth handing out, or more
 * must come; PIECE_NOTHING: the client has sent no more yet. */
static int receive_piece(Socket *socket, Error **err)
{
	if (!socket->in_frame) {
		int begun = begin_frame(socket, err);
		if (begun <= 0)
			return begun < 0 ? PIECE_FAILED : PIECE_NOTHING;
	}
	return websocket_is_control(socket->frame.opcode) ? receive_control(socket, err) :
							    receive_data(socket, err);
}

/* Hands out what is in the buffer. */
static int deliver(Socket *socket, gboolean text, const void **ret_message, Error **err)
{
	socket->delivered = TRUE;
	if (!socket->in_data) {
		ProtobufCMessage *message = field_new_message(
		    socket->base.arena, socket->base.input);
		*ret_message = message;
		return json_read((char *)socket->buffer, socket->have, message, socket->base.arena,
			   err) < 0 ?
		    -1 :
		    1;
	}
	*(ProtobufCBinaryData *)field_at(
	    socket->chunk, socket->in_data) = (ProtobufCBinaryData){ socket->have, socket->buffer };
	if (socket->in_text)
		*(protobuf_c_boolean *)field_at(socket->chunk, socket->in_text) = text;
	*ret_message = socket->chunk;
	return 1;
}

/* Waits until there may be more to read: 0, or -1 (ERROR_TIMEOUT at the deadline). */
static int wait_input(Socket *socket, int64_t deadline_us, Error **err)
{
	for (;;) {
		int64_t ping = MAX(
		    socket->pinged_us + PING_S * G_USEC_PER_SEC, g_get_monotonic_time() + 1000);
		int ready = conn_wait(socket->conn, POLLIN,
		    MIN(deadline_us, socket->framed ? ping : G_MAXINT64), err);
		if (ready)
			return ready < 0 ? -1 : 0;
		if (g_get_monotonic_time() >= deadline_us)
			return error_set(err, ERROR_TIMEOUT, "Client sent nothing in time");
		ping_when_due(socket);
	}
}

static int receive_frames(
    Socket *socket, int64_t deadline_us, const void **ret_message, Error **err)
{
	/* After a timeout, what there was of a message goes on. */
	if (socket->delivered)
		socket->have = 0;
	socket->delivered = FALSE;
	for (;;) {
		if (socket->close_received)
			return 0;
		int got = receive_piece(socket, err);
		if (got == PIECE_FAILED)
			return -1;
		if (got == PIECE_MESSAGE) {
			gboolean text = socket->opcode == WEBSOCKET_TEXT;
			socket->opcode = 0;
			if (socket->have || text)
				return deliver(socket, text, ret_message, err);
		}
		/* Part of a large frame: no need to wait for the rest. */
		if (got == PIECE_PART ||
		    (got == PIECE_NOTHING && socket->opcode == WEBSOCKET_BINARY && socket->have &&
			!socket->whole))
			return deliver(socket, FALSE, ret_message, err);
		if (got == PIECE_NOTHING && wait_input(socket, deadline_us, err) < 0)
			return -1;
	}
}

static int receive_bytes(Socket *socket, int64_t deadline_us, const void **ret_message, Error **err)
{
	if (!socket->buffer)
		socket->buffer = g_malloc(STREAM_CHUNK);
	ssize_t got = conn_read(socket->conn, socket->buffer, STREAM_CHUNK, deadline_us, err);
	if (got <= 0)
		return (int)got;
	socket->have = (size_t)got;
	return deliver(socket, FALSE, ret_message, err);
}

static int socket_recv(Stream *stream, int timeout_ms, const void **ret_message, Error **err)
{
	Socket *socket = (Socket *)stream;
	int64_t deadline = timeout_ms < 0 ?
	    G_MAXINT64 :
	    g_get_monotonic_time() + MAX((int64_t)timeout_ms * 1000, 1);
	if (!socket->open && socket_open(stream, err) < 0)
		return -1;
	g_mutex_lock(&socket->receiving);
	int got = socket->framed ? receive_frames(socket, deadline, ret_message, err)
				 : receive_bytes(socket, deadline, ret_message, err);
	g_mutex_unlock(&socket->receiving);
	return got;
}

/* For handlers that only send: read what the client says (ping, close) without waiting. */
static gboolean socket_cancelled(const Door *door)
{
	Exchange *ex = (Exchange *)door;
	Socket *socket = ex->upgraded;
	if (conn_gone(ex->conn))
		return TRUE;
	if (!socket || !socket->open || !socket->framed ||
	    socket->method->schema->kind != METHOD_SERVER_STREAM)
		return FALSE;
	if (!g_mutex_trylock(&socket->receiving))
		return FALSE;
	int got = PIECE_MORE;
	while (got != PIECE_FAILED && got != PIECE_NOTHING && !socket->close_received) {
		socket->have = 0;
		got = receive_piece(socket, NULL);
		if (got == PIECE_MESSAGE)
			socket->opcode = 0;
	}
	gboolean over = socket->close_received || socket->broken;
	g_mutex_unlock(&socket->receiving);
	if (!over)
		ping_when_due(socket);
	return over;
}

static const StreamOps socket_ops = {
	.open = socket_open,
	.send = socket_send,
	.recv = socket_recv,
	.cancel = socket_cancel,
	.close_send = socket_close_send,
	.set_whole = socket_set_whole,
	.network_wait = socket_network_wait,
};

static int check_upgrade(const Exchange *ex, const SchemaMethod *schema, Error **err)
{
	const HttpHead *head = &ex->head;
	if (ex->conn->fd < 0)
		return error_set(err, ERROR_INVALID, "This request needs a connection of its own");
	if (schema->upgrade) {
		if (!head->upgrade || g_ascii_strcasecmp(head->upgrade, schema->upgrade))
			return error_set(err, ERROR_INVALID, "Missing or invalid upgrade header");
		return 0;
	}
	const char *key = http_header(head, "Sec-WebSocket-Key");
	const char *version = http_header(head, "Sec-WebSocket-Version");
	if (!head->upgrade || !http_list_has(head->upgrade, "websocket"))
		return error_set(err, ERROR_INVALID, "Missing WebSocket upgrade header");
	if (!key || strlen(key) != 24 || !version || strcmp(version, "13"))
		return error_set(err, ERROR_INVALID, "Bad WebSocket handshake");
	return 0;
}

static const ProtobufCFieldDescriptor *text_field(const ProtobufCMessageDescriptor *descriptor)
{
	const ProtobufCFieldDescriptor *field = field_find(descriptor, "text", strlen("text"));
	return field && field->type == PROTOBUF_C_TYPE_BOOL ? field : NULL;
}

static void finish(Socket *socket)
{
	if (socket->framed && socket->open && !socket->broken)
		send_close(socket);
	g_mutex_clear(&socket->sending);
	g_mutex_clear(&socket->receiving);
	g_free(socket->buffer);
}

int websocket_serve(Exchange *ex, const Method *method, ProtobufCMessage *in, Error **err)
{
	const SchemaMethod *schema = method->schema;
	Socket socket = {
		.base = { &socket_ops, schema->input, schema->output, ex->rq.arena },
		.ex = ex, .conn = ex->conn, .method = method, .framed = !schema->upgrade,
		.in_data = field_data(schema->input), .in_text = text_field(schema->input),
		.out_data = field_data(schema->output), .out_text = text_field(schema->output),
		.pinged_us = g_get_monotonic_time(),
	};
	if (check_upgrade(ex, schema, err) < 0)
		return -1;
	if (ex->conn->ssl)
		tls_set_bulk(ex->conn->ssl);
	ex->body_done = TRUE;
	socket.chunk = field_new_message(ex->rq.arena, schema->input);
	g_mutex_init(&socket.sending);
	g_mutex_init(&socket.receiving);
	ex->upgraded = &socket;
	ex->door.cancelled = socket_cancelled;
	int result = method->stream(&ex->rq, in, &socket.base, err);
	gboolean opened = socket.open;
	finish(&socket);
	ex->upgraded = NULL;
	if (!opened && result == 0)
		return error_set(err, ERROR_INTERNAL, "The request was not answered");
	if (opened)
		ex->keep_alive = FALSE;
	return result;
}

/* --- connecting --- */

static char *handshake_request(const WebsocketPlace *place, const char *key)
{
	return g_strdup_printf("GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: "
			       "Upgrade\r\nSec-WebSocket-Key: %s\r\nSec-WebSocket-Version: "
			       "13\r\nUser-Agent: incus\r\n\r\n",
	    place->path, place->authority, key);
}

/* Up to the empty line; what follows it stays in the connection's buffer. */
static char *read_head(Conn *conn, int64_t deadline, Error **err)
{
	g_autoptr(GString) head = g_string_new(NULL);
	while (head->len < HEAD_MAX && !g_str_has_suffix(head->str, "\r\n\r\n")) {
		char byte;
		ssize_t got = conn_read(conn, &byte, 1, deadline, err);
		if (got <= 0 && (got < 0 || head->len == 0))
			return got < 0 ? NULL :
					 (error_set(err, ERROR_UNAVAILABLE,
					      "The other server closed the connection"),
					     NULL);
		if (got == 0)
			break;
		g_string_append_c(head, byte);
	}
	return g_string_free(g_steal_pointer(&head), FALSE);
}

static gboolean head_has(const char *head, const char *name, const char *value)
{
	g_auto(GStrv) lines = g_strsplit(head, "\r\n", -1);
	size_t length = strlen(name);
	for (char **line = lines + (*lines != NULL); *line; line++)
		if (g_ascii_strncasecmp(*line, name, length) == 0 && (*line)[length] == ':' &&
		    strcmp(g_strchug(*line + length + 1), value) == 0)
			return TRUE;
	return FALSE;
}

/* The status of a refusal; what a stranger writes beside it is not shown. */
static int refused(const char *head, Error **err)
{
	int status = 0;
	if (sscanf(head, "HTTP/1.1 %3d", &status) != 1)
		return error_set(err, ERROR_UNAVAILABLE, "The other server does not speak HTTP");
	if (status == 403)
		return error_set(err, ERROR_FORBIDDEN, "not authorized");
	return error_set(err, ERROR_UNAVAILABLE, "The other server answers with status %d", status);
}

static int upgrade(Conn *conn, const WebsocketPlace *place, Error **err)
{
	guint8 nonce[16];
	int64_t deadline = g_get_monotonic_time() + (int64_t)place->timeout_ms * 1000;
	RAND_bytes(nonce, sizeof(nonce));
	g_autofree char *key = g_base64_encode(nonce, sizeof(nonce));
	g_autofree char *accepted = websocket_accept_key(key);
	g_autofree char *request = handshake_request(place, key);
	struct iovec part = { request, strlen(request) };
	if (conn_write(conn, &part, 1, err) < 0)
		return -1;
	g_autofree char *head = read_head(conn, deadline, err);
	if (!head)
		return -1;
	if (!g_str_has_prefix(head, "HTTP/1.1 101 ") ||
	    !head_has(head, "Sec-WebSocket-Accept", accepted))
		return refused(head, err);
	return 0;
}

int websocket_connect(
    const WebsocketPlace *place, struct ssl_st *ssl, int fd, Stream **ret, Error **err)
{
	const ProtobufCMessageDescriptor *in = place->input, *out = place->output;
	g_autoptr(Conn) conn = conn_new(fd, ssl, NULL);
	tls_set_bulk(ssl);
	if (upgrade(conn, place, err) < 0)
		return -1;
	Socket *socket = g_new0(Socket, 1);
	socket->base = (Stream){ &socket_ops, in, out, arena_new() };
	socket->conn = g_steal_pointer(&conn);
	socket->open = socket->framed = socket->client = TRUE;
	socket->in_data = field_data(in);
	socket->in_text = text_field(in);
	socket->out_data = field_data(out);
	socket->out_text = text_field(out);
	socket->pinged_us = g_get_monotonic_time();
	socket->chunk = field_new_message(socket->base.arena, in);
	g_mutex_init(&socket->sending);
	g_mutex_init(&socket->receiving);
	*ret = &socket->base;
	return 0;
}

void websocket_disconnect(Stream *stream)
{
	Socket *socket = (Socket *)stream;
	if (!socket)
		return;
	finish(socket);
	conn_free(socket->conn);
	arena_free(socket->base.arena);
	g_free(socket);
}
