#pragma once
/*
 * The few protobuf fields that are written by hand: well-known messages of gRPC itself (status
 * details, reflection, health), for which no code is generated.
 */
#include <glib.h>
#include <stdint.h>

void wire_out_varint_field(GByteArray *out, unsigned number, uint64_t value);
void wire_out_bytes(GByteArray *out, unsigned number, const void *data, size_t length);
void wire_out_string(GByteArray *out, unsigned number, const char *text);
/* Tag and length that come before `length` bytes of field `number`; at most 20 bytes. */
size_t wire_out_bytes_head(uint8_t *out, unsigned number, size_t length);

/* Reading: the next field of a message. FALSE at the end or when malformed. Groups are malformed.
 */
typedef struct WireField {
	unsigned number;
	uint64_t value;        /* varint */
	const uint8_t *data;   /* length-delimited, else NULL */
	size_t length;
} WireField;
gboolean wire_in_next(const uint8_t **data, const uint8_t *end, WireField *ret_field);
