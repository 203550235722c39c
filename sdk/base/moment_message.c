#include "sdk/base/moment_message.h"

Pb__Time *moment_to_message(const Moment *moment, Arena *arena)
{
	if (moment->seconds <= 0)
		return NULL;
	Pb__Time *message = arena_message(arena, Pb__Time, pb__time);
	message->seconds = moment->seconds;
	message->nanos = moment->nanoseconds;
	message->offset = moment->offset;
	return message;
}

Moment moment_from_message(const Pb__Time *message)
{
	Moment moment = { 0 };
	if (!message || message->seconds <= 0)
		return moment;
	moment.seconds = message->seconds;
	if (message->nanos >= 0 && message->nanos < 1000000000)
		moment.nanoseconds = message->nanos;
	if (message->offset > -1440 && message->offset < 1440)
		moment.offset = message->offset;
	return moment;
}

Google__Protobuf__Timestamp *seconds_to_message(int64_t seconds, Arena *arena)
{
	if (!seconds)
		return NULL;
	Google__Protobuf__Timestamp *message = arena_message(
	    arena, Google__Protobuf__Timestamp, google__protobuf__timestamp);
	message->seconds = seconds;
	return message;
}
