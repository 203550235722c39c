/* Sizes, rates, durations, times and CPU sets as people write them. */
#include "tests/fuzz/fuzz.h"
#include "sdk/base/units.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_autofree char *text = g_strndup((const char *)data, size);
	int64_t value, part;
	int32_t nanoseconds;
	int percent;
	GArray *cpus = NULL;

	units_parse_bytes(text, &value, NULL);
	units_parse_bytes_or_percent(text, INT64_MAX, &value, NULL);
	units_parse_bits(text, &value, NULL);
	units_parse_percent(text, 100, &percent, NULL);
	units_parse_int(text, INT64_MIN, INT64_MAX, &value, NULL);
	units_parse_duration(text, &value, NULL);
	units_parse_expiry(text, 1700000000, &part, NULL);
	if (units_parse_time(text, &value, &nanoseconds, NULL) == 0)
		g_free(units_format_time(value, nanoseconds));
	if (units_parse_cpuset(text, &cpus, NULL) == 0) {
		g_free(units_format_cpuset(cpus));
		g_array_unref(cpus);
	}
	return 0;
}
