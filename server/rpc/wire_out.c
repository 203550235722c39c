#include "server/rpc/wire_out.h"
#include <string.h>

static size_t put_varint(uint8_t *out, uint64_t value)
{
	size_t n = 0;
	for (; value >= 0x80; value >>= 7)
		out[n++] = (uint8_t)(value | 0x80);
	out[n++] = (uint8_t)value;
	return n;
}

size_t wire_out_bytes_head(uint8_t *out, unsigned number, size_t length)
{
	size_t n = put_varint(out, (uint64_t)number << 3 | 2);
	return n + put_varint(out + n, length);
}

void wire_out_varint_field(GByteArray *out, unsigned number, uint64_t value)
{
	uint8_t text[20];
	size_t n = put_varint(text, (uint64_t)number << 3);
	n += put_varint(text + n, value);
	g_byte_array_append(out, text, (guint)n);
}

void wire_out_bytes(GByteArray *out, unsigned number, const void *data, size_t length)
{
	uint8_t head[20];
	g_byte_array_append(out, head, (guint)wire_out_bytes_head(head, number, length));
	if (length)
		g_byte_array_append(out, data, (guint)length);
}

void wire_out_string(GByteArray *out, unsigned number, const char *text)
{
	wire_out_bytes(out, number, text, strlen(text));
}

static gboolean get_varint(const uint8_t **data, const uint8_t *end, uint64_t *ret)
{
	*ret = 0;
	for (unsigned shift = 0; shift < 64 && *data < end; shift += 7) {
		uint8_t byte = *(*data)++;
		*ret |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return TRUE;
	}
	return FALSE;
}

gboolean wire_in_next(const uint8_t **data, const uint8_t *end, WireField *field)
{
	uint64_t tag, length;
	memset(field, 0, sizeof(*field));
	if (*data >= end || !get_varint(data, end, &tag))
		return FALSE;
	field->number = (unsigned)(tag >> 3);
	switch (tag & 7) {
	case 0:
		return get_varint(data, end, &field->value);
	case 1:
	case 5:
		length = (tag & 7) == 1 ? 8 : 4;
		break;
	case 2:
		if (!get_varint(data, end, &length))
			return FALSE;
		field->data = *data;
		break;
	default:
		return FALSE;
	}
	if (length > (uint64_t)(end - *data))
		return FALSE;
	field->length = field->data ? (size_t)length : 0;
	*data += length;
	return TRUE;
}
