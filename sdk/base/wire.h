#pragma once
/*
 * Foreign protobuf bytes, checked before protobuf-c unpacks them: it has no limit on nesting (a few
 * kilobytes overflow the stack), ends strings at NUL and takes any bytes for text.
 */
#include "sdk/base/error.h"
#include <protobuf-c/protobuf-c.h>

enum {
	WIRE_DEPTH_MAX = 100,	     /* messages in messages */
	WIRE_MESSAGES_MAX = 1 << 20, /* in all: two bytes on the wire cost a hundred in memory */
};

/* 0, or ERROR_INVALID. Does not allocate. */
int wire_check(
    const ProtobufCMessageDescriptor *descriptor, const uint8_t *data, size_t size, Error **err);
