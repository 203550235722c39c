#include "sdk/base/cron.h"
#include "sdk/base/units.h"
#include <string.h>
#include <time.h>

enum { LINES_MAX = 32, DAYS_AHEAD = 366 * 9 }; /* 29 February may be eight years away */

enum { MINUTE, HOUR, DAY, MONTH, WEEKDAY, FIELDS };

typedef struct Line {
	uint64_t bits[FIELDS];
	gboolean any[FIELDS]; /* begins with "*" */
} Line;

struct Cron {
	Line lines[LINES_MAX];
	unsigned n;
	gboolean startup;
};

static const struct {
	int64_t minimum, maximum;
} limits[FIELDS] = { { 0, 59 }, { 0, 23 }, { 1, 31 }, { 1, 12 }, { 0, 7 } };

static const struct {
	const char *name, *line;
} aliases[] = {
	{ "@hourly", "0 * * * *" },
	{ "@daily", "0 0 * * *" },
	{ "@midnight", "0 0 * * *" },
	{ "@weekly", "0 0 * * 0" },
	{ "@monthly", "0 0 1 * *" },
	{ "@annually", "0 0 1 1 *" },
	{ "@yearly", "0 0 1 1 *" },
	{ "@startup", NULL },
	{ "@never", NULL },
};

/* ---- reading ---- */

/* "*", "5", "1-5", each with "/2". */
static gboolean read_part(const char *part, int64_t minimum, int64_t maximum, uint64_t *bits)
{
	g_auto(GStrv) step = g_strsplit(part, "/", 2);
	g_auto(GStrv) range = g_strsplit(step[0] ? step[0] : "", "-", 2);
	int64_t first = minimum, last = maximum, every = 1;
	if (!range[0] || (step[1] && units_parse_int(step[1], 1, maximum + 1, &every, NULL) < 0))
		return FALSE;
	if (strcmp(step[0], "*") != 0) {
		if (units_parse_int(range[0], minimum, maximum, &first, NULL) < 0)
			return FALSE;
		if (range[1] && units_parse_int(range[1], first, maximum, &last, NULL) < 0)
			return FALSE;
		if (!range[1] && !step[1])
			last = first;
	}
	for (int64_t value = first; value <= last; value += every)
		*bits |= UINT64_C(1) << value;
	return TRUE;
}

static gboolean read_field(const char *text, unsigned field, Line *line)
{
	g_auto(GStrv) parts = g_strsplit(text, ",", -1);
	for (char **part = parts; *part; part++)
		if (!read_part(
			*part, limits[field].minimum, limits[field].maximum, &line->bits[field]))
			return FALSE;
	line->any[field] = text[0] == '*';
	if (field == WEEKDAY && line->bits[field] & 1 << 7) /* Sunday has two numbers */
		line->bits[field] |= 1;
	return TRUE;
}

static gboolean read_line(const char *text, Line *line)
{
	g_auto(GStrv) words = g_strsplit(text, " ", -1);
	unsigned n = 0;
	*line = (Line){ 0 };
	for (char **word = words; *word; word++)
		if (**word && (n == FIELDS || !read_field(*word, n++, line)))
			return FALSE;
	return n == FIELDS;
}

static gboolean add_line(const char *text, Cron *cron)
{
	if (cron->n == LINES_MAX || !read_line(text, &cron->lines[cron->n]))
		return FALSE;
	cron->n++;
	return TRUE;
}

static gboolean read_one(const char *text, Cron *cron)
{
	for (size_t i = 0; i < G_N_ELEMENTS(aliases); i++) {
		if (strcmp(aliases[i].name, text) != 0)
			continue;
		cron->startup |= strcmp(text, "@startup") == 0;
		return !aliases[i].line || add_line(aliases[i].line, cron);
	}
	return add_line(text, cron);
}

/* A line may hold commas itself, but no blank follows those: between schedules there may be one. */
static gboolean read_list(const char *text, const char *separator, Cron *cron)
{
	g_auto(GStrv) parts = g_strsplit(text, separator, -1);
	for (char **part = parts; *part; part++)
		if (!read_one(g_strstrip(*part), cron) &&
		    (!**part || !separator[1] || !read_list(*part, ",", cron)))
			return FALSE;
	return TRUE;
}

int cron_parse(const char *text, Cron **ret_cron, Error **err)
{
	g_autoptr(Cron) cron = g_new0(Cron, 1);
	if (!read_list(text, ", ", cron))
		return error_set(err, ERROR_INVALID,
		    "Invalid schedule \"%s\": must be a cron expression or @hourly, @daily, ...",
		    text);
	*ret_cron = g_steal_pointer(&cron);
	return 0;
}

void cron_free(Cron *cron)
{
	g_free(cron);
}

gboolean cron_at_startup(const Cron *cron)
{
	return cron->startup;
}

/* ---- when ---- */

static gboolean has(const Line *line, unsigned field, int value)
{
	return line->bits[field] >> value & 1;
}

/* When both days are given, either will do: so cron has it. */
static gboolean on_day(const Line *line, const struct tm *day)
{
	gboolean date = has(line, DAY, day->tm_mday), weekday = has(line, WEEKDAY, day->tm_wday);
	if (!has(line, MONTH, day->tm_mon + 1))
		return FALSE;
	return line->any[DAY] || line->any[WEEKDAY] ? date && weekday : date || weekday;
}

static int64_t next_within(const Line *line, const struct tm *day, int64_t after)
{
	for (int hour = 0; hour < 24; hour++)
		for (int minute = 0; has(line, HOUR, hour) && minute < 60; minute++) {
			struct tm at = { .tm_year = day->tm_year,
				.tm_mon = day->tm_mon,
				.tm_mday = day->tm_mday,
				.tm_hour = hour,
				.tm_min = minute,
				.tm_isdst = -1 };
			if (!has(line, MINUTE, minute))
				continue;
			int64_t seconds = mktime(&at);
			if (seconds > after)
				return seconds;
		}
	return CRON_NEVER;
}

static int64_t next_of_line(const Line *line, int64_t after)
{
	time_t start = (time_t)after;
	struct tm now;
	if (!localtime_r(&start, &now))
		return CRON_NEVER;
	for (int n = 0; n < DAYS_AHEAD; n++) {
		/* Noon is there on every day, whatever the clocks do. */
		struct tm day = { .tm_year = now.tm_year,
			.tm_mon = now.tm_mon,
			.tm_mday = now.tm_mday + n,
			.tm_hour = 12,
			.tm_isdst = -1 };
		if (mktime(&day) == -1 || !on_day(line, &day))
			continue;
		int64_t next = next_within(line, &day, after);
		if (next != CRON_NEVER)
			return next;
	}
	return CRON_NEVER;
}

int64_t cron_next(const Cron *cron, int64_t after)
{
	int64_t next = CRON_NEVER;
	for (unsigned i = 0; i < cron->n; i++)
		next = MIN(next, next_of_line(&cron->lines[i], after));
	return next;
}
