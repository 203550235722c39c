#include "sdk/base/moment.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char NEVER[] = "0001-01-01T00:00:00Z";

/* ".5", or nothing for a whole second. */
static void format_fraction(char text[16], int32_t nanoseconds)
{
	text[0] = 0;
	if (nanoseconds <= 0)
		return;
	int length = g_snprintf(text, 16, ".%09d", nanoseconds);
	while (text[length - 1] == '0')
		text[--length] = 0;
}

static void format_offset(char text[16], int32_t offset)
{
	int minutes = offset < 0 ? -offset : offset;
	if (offset == 0)
		g_strlcpy(text, "Z", 16);
	else
		g_snprintf(text, 16, "%c%02d:%02d", offset < 0 ? '-' : '+', minutes / 60 % 100,
		    minutes % 60);
}

char *moment_format(const Moment *moment)
{
	struct tm tm;
	char fraction[16], offset[16];
	time_t time = (time_t)moment->seconds + (time_t)moment->offset * 60;
	if (!gmtime_r(&time, &tm) || tm.tm_year + 1900 < 1 || tm.tm_year + 1900 > 9999)
		return g_strdup(NEVER);
	format_fraction(fraction, moment->nanoseconds);
	format_offset(offset, moment->offset);
	return g_strdup_printf("%04d-%02d-%02dT%02d:%02d:%02d%s%s", tm.tm_year + 1900,
	    tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, fraction, offset);
}

/* ".123" at *text, or nothing. */
static int32_t parse_fraction(const char **text)
{
	int32_t nanoseconds = 0, scale = 100000000;
	if (**text != '.')
		return 0;
	for (++*text; g_ascii_isdigit(**text); ++*text, scale /= 10)
		nanoseconds += (**text - '0') * scale;
	return nanoseconds;
}

/* FALSE unless the text ends with it. */
static gboolean parse_offset(const char *text, int32_t *ret_offset)
{
	int hours, minutes, used = 0;
	*ret_offset = 0;
	if (strcmp(text, "Z") == 0 || strcmp(text, "z") == 0)
		return TRUE;
	if ((*text != '+' && *text != '-') || !g_ascii_isdigit(text[1]) ||
	    sscanf(text + 1, "%2d:%2d%n", &hours, &minutes, &used) != 2 || used != 5 || text[6] ||
	    !g_ascii_isdigit(text[4]) || hours > 23 || minutes < 0 || minutes > 59)
		return FALSE;
	*ret_offset = (hours * 60 + minutes) * (*text == '-' ? -1 : 1);
	return TRUE;
}

int moment_parse(const char *text, Moment *ret_moment, Error **err)
{
	int year, month, day, hour, minute, second, used = 0;
	Moment moment = { 0 };
	const char *rest = text;
	if (!text ||
	    sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%n", &year, &month, &day, &hour, &minute, &second,
		&used) != 6 ||
	    used != 19)
		return error_set(err, ERROR_INVALID, "Invalid time \"%s\"", text ? text : "");
	rest += used;
	moment.nanoseconds = parse_fraction(&rest);
	if (!parse_offset(rest, &moment.offset))
		return error_set(err, ERROR_INVALID, "Invalid time \"%s\"", text);
	g_autoptr(GDateTime) date = g_date_time_new_utc(
	    year, month, day, hour, minute, MIN(second, 59));
	if (!date)
		return error_set(err, ERROR_INVALID, "Invalid time \"%s\"", text);
	moment.seconds = g_date_time_to_unix(date) - (int64_t)moment.offset * 60;
	*ret_moment = moment;
	return 0;
}

bool moment_equal(const Moment *a, const Moment *b)
{
	return a->seconds == b->seconds && a->nanoseconds == b->nanoseconds &&
	    a->offset == b->offset;
}

/* Seconds, nanoseconds and, of a Time, the offset: in this order in both. */
char *moment_message_text(const ProtobufCMessage *message)
{
	const ProtobufCFieldDescriptor *fields = message->descriptor->fields;
	Moment moment = { .seconds = *(const int64_t *)((const char *)message + fields[0].offset),
		.nanoseconds = *(const int32_t *)((const char *)message + fields[1].offset) };
	if (message->descriptor->n_fields > 2)
		moment.offset = *(const int32_t *)((const char *)message + fields[2].offset);
	return moment_format(&moment);
}

int moment_message_parse(ProtobufCMessage *message, const char *text, Error **err)
{
	const ProtobufCFieldDescriptor *fields = message->descriptor->fields;
	Moment moment;
	if (moment_parse(text, &moment, err) < 0)
		return -1;
	*(int64_t *)((char *)message + fields[0].offset) = moment.seconds;
	*(int32_t *)((char *)message + fields[1].offset) = moment.nanoseconds;
	if (message->descriptor->n_fields > 2)
		*(int32_t *)((char *)message + fields[2].offset) = moment.offset;
	return 0;
}
