#pragma once
/*
 * Moments as messages say them. "Never" is no message, the year 1 or any time before 1970; as a
 * moment its seconds are 0.
 */
#include "google/protobuf/timestamp.pb-c.h"
#include "incus/v1/common.pb-c.h"
#include "sdk/base/arena.h"
#include "sdk/base/moment.h"

Pb__Time *moment_to_message(const Moment *moment, Arena *arena);
/* What is out of range is left out: the wire may hold anything. NULL is never. */
Moment moment_from_message(const Pb__Time *message);
/* Whole seconds since 1970, in the schema's commoner form; 0 is never. */
Google__Protobuf__Timestamp *seconds_to_message(int64_t seconds, Arena *arena);
