#include "server/rpc/websocket_frame.h"
#include <string.h>

enum { FINAL = 0x80, RESERVED = 0x70, OPCODE = 0x0f, MASKED = 0x80, LENGTH = 0x7f };
enum { LENGTH_16 = 126, LENGTH_64 = 127 };

/* Bytes of the extended length. */
static size_t length_size(uint8_t second)
{
	unsigned length = second & LENGTH;
	return length == LENGTH_16 ? 2 : length == LENGTH_64 ? 8 : 0;
}

size_t websocket_head_size(const uint8_t *data, size_t have)
{
	return have < 2 ? 2 : 2 + length_size(data[1]) + (data[1] & MASKED ? 4 : 0);
}

static gboolean opcode_is_known(unsigned opcode)
{
	return opcode <= WEBSOCKET_BINARY ||
	    (opcode >= WEBSOCKET_CLOSE && opcode <= WEBSOCKET_PONG);
}

/* The shortest form is the only one; the top bit of eight bytes is none of the length's. */
static gboolean read_length(const uint8_t *data, uint64_t *ret)
{
	size_t size = length_size(data[1]);
	uint64_t length = 0;
	if (size == 0) {
		*ret = data[1] & LENGTH;
		return TRUE;
	}
	for (size_t i = 0; i < size; i++)
		length = length << 8 | data[2 + i];
	*ret = length;
	return length >= (size == 2 ? LENGTH_16 : 65536) && length <= INT64_MAX;
}

gboolean websocket_head_read(const uint8_t *data, WebsocketHead *ret)
{
	size_t size = websocket_head_size(data, 2);
	ret->opcode = data[0] & OPCODE;
	ret->final = (data[0] & FINAL) != 0;
	ret->masked = (data[1] & MASKED) != 0;
	if ((data[0] & RESERVED) || !opcode_is_known(ret->opcode) ||
	    !read_length(data, &ret->length))
		return FALSE;
	if (ret->masked)
		memcpy(ret->mask, data + size - sizeof(ret->mask), sizeof(ret->mask));
	return !websocket_is_control(ret->opcode) ||
	    (ret->final && ret->length <= WEBSOCKET_CONTROL_MAX);
}

size_t websocket_head_write(const WebsocketHead *head, uint8_t ret[WEBSOCKET_HEAD_MAX])
{
	size_t size = head->length < LENGTH_16 ? 0 : head->length < 65536 ? 2 : 8;
	ret[0] = (uint8_t)((head->final ? FINAL : 0) | head->opcode);
	ret[1] = (uint8_t)(head->masked ? MASKED : 0);
	ret[1] |= size == 0 ? (uint8_t)head->length : size == 2 ? LENGTH_16 : LENGTH_64;
	for (size_t i = 0; i < size; i++)
		ret[2 + i] = (uint8_t)(head->length >> (8 * (size - 1 - i)));
	if (!head->masked)
		return 2 + size;
	memcpy(ret + 2 + size, head->mask, sizeof(head->mask));
	return 2 + size + sizeof(head->mask);
}

void websocket_mask(
    uint8_t *to, const uint8_t *from, size_t length, const uint8_t mask[4], uint64_t at)
{
	uint8_t turned[8];
	uint64_t wide, word;
	size_t i = 0;
	for (size_t n = 0; n < sizeof(turned); n++)
		turned[n] = mask[(at + n) & 3];
	memcpy(&wide, turned, sizeof(wide));
	for (; i + sizeof(word) <= length; i += sizeof(word)) {
		memcpy(&word, from + i, sizeof(word));
		word ^= wide;
		memcpy(to + i, &word, sizeof(word));
	}
	for (; i < length; i++)
		to[i] = from[i] ^ turned[i & 7];
}
