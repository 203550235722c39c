#pragma once
/*
 * Times as clients write them: to the nanosecond and with their offset from UTC, so that what came
 * in goes out the same. For reckoning the seconds are enough (units_parse_time).
 */
#include "sdk/base/arena.h"
#include "sdk/base/error.h"
#include "incus/v1/common.pb-c.h"
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

/* A google.protobuf.Timestamp or incus.v1.Time, told apart by their fields. */
char *moment_message_text(const ProtobufCMessage *message);
int moment_message_parse(ProtobufCMessage *message, const char *text, Error **err);

/* "Never" is no message, the year 1 or any time before 1970; here its seconds are 0. */
Pb__Time *moment_to_message(const Moment *moment, Arena *arena);
Moment moment_from_message(const Pb__Time *message);

/* Whether they are written the same. */
bool moment_equal(const Moment *a, const Moment *b);
