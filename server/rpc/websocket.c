#include "server/rpc/websocket.h"
#include "sdk/base/json.h"
#include "server/rpc/decode.h"
#include "server/rpc/field.h"
#include "server/rpc/stream_ops.h"
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <wslay/wslay.h>
#include <openssl/rand.h>
#include <stdio.h>

enum {
	PING_S = 10,
	TEXT_MAX = 1024 * 1024,
	WHOLE_MAX = 16 * 1024 * 1024,
	HEAD_MAX = 16384,
	CLOSE_NORMAL = 1000
};
enum { OP_CONTINUE = 0, OP_TEXT = 1, OP_BINARY = 2, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };

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
	wslay_frame_context_ptr frames;
	gboolean close_received, broken;
	unsigned opcode;       /* of the message being received */
	uint64_t frame_got;    /* payload bytes of the present frame so far */
	uint8_t control[125];
	size_t control_length;
	uint8_t *buffer;
	size_t have, capacity;
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

/* RFC 6455 5.3: what a client sends is masked. */
static uint8_t *mask_payload(const void *data, size_t length, uint8_t mask[4])
{
	const uint8_t *from = data;
	uint8_t *masked = g_malloc(length + 1);
	RAND_bytes(mask, 4);
	for (size_t i = 0; i < length; i++)
		masked[i] = from[i] ^ mask[i & 3];
	return masked;
}

static int send_frame(Socket *socket, unsigned opcode, const void *data, size_t length, Error **err)
{
	uint8_t head[14] = { (uint8_t)(0x80 | opcode) };
	g_autofree uint8_t *masked = NULL;
	size_t n = 2;
	if (length < 126) {
		head[1] = (uint8_t)length;
	} else if (length < 65536) {
		head[1] = 126;
		head[2] = (uint8_t)(length >> 8);
		head[3] = (uint8_t)length;
		n = 4;
	} else {
		head[1] = 127;
		for (int i = 0; i < 8; i++)
			head[2 + i] = (uint8_t)((uint64_t)length >> (56 - 8 * i));
		n = 10;
	}
	if (socket->client) {
		head[1] |= 0x80;
		data = masked = mask_payload(data, length, head + n);
		n += 4;
	}
	g_mutex_lock(&socket->sending);
	int result = -1;
	if (socket->close_sent) {
		error_set(err, ERROR_CANCELLED, "WebSocket is closed");
	} else {
		struct iovec parts[2] = { { head, n }, { (void *)data, length } };
		result = conn_write(socket->conn, parts, 2, err);
		socket->close_sent = opcode == OP_CLOSE;
	}
	g_mutex_unlock(&socket->sending);
	return result;
}

static void send_close(Socket *socket)
{
	const uint8_t code[2] = { CLOSE_NORMAL >> 8, CLOSE_NORMAL & 0xff };
	send_frame(socket, OP_CLOSE, code, sizeof(code), NULL);
}

static void ping_when_due(Socket *socket)
{
	int64_t now = g_get_monotonic_time();
	if (!socket->framed || now - socket->pinged_us < PING_S * G_USEC_PER_SEC)
		return;
	socket->pinged_us = now;
	send_frame(socket, OP_PING, "keepalive", strlen("keepalive"), NULL);
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
		return send_frame(socket, OP_TEXT, json->str, json->len, err);
	}
	const ProtobufCBinaryData *data = field_at(message, socket->out_data);
	if (socket->framed) {
		gboolean text = socket->out_text &&
		    *(protobuf_c_boolean *)field_at(message, socket->out_text);
		return send_frame(socket, text ? OP_TEXT : OP_BINARY, data->data, data->len, err);
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

static void socket_cancel(Stream *stream)
{
	conn_cancel(((Socket *)stream)->conn);
}

/* --- receiving --- */

static ssize_t wslay_read(uint8_t *data, size_t length, int flags, void *user_data)
{
	Socket *socket = user_data;
	g_autoptr(Error) err = NULL;
	ssize_t got = conn_read(socket->conn, data, length, 0, &err);
	if (got > 0)
		return got;
	if (got == 0 || err)
		socket->broken = TRUE;
	return -1;
}

static gboolean reserve(Socket *socket, size_t more)
{
	size_t limit = socket->opcode == OP_TEXT ? TEXT_MAX :
	    socket->whole			 ? WHOLE_MAX :
						   STREAM_CHUNK + 4096;
	if (socket->have + more > limit)
		return FALSE;
	if (socket->have + more > socket->capacity) {
		socket->capacity = MIN(
		    MAX(socket->capacity * 2, MAX(socket->have + more, 16384)), limit);
		socket->buffer = g_realloc(socket->buffer, socket->capacity);
	}
	return TRUE;
}

static void finish_control(Socket *socket, unsigned opcode)
{
	if (opcode == OP_PING)
		send_frame(socket, OP_PONG, socket->control, socket->control_length, NULL);
	else if (opcode == OP_CLOSE) {
		socket->close_received = TRUE;
		send_close(socket);
	}
	socket->control_length = 0;
}

static int protocol_error(Socket *socket, Error **err)
{
	socket->broken = TRUE;
	return error_set(err, ERROR_INVALID, "WebSocket protocol error");
}

enum { PIECE_FAILED = -1, PIECE_MORE = 0, PIECE_MESSAGE = 1, PIECE_PART = 2, PIECE_NOTHING = 3 };

/* One piece from wslay: a whole message is in the buffer, or a part of a binary one that is worth
 * handing out, or more must come; PIECE_NOTHING: the client has sent no more yet. */
static int receive_piece(Socket *socket, Error **err)
{
	struct wslay_frame_iocb piece = { 0 };
	ssize_t n = wslay_frame_recv(socket->frames, &piece);
	if (n == WSLAY_ERR_WANT_READ && !socket->broken)
		return PIECE_NOTHING;
	if (n < 0)
		return socket->broken ?
		    error_set(err, ERROR_CANCELLED, "Connection closed by the client") :
		    protocol_error(socket, err);
	gboolean control = wslay_is_ctrl_frame(piece.opcode);
	if ((piece.mask != 0) == socket->client || piece.rsv ||
	    (control && (!piece.fin || piece.payload_length > 125)))
		return protocol_error(socket, err);
	if (!control && !socket->frame_got) { /* first piece of a data frame */
		if ((piece.opcode == OP_CONTINUE) != (socket->opcode != 0) ||
		    piece.opcode > OP_BINARY)
			return protocol_error(socket, err);
		if (piece.opcode != OP_CONTINUE)
			socket->opcode = piece.opcode;
	}
	if (control) {
		if (socket->control_length + piece.data_length > sizeof(socket->control))
			return protocol_error(socket, err);
		if (piece.data_length)
			memcpy(socket->control + socket->control_length, piece.data,
			    piece.data_length);
		socket->control_length += piece.data_length;
		if (socket->control_length == piece.payload_length)
			finish_control(socket, piece.opcode);
		return PIECE_MORE;
	}
	if (!reserve(socket, piece.data_length))
		return protocol_error(socket, err);
	if (piece.data_length)
		memcpy(socket->buffer + socket->have, piece.data, piece.data_length);
	socket->have += piece.data_length;
	socket->frame_got += piece.data_length;
	gboolean frame_done = socket->frame_got == piece.payload_length;
	if (frame_done)
		socket->frame_got = 0;
	if (frame_done && piece.fin)
		return PIECE_MESSAGE;
	gboolean enough = socket->have && (frame_done || socket->have >= STREAM_CHUNK);
	return socket->opcode == OP_BINARY && enough && !socket->whole ? PIECE_PART : PIECE_MORE;
}

/* Hands out what is in the buffer. */
static int deliver(Socket *socket, gboolean text, const void **ret_message, Error **err)
{
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
	socket->have = 0;
	for (;;) {
		if (socket->close_received)
			return 0;
		int got = receive_piece(socket, err);
		if (got == PIECE_FAILED)
			return -1;
		if (got == PIECE_MESSAGE) {
			gboolean text = socket->opcode == OP_TEXT;
			socket->opcode = 0;
			if (socket->have || text)
				return deliver(socket, text, ret_message, err);
		}
		/* Part of a large frame: no need to wait for the rest. */
		if (got == PIECE_PART ||
		    (got == PIECE_NOTHING && socket->opcode == OP_BINARY && socket->have &&
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
	wslay_frame_context_free(socket->frames);
	g_mutex_clear(&socket->sending);
	g_mutex_clear(&socket->receiving);
	g_free(socket->buffer);
}

int websocket_serve(Exchange *ex, const Method *method, ProtobufCMessage *in, Error **err)
{
	const struct wslay_frame_callbacks callbacks = { .recv_callback = wslay_read };
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
	ex->body_done = TRUE;
	socket.chunk = field_new_message(ex->rq.arena, schema->input);
	if (wslay_frame_context_init(&socket.frames, &callbacks, &socket))
		return error_set(err, ERROR_INTERNAL, "Failed to make a WebSocket");
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
	static const struct wslay_frame_callbacks callbacks = { .recv_callback = wslay_read };
	const ProtobufCMessageDescriptor *in = place->input, *out = place->output;
	g_autoptr(Conn) conn = conn_new(fd, ssl, NULL);
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
	if (wslay_frame_context_init(&socket->frames, &callbacks, socket))
		g_error("No memory");
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
