#include "server/db/db.h"
#include <stdlib.h>
#include <string.h>

/* Incus's driver writes "2023-10-10 10:10:10.123456+00:00", lxd-to-incus brings "...T...Z" or
 * "... +0000 UTC", and tools write plain seconds. */
static char *normalised(const char *text)
{
	char *copy = g_strdup(text);
	if (strlen(copy) > 10 && copy[10] == ' ')
		copy[10] = 'T';
	char *space = strchr(copy, ' ');
	if (space)
		*space = '\0';
	return copy;
}

int64_t rows_time(Rows *rows, int column)
{
	const char *text = rows_null(rows, column) ? NULL : rows_text(rows, column);
	if (!text || !*text)
		return 0;
	if (!strchr(text + 1, '-'))
		return strtoll(text, NULL, 10);
	g_autofree char *copy = normalised(text);
	g_autoptr(GTimeZone) utc = g_time_zone_new_utc();
	g_autoptr(GDateTime) when = g_date_time_new_from_iso8601(copy, utc);
	return when ? MAX(0, g_date_time_to_unix(when)) : 0; /* year 1 is "never" too */
}

Moment rows_moment(Rows *rows, int column)
{
	Moment moment = { .seconds = rows_time(rows, column) };
	if (moment.seconds == 0)
		return moment;
	g_autofree char *copy = normalised(rows_text(rows, column));
	Moment whole;
	return moment_parse(copy, &whole, NULL) == 0 ? whole : moment;
}
