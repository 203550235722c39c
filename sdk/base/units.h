#pragma once
/*
 * Sizes, rates, percentages, durations and expiry expressions as users write them, read and
 * written as Incus does.
 */
#include "sdk/base/error.h"
#include <stdint.h>

/* "" is 0; plain numbers are bytes; B kB MB GB TB PB EB (1000) KiB MiB ... EiB (1024). */
int units_parse_bytes(const char *text, int64_t *ret_bytes, Error **err);
/* The same, or "25%" of total rounded down. */
int units_parse_bytes_or_percent(const char *text, int64_t total, int64_t *ret_bytes, Error **err);
/* bit kbit Mbit Gbit Tbit Pbit Ebit (1000) Kibit Mibit ... (1024), bits a second. */
int units_parse_bits(const char *text, int64_t *ret_bits, Error **err);
/* "1.50GiB" (1024; "B" below). The caller frees. */
char *units_format_bytes(int64_t bytes, unsigned precision);
/* "1.50GB" (1000). */
char *units_format_bytes_decimal(int64_t bytes, unsigned precision);
/* "25%" gives 25; 0..max. */
int units_parse_percent(const char *text, int max, int *ret_percent, Error **err);
/* Whole text is a decimal number in the range. */
int units_parse_int(
    const char *text, int64_t minimum, int64_t maximum, int64_t *ret_value, Error **err);
/* "1h30m", "10s", "500ms"; a number alone is seconds. Milliseconds. */
int units_parse_duration(const char *text, int64_t *ret_ms, Error **err);
/* "30S 1M 2H 3d 4w 5m 6y": seconds, minutes, hours, days, weeks, months, years after `from` (seconds
 * since 1970, UTC calendar); "" or "0..." of nothing gives *ret_expiry 0 = never. */
int units_parse_expiry(const char *text, int64_t from, int64_t *ret_expiry, Error **err);
/* CPU sets: "0-3,5" gives bits; a NULL-terminated walk is not needed: n <= 4096. The caller frees
 * with g_array_unref; elements are unsigned, sorted, unique. */
int units_parse_cpuset(const char *text, GArray **ret_cpus, Error **err);
/* "0-3,5" from a sorted array of unsigned. */
char *units_format_cpuset(const GArray *cpus);
/* RFC 3339, UTC, nanoseconds dropped when zero: "2024-01-02T03:04:05.000000006Z". */
char *units_format_time(int64_t seconds, int32_t nanoseconds);
/* RFC 3339 with any offset; "0001-01-01T00:00:00Z" gives seconds -62135596800. */
int units_parse_time(const char *text, int64_t *ret_seconds, int32_t *ret_nanoseconds, Error **err);
