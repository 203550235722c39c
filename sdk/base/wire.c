#include "sdk/base/wire.h"
#include <string.h>

typedef struct Scan {
	const uint8_t *at, *end;
	unsigned depth;
	unsigned *messages; /* seen so far */
	Error **err;
} Scan;

static int scan_message(Scan *scan, const ProtobufCMessageDescriptor *descriptor);

static int malformed(const Scan *scan)
{
	return error_set(scan->err, ERROR_INVALID, "Malformed message");
}

static int scan_varint(Scan *scan, uint64_t *ret)
{
	uint64_t value = 0;

	for (unsigned shift = 0; shift < 64 && scan->at < scan->end; shift += 7) {
		uint8_t byte = *scan->at++;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*ret = value;
			return 0;
		}
	}
	return malformed(scan);
}

static int skip(Scan *scan, uint64_t size)
{
	if (size > (uint64_t)(scan->end - scan->at))
		return malformed(scan);
	scan->at += size;
	return 0;
}

static int check_text(
    const Scan *scan, const ProtobufCFieldDescriptor *field, const uint8_t *text, size_t size)
{
	/* With a length given, g_utf8_validate() refuses NUL as well. */
	if (g_utf8_validate((const char *)text, (gssize)size, NULL))
		return 0;
	return error_set(
	    scan->err, ERROR_INVALID, "Field \"%s\" is not text in UTF-8", field->name);
}

/* Length-delimited: text, bytes, a message, or numbers in a row. */
static int scan_delimited(Scan *scan, const ProtobufCFieldDescriptor *field)
{
	const uint8_t *start;
	uint64_t size;

	if (scan_varint(scan, &size) < 0)
		return -1;
	start = scan->at;
	if (skip(scan, size) < 0)
		return -1;
	if (field && field->type == PROTOBUF_C_TYPE_STRING)
		return check_text(scan, field, start, size);
	if (field && field->type == PROTOBUF_C_TYPE_MESSAGE) {
		Scan inner = {start, scan->at, scan->depth + 1, scan->messages, scan->err};
		return scan_message(&inner, field->descriptor);
	}
	return 0;
}

static int scan_field(Scan *scan, const ProtobufCMessageDescriptor *descriptor)
{
	uint64_t key, value;

	if (scan_varint(scan, &key) < 0)
		return -1;
	if (key >> 3 == 0 || key > UINT32_MAX)
		return malformed(scan);
	switch (key & 7) {
	case PROTOBUF_C_WIRE_TYPE_VARINT:
		return scan_varint(scan, &value);
	case PROTOBUF_C_WIRE_TYPE_64BIT:
		return skip(scan, 8);
	case PROTOBUF_C_WIRE_TYPE_32BIT:
		return skip(scan, 4);
	case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
		return scan_delimited(scan,
		    protobuf_c_message_descriptor_get_field(descriptor, (unsigned)(key >> 3)));
	default: /* groups, which proto3 does not have */
		return malformed(scan);
	}
}

static int scan_message(Scan *scan, const ProtobufCMessageDescriptor *descriptor)
{
	if (scan->depth > WIRE_DEPTH_MAX)
		return error_set(scan->err, ERROR_INVALID,
		    "Message is nested deeper than %d levels", WIRE_DEPTH_MAX);
	if (++*scan->messages > WIRE_MESSAGES_MAX)
		return error_set(
		    scan->err, ERROR_INVALID, "Message has more than %d parts", WIRE_MESSAGES_MAX);
	while (scan->at < scan->end)
		if (scan_field(scan, descriptor) < 0)
			return -1;
	return 0;
}

int wire_check(
    const ProtobufCMessageDescriptor *descriptor, const uint8_t *data, size_t size, Error **err)
{
	unsigned messages = 0;
	Scan scan = {data, data + size, 0, &messages, err};

	return scan_message(&scan, descriptor);
}
