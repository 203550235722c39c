#include "sdk/base/units.h"
#include "sdk/base/moment.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CPU_MAX = 4096 };

typedef struct Unit {
	const char *suffix;
	int64_t factor;
} Unit;

#define KILO 1000LL
#define KIBI 1024LL

static const Unit byte_units[] = {
	{"", 1}, {"B", 1}, {" bytes", 1},
	{"kB", KILO}, {"KB", KILO}, {"MB", KILO * KILO}, {"GB", KILO * KILO * KILO},
	{"TB", KILO * KILO * KILO * KILO}, {"PB", KILO * KILO * KILO * KILO * KILO},
	{"EB", KILO * KILO * KILO * KILO * KILO * KILO},
	{"KiB", KIBI}, {"MiB", KIBI << 10}, {"GiB", KIBI << 20}, {"TiB", KIBI << 30},
	{"PiB", KIBI << 40}, {"EiB", KIBI << 50},
	{NULL, 0},
};

static const Unit bit_units[] = {
	{"", 1}, {"bit", 1},
	{"kbit", KILO}, {"Mbit", KILO * KILO}, {"Gbit", KILO * KILO * KILO},
	{"Tbit", KILO * KILO * KILO * KILO}, {"Pbit", KILO * KILO * KILO * KILO * KILO},
	{"Ebit", KILO * KILO * KILO * KILO * KILO * KILO},
	{"Kibit", KIBI}, {"Mibit", KIBI << 10}, {"Gibit", KIBI << 20}, {"Tibit", KIBI << 30},
	{"Pibit", KIBI << 40}, {"Eibit", KIBI << 50},
	{NULL, 0},
};

static const Unit duration_units[] = {
	{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {NULL, 0},
};

/* Digits at *text, which is moved behind them; no sign, no spaces. */
static int digits(const char **text, int64_t *ret_value)
{
	char *end;
	if (!g_ascii_isdigit(**text))
		return -1;
	errno = 0;
	*ret_value = strtoll(*text, &end, 10);
	*text = end;
	return errno ? -1 : 0;
}

static int parse_with(const Unit *units, const char *text, int64_t *ret_value, Error **err)
{
	const char *rest = text ? text : "";
	int64_t number;
	if (!*rest) {
		*ret_value = 0;
		return 0;
	}
	if (digits(&rest, &number) < 0)
		return error_set(err, ERROR_INVALID, "Invalid value: %s", text);
	for (const Unit *unit = units; unit->suffix; unit++)
		if (strcmp(unit->suffix, rest) == 0) {
			if (__builtin_mul_overflow(number, unit->factor, ret_value))
				return error_set(
				    err, ERROR_INVALID, "Value \"%s\" is too large", text);
			return 0;
		}
	return error_set(err, ERROR_INVALID, "Unsupported suffix: %s", rest);
}

int units_parse_bytes(const char *text, int64_t *ret_bytes, Error **err)
{
	return parse_with(byte_units, text, ret_bytes, err);
}

int units_parse_bits(const char *text, int64_t *ret_bits, Error **err)
{
	return parse_with(bit_units, text, ret_bits, err);
}

int units_parse_bytes_or_percent(const char *text, int64_t total, int64_t *ret_bytes, Error **err)
{
	if (!text || !g_str_has_suffix(text, "%"))
		return units_parse_bytes(text, ret_bytes, err);
	int percent;
	if (units_parse_percent(text, G_MAXINT, &percent, err) < 0)
		return -1;
	int64_t whole;
	if (__builtin_mul_overflow(total / 100, (int64_t)percent, &whole) ||
	    __builtin_add_overflow(whole, total % 100 * percent / 100, ret_bytes))
		return error_set(err, ERROR_INVALID, "Size \"%s\" is too large", text);
	return 0;
}

static char *format_with(
    int64_t bytes, unsigned precision, int64_t base, const char *const *suffixes)
{
	if (bytes > -base && bytes < base)
		return g_strdup_printf("%" G_GINT64_FORMAT "B", bytes);
	double value = (double)bytes;
	unsigned i = 0;
	/* What would print as 1024.00KiB is shown one step up. */
	double limit = (double)base - 0.5 / pow(10, precision);
	for (value /= (double)base; fabs(value) >= limit && suffixes[i + 1]; i++)
		value /= (double)base;
	return g_strdup_printf("%.*f%s", (int)precision, value, suffixes[i]);
}

char *units_format_bytes(int64_t bytes, unsigned precision)
{
	static const char *const suffixes[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", NULL};
	return format_with(bytes, precision, KIBI, suffixes);
}

char *units_format_bytes_decimal(int64_t bytes, unsigned precision)
{
	static const char *const suffixes[] = {"kB", "MB", "GB", "TB", "PB", "EB", NULL};
	return format_with(bytes, precision, KILO, suffixes);
}

int units_parse_percent(const char *text, int max, int *ret_percent, Error **err)
{
	const char *rest = text ? text : "";
	int64_t number;
	if (digits(&rest, &number) < 0 || strcmp(rest, "%") != 0 || number > max)
		return error_set(err, ERROR_INVALID, "Invalid percentage \"%s\"", text ? text : "");
	*ret_percent = (int)number;
	return 0;
}

int units_parse_int(
    const char *text, int64_t minimum, int64_t maximum, int64_t *ret_value, Error **err)
{
	char *end;
	errno = 0;
	int64_t value = text ? strtoll(text, &end, 10) : 0;
	if (!text || end == text || *end || errno || g_ascii_isspace(*text) || *text == '+')
		return error_set(
		    err, ERROR_INVALID, "Invalid value for an integer \"%s\"", text ? text : "");
	if (value < minimum || value > maximum)
		return error_set(err, ERROR_INVALID,
		    "Value \"%s\" is not between %" G_GINT64_FORMAT " and %" G_GINT64_FORMAT, text,
		    minimum, maximum);
	*ret_value = value;
	return 0;
}

int units_parse_duration(const char *text, int64_t *ret_ms, Error **err)
{
	const char *rest = text ? text : "";
	int64_t total = 0, number, part;
	do {
		const Unit *unit = duration_units;
		const char *end = rest;
		if (digits(&end, &number) < 0)
			goto invalid;
		size_t length = strcspn(end, "0123456789");
		while (unit->suffix &&
		    (strlen(unit->suffix) != length || strncmp(unit->suffix, end, length) != 0))
			unit++;
		if (!unit->suffix || (!length && rest != text) ||
		    __builtin_mul_overflow(number, unit->factor, &part) ||
		    __builtin_add_overflow(total, part, &total))
			goto invalid;
		rest = end + length;
	} while (*rest);
	*ret_ms = total;
	return 0;
invalid:
	return error_set(err, ERROR_INVALID, "Invalid duration \"%s\"", text ? text : "");
}

/* One "3d": adds it to *date; the letter may come once. */
static int expiry_part(GDateTime **date, const char *part, unsigned *seen)
{
	static const char letters[] = "SMHdwmy";
	const char *rest = part;
	int64_t number;
	if (digits(&rest, &number) < 0 || number > 1000000 || !*rest || rest[1] ||
	    !strchr(letters, *rest))
		return -1;
	unsigned bit = 1U << (strchr(letters, *rest) - letters);
	if (*seen & bit)
		return -1;
	*seen |= bit;
	int n = (int)number;
	GDateTime *later = *rest == 'S' ? g_date_time_add_seconds(*date, n)
	    : *rest == 'M' ? g_date_time_add_minutes(*date, n)
	    : *rest == 'H' ? g_date_time_add_hours(*date, n)
	    : *rest == 'd' ? g_date_time_add_days(*date, n)
	    : *rest == 'w' ? g_date_time_add_weeks(*date, n)
	    : *rest == 'm' ? g_date_time_add_months(*date, n)
			   : g_date_time_add_years(*date, n);
	if (!later)
		return -1;
	g_date_time_unref(*date);
	*date = later;
	return 0;
}

int units_parse_expiry(const char *text, int64_t from, int64_t *ret_expiry, Error **err)
{
	g_auto(GStrv) parts = g_strsplit(text ? text : "", " ", -1);
	g_autoptr(GDateTime) date = g_date_time_new_from_unix_utc(from);
	unsigned seen = 0;
	for (char **part = parts; *part; part++)
		if (**part && expiry_part(&date, *part, &seen) < 0)
			return error_set(
			    err, ERROR_INVALID, "Invalid expiry expression \"%s\"", text);
	int64_t expiry = g_date_time_to_unix(date);
	*ret_expiry = seen && expiry != from ? expiry : 0;
	return 0;
}

static int compare_unsigned(const void *a, const void *b)
{
	unsigned one = *(const unsigned *)a, two = *(const unsigned *)b;
	return (one > two) - (one < two);
}

int units_parse_cpuset(const char *text, GArray **ret_cpus, Error **err)
{
	g_autoptr(GArray) cpus = g_array_new(FALSE, FALSE, sizeof(unsigned));
	g_autofree guint8 *present = g_malloc0(CPU_MAX);
	g_auto(GStrv) parts = g_strsplit(text ? text : "", ",", -1);
	for (char **part = parts; *part; part++) {
		const char *rest = g_strstrip(*part);
		int64_t first, last;
		if (digits(&rest, &first) < 0)
			goto invalid;
		last = first;
		if (*rest == '-') {
			rest++;
			if (digits(&rest, &last) < 0)
				goto invalid;
		}
		if (*rest || last < first || last >= CPU_MAX)
			goto invalid;
		for (unsigned cpu = (unsigned)first; cpu <= (unsigned)last; cpu++)
			if (!present[cpu]++)
				g_array_append_val(cpus, cpu);
	}
	if (!cpus->len)
		goto invalid;
	g_array_sort(cpus, compare_unsigned);
	*ret_cpus = g_steal_pointer(&cpus);
	return 0;
invalid:
	return error_set(err, ERROR_INVALID, "Invalid CPU set \"%s\"", text ? text : "");
}

char *units_format_cpuset(const GArray *cpus)
{
	GString *text = g_string_new(NULL);
	for (guint i = 0; i < cpus->len; i++) {
		unsigned first = g_array_index(cpus, unsigned, i), last = first;
		while (i + 1 < cpus->len && g_array_index(cpus, unsigned, i + 1) == last + 1)
			last = g_array_index(cpus, unsigned, ++i);
		g_string_append_printf(text, text->len ? ",%u" : "%u", first);
		if (last != first)
			g_string_append_printf(text, "-%u", last);
	}
	return g_string_free(text, FALSE);
}

char *units_format_time(int64_t seconds, int32_t nanoseconds)
{
	Moment moment = { .seconds = seconds, .nanoseconds = nanoseconds };
	return moment_format(&moment);
}

int units_parse_time(const char *text, int64_t *ret_seconds, int32_t *ret_nanoseconds, Error **err)
{
	Moment moment;
	if (moment_parse(text, &moment, err) < 0)
		return -1;
	*ret_seconds = moment.seconds;
	if (ret_nanoseconds)
		*ret_nanoseconds = moment.nanoseconds;
	return 0;
}
