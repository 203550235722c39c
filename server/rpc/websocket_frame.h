#pragma once
/*
 * The heads of WebSocket frames (RFC 6455 5.2) and the mask over what clients send. No I/O: the
 * payload is read and written in place, as large as it comes.
 */
#include <glib.h>
#include <stdint.h>

enum {
	WEBSOCKET_CONTINUE = 0,
	WEBSOCKET_TEXT = 1,
	WEBSOCKET_BINARY = 2,
	WEBSOCKET_CLOSE = 8,
	WEBSOCKET_PING = 9,
	WEBSOCKET_PONG = 10,
};
enum { WEBSOCKET_HEAD_MAX = 14, WEBSOCKET_CONTROL_MAX = 125 };

typedef struct WebsocketHead {
	unsigned opcode;
	gboolean final, masked;
	uint8_t mask[4];
	uint64_t length; /* of the payload */
} WebsocketHead;

static inline gboolean websocket_is_control(unsigned opcode)
{
	return opcode & 8;
}

/* How many bytes a head has, or at least has as far as `have` bytes of it tell: at most
 * WEBSOCKET_HEAD_MAX. */
size_t websocket_head_size(const uint8_t *data, size_t have);
/* Of a whole head; FALSE: no frame may begin like that. */
gboolean websocket_head_read(const uint8_t *data, WebsocketHead *ret);
/* Returns its size. */
size_t websocket_head_write(const WebsocketHead *head, uint8_t ret[WEBSOCKET_HEAD_MAX]);
/* Masks or unmasks; `at` is where in the payload the first byte stands. */
void websocket_mask(
    uint8_t *to, const uint8_t *from, size_t length, const uint8_t mask[4], uint64_t at);
