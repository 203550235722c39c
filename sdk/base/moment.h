#pragma once
/*
 * Times as clients write them: to the nanosecond and with their offset from UTC, so that what came
 * in goes out the same. For reckoning the seconds are enough (units_parse_time).
 */
#include "sdk/base/error.h"
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct Moment {
	int64_t seconds; /* since 1970 */
	int32_t nanoseconds;
	int32_t offset; /* minutes east of UTC in which it is written */
} Moment;

/* RFC 3339: "2024-01-02T03:04:05.000000006+01:00"; year 1 when it has no such form. g_free. */
char *moment_format(const Moment *moment);
int moment_parse(const char *text, Moment *ret_moment, Error **err);
/* Whether they are written the same. */
bool moment_equal(const Moment *a, const Moment *b);

/* A google.protobuf.Timestamp or incus.v1.Time, told apart by their fields. */
char *moment_message_text(const ProtobufCMessage *message);
int moment_message_parse(ProtobufCMessage *message, const char *text, Error **err);
