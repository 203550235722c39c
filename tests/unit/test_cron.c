/* sdk/base/cron.c: what is a schedule, and when it is due. */
#include "sdk/base/cron.h"
#include "sdk/base/units.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

static int64_t seconds(const char *text)
{
	int64_t value;
	int32_t nanoseconds;
	assert_int_equal(units_parse_time(text, &value, &nanoseconds, NULL), 0);
	return value;
}

static void check_next(const char *schedule, const char *after, const char *next)
{
	g_autoptr(Cron) cron = NULL;
	assert_int_equal(cron_parse(schedule, &cron, NULL), 0);
	int64_t got = cron_next(cron, seconds(after));
	g_autofree char *text = got == CRON_NEVER ? g_strdup("never") : units_format_time(got, 0);
	assert_string_equal(text, next);
}

static void test_next(void **state)
{
	static const struct {
		const char *schedule, *after, *next;
	} rows[] = {
		{ "* * * * *", "2024-01-01T00:00:00Z", "2024-01-01T00:01:00Z" },
		{ "* * * * *", "2024-01-01T00:00:59Z", "2024-01-01T00:01:00Z" },
		{ "*/15 * * * *", "2024-01-01T00:46:00Z", "2024-01-01T01:00:00Z" },
		{ "5/20 3 * * *", "2024-01-01T03:26:00Z", "2024-01-01T03:45:00Z" },
		{ "0 6,18 * * *", "2024-01-01T06:00:00Z", "2024-01-01T18:00:00Z" },
		{ "30 1-3 * * *", "2024-01-01T03:30:00Z", "2024-01-02T01:30:00Z" },
		{ "0 0 29 2 *", "2024-02-29T00:00:00Z", "2028-02-29T00:00:00Z" },
		{ "0 0 29 2 *", "2096-02-29T00:00:00Z", "2104-02-29T00:00:00Z" },
		{ "0 0 31 2 *", "2024-01-01T00:00:00Z", "never" },
		{ "0 0 * * 7", "2024-01-01T00:00:00Z", "2024-01-07T00:00:00Z" }, /* a Monday */
		{ "0 0 * * 0", "2024-01-01T00:00:00Z", "2024-01-07T00:00:00Z" },
		{ "0 0 13 * 5", "2024-01-01T00:00:00Z",
		    "2024-01-05T00:00:00Z" }, /* the 13th or a Friday */
		{ "0 0 */2 * 5", "2024-01-01T00:00:00Z",
		    "2024-01-05T00:00:00Z" }, /* an odd Friday */
		{ "@hourly", "2024-12-31T23:00:00Z", "2025-01-01T00:00:00Z" },
		{ "@midnight", "2024-02-28T00:00:00Z", "2024-02-29T00:00:00Z" },
		{ "@weekly", "2024-01-01T00:00:00Z", "2024-01-07T00:00:00Z" },
		{ "@monthly", "2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z" },
		{ "@yearly", "2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z" },
		{ "@yearly, @monthly", "2024-05-05T00:00:00Z", "2024-06-01T00:00:00Z" },
		{ "@yearly, 10 5,6 * * *", "2024-05-05T05:30:00Z", "2024-05-05T06:10:00Z" },
		{ "@yearly,@monthly, 10 2,5-8/2 * * *", "2024-05-05T05:30:00Z",
		    "2024-05-05T07:10:00Z" },
		{ "@never", "2024-01-01T00:00:00Z", "never" },
		{ "@startup", "2024-01-01T00:00:00Z", "never" },
		{ "", "2024-01-01T00:00:00Z", "never" },
	};
	for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
		check_next(rows[i].schedule, rows[i].after, rows[i].next);
}

static void test_refused(void **state)
{
	static const char *const rows[] = { "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *",
		"* * * 13 *", "* * * * 8", "* * * *", "* * * * * *", "*/0 * * * *", "5-1 * * * *",
		"a * * * *", "@dayly", "@daily, x", "1,,2 * * * *", ",", "@daily,", "@daily, ", "10 5, 6 * * *", "-1 * * * *",
		"1-2-3 * * * *", "** * * * *" };
	for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
		g_autoptr(Cron) cron = NULL;
		if (cron_parse(rows[i], &cron, NULL) == 0)
			fail_msg("\"%s\" was taken", rows[i]);
	}
}

static void test_startup(void **state)
{
	g_autoptr(Cron) cron = NULL, other = NULL;
	assert_int_equal(cron_parse("@daily, @startup", &cron, NULL), 0);
	assert_true(cron_at_startup(cron));
	assert_int_equal(cron_parse("@daily", &other, NULL), 0);
	assert_false(cron_at_startup(other));
}

/* Clocks go forward at 2:00 on 2024-03-31 and back at 3:00 on 2024-10-27. */
static void test_clock_changes(void **state)
{
	setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
	tzset();
	check_next("30 2 * * *", "2024-03-30T12:00:00Z", "2024-03-31T01:30:00Z"); /* 3:30 */
	check_next("30 2 * * *", "2024-03-31T01:30:00Z", "2024-04-01T00:30:00Z");
	check_next("0 12 * * *", "2024-10-26T12:00:00Z", "2024-10-27T11:00:00Z");
	setenv("TZ", "UTC", 1);
	tzset();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_next),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_startup),
		cmocka_unit_test(test_clock_changes),
	};
	setenv("TZ", "UTC", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
