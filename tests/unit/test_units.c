/* units, names and x509. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "sdk/base/names.h"
#include "sdk/base/moment_message.h"
#include "sdk/base/units.h"
#include "sdk/base/x509.h"

#include <string.h>

static void test_bytes(void **state)
{
	static const struct {
		const char *text;
		int64_t bytes;
	} good[] = { { "", 0 }, { "5", 5 }, { "1B", 1 }, { "10kB", 10000 }, { "10KiB", 10240 },
		{ "10GiB", 10LL << 30 }, { "10GB", 10000000000LL }, { "1EiB", 1LL << 60 },
		{ "7 bytes", 7 } };
	static const char *const bad[] = { "x", "-1", "1.5GiB", "10 GiB", "9EiBx",
		"9999999999999GiB", "10G", "0x10", " 1" };
	int64_t value;
	g_autoptr(Error) err = NULL;
	for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
		assert_int_equal(units_parse_bytes(good[i].text, &value, &err), 0);
		assert_int_equal(value, good[i].bytes);
	}
	for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
		assert_int_equal(units_parse_bytes(bad[i], &value, NULL), -1);
	assert_int_equal(units_parse_bytes_or_percent("25%", 1001, &value, &err), 0);
	assert_int_equal(value, 250);
	assert_int_equal(units_parse_bits("10Mbit", &value, &err), 0);
	assert_int_equal(value, 10000000);
	g_autofree char *a = units_format_bytes(1536, 2), *b = units_format_bytes(1023, 2),
			*c = units_format_bytes_decimal(12345678, 2),
			*d = units_format_bytes((1 << 20) - 1, 2);
	assert_string_equal(a, "1.50KiB");
	assert_string_equal(b, "1023B");
	assert_string_equal(c, "12.35MB");
	assert_string_equal(d, "1.00MiB");
}

static void test_times(void **state)
{
	int64_t value;
	int32_t nanoseconds;
	g_autoptr(Error) err = NULL;
	assert_int_equal(units_parse_duration("1h30m", &value, &err), 0);
	assert_int_equal(value, 5400000);
	assert_int_equal(units_parse_duration("500ms", &value, &err), 0);
	assert_int_equal(value, 500);
	assert_int_equal(units_parse_duration("1h30", &value, NULL), -1);
	assert_int_equal(units_parse_expiry("1H 30M", 1000, &value, &err), 0);
	assert_int_equal(value, 1000 + 5400);
	assert_int_equal(
	    units_parse_expiry("1m", 1706659200, &value, &err), 0); /* 31 January 2024 */
	assert_int_equal(value, 1709164800);                                       /* 29 February */
	assert_int_equal(units_parse_expiry("90S", 1000, &value, &err), 0);
	assert_int_equal(value, 1090);
	assert_int_equal(units_parse_expiry("", 1000, &value, &err), 0);
	assert_int_equal(value, 0);
	assert_int_equal(units_parse_expiry("1H 1H", 0, &value, NULL), -1);
	assert_int_equal(units_parse_expiry("3x", 0, &value, NULL), -1);
	assert_int_equal(
	    units_parse_time("2024-01-02T03:04:05.5+01:00", &value, &nanoseconds, &err), 0);
	g_autofree char *text = units_format_time(value, nanoseconds);
	assert_string_equal(text, "2024-01-02T02:04:05.5Z");
	assert_int_equal(units_parse_time("0001-01-01T00:00:00Z", &value, NULL, &err), 0);
	assert_int_equal(value, -62135596800);
	g_autofree char *zero = units_format_time(value, 0);
	assert_string_equal(zero, "0001-01-01T00:00:00Z");
	assert_int_equal(units_parse_time("2024-13-02T03:04:05Z", &value, NULL, NULL), -1);
	GArray *cpus = NULL;
	assert_int_equal(units_parse_cpuset("5,0-2,1", &cpus, &err), 0);
	g_autofree char *set = units_format_cpuset(cpus);
	assert_string_equal(set, "0-2,5");
	g_array_unref(cpus);
	assert_int_equal(units_parse_cpuset("3-1", &cpus, NULL), -1);
	assert_int_equal(units_parse_cpuset("0-999999999", &cpus, NULL), -1);
}

static void test_names(void **state)
{
	static const struct {
		int (*check)(const char *, Error **);
		const char *text;
		int result;
	} cases[] = {
		{ name_check_instance, "c1", 0 },
		{ name_check_instance, "1c", 0 },
		{ name_check_instance, "12", -1 },
		{ name_check_instance, "c-", -1 },
		{ name_check_instance, "", -1 },
		{ name_check_instance, NULL, -1 },
		{ name_check_instance, "a/b", -1 },
		{ name_check_instance, "..", -1 },
		{ name_check_instance, "a_b", -1 },
		{ name_check_instance, "a\nb", -1 },
		{ name_check_project, "p1", 0 },
		{ name_check_project, "a b", -1 },
		{ name_check_project, "..", -1 },
		{ name_check_profile, "a/b", -1 },
		{ name_check_profile, "my.profile", 0 },
		{ name_check_profile, "a\xff", -1 },
		{ name_check_device, "eth0", 0 },
		{ name_check_device, "../x", -1 },
		{ name_check_device, "a\nlxc.hook=x", -1 },
		{ name_check_mac, "00:16:3e:aa:bb:cc", 0 },
		{ name_check_mac, "00:16:3e:aa:bb", -1 },
		{ name_check_ipv4, "10.0.0.1", 0 },
		{ name_check_ipv4, "10.0.0.256", -1 },
		{ name_check_ipv6, "fd42::1", 0 },
		{ name_check_ipv4_cidr, "10.0.0.1/24", 0 },
		{ name_check_ipv4_cidr, "10.0.0.1", -1 },
		{ name_check_ipv4_network, "10.0.0.0/24", 0 },
		{ name_check_ipv4_network, "10.0.0.1/24", -1 },
		{ name_check_ipv6_network, "fd42:1::/64", 0 },
		{ name_check_ipv4_range, "10.0.0.2-10.0.0.9", 0 },
		{ name_check_ipv4_range, "10.0.0.9-10.0.0.2", -1 },
		{ name_check_listen_address, "127.0.0.1:8443", 0 },
		{ name_check_listen_address, "[::]:8443", 0 },
		{ name_check_listen_address, "[::]", 0 },
		{ name_check_listen_address, ":8443", 0 },
		{ name_check_listen_address, "1.2.3:99", -1 },
		{ name_check_listen_address, "host:99999", -1 },
		{ name_check_pci, "0000:00:1f.2", 0 },
		{ name_check_pci, "zz", -1 },
		{ name_check_url, "https://x.example/a", 0 },
		{ name_check_url, "ftp://x", -1 },
		{ name_check_line, "a\tb", -1 },
		{ name_check_interface, "eth0", 0 },
		{ name_check_interface, "abcdefghijklmnop", -1 },
		{ name_check_fingerprint, "abc0", 0 },
		{ name_check_text, "two\n\tlines", 0 },
		{ name_check_text, "a\x01", -1 },
		{ name_check_text, "\x7f", -1 },
	};
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(Error) err = NULL;
		if (cases[i].check(cases[i].text, &err) != cases[i].result)
			fail_msg("case %zu \"%s\"", i, cases[i].text);
		assert_true((err != NULL) == (cases[i].result < 0));
	}
}

static void test_x509(void **state)
{
	g_autofree char *cert = NULL, *key = NULL, *fingerprint = NULL, *again = NULL, *pem = NULL,
			*coded = NULL;
	g_autofree uint8_t *der = NULL, *decoded = NULL;
	size_t length, decoded_length;
	g_autoptr(Error) err = NULL;
	assert_int_equal(x509_generate(TRUE, &cert, &key, &err), 0);
	assert_non_null(strstr(key, "BEGIN EC PRIVATE KEY"));
	assert_int_equal(x509_fingerprint(cert, &fingerprint, &err), 0);
	assert_int_equal(strlen(fingerprint), 64);
	assert_int_equal(x509_pem_to_der(cert, &der, &length, &err), 0);
	again = x509_fingerprint_der(der, length);
	assert_string_equal(fingerprint, again);
	assert_int_equal(x509_der_to_pem(der, length, &pem, &err), 0);
	assert_string_equal(pem, cert);
	char *none = NULL;
	assert_int_equal(x509_der_to_pem(der, length - 1, &none, NULL), -1);
	assert_int_equal(x509_fingerprint("nonsense", &none, NULL), -1);
	g_autoptr(X509Info) info = NULL;
	assert_int_equal(x509_info(cert, &info, &err), 0);
	assert_non_null(strstr(info->common_name, "@"));
	assert_true(info->not_after - info->not_before > 3649LL * 86400);
	coded = base64_encode(der, length);
	assert_int_equal(base64_decode(coded, &decoded, &decoded_length, &err), 0);
	assert_memory_equal(der, decoded, length);
	uint8_t *bytes = NULL;
	assert_int_equal(base64_decode("YWI", &bytes, &length, &err), 0);
	assert_string_equal(bytes, "ab");
	g_free(bytes);
	assert_int_equal(base64_decode("YW=I", &bytes, &length, NULL), -1);
	assert_int_equal(base64_decode("Y", &bytes, &length, NULL), -1);
	g_autofree char *uuid = random_uuid();
	assert_int_equal(name_check_uuid(uuid, &err), 0);
}

static void test_moment(void **state)
{
	static const char *const same[] = { "2024-03-23T17:38:37.753398689-04:00",
		"2024-03-23T17:38:37Z", "2024-03-23T17:38:37.5+14:00",
		"1999-12-31T23:59:59-00:30" };
	static const char *const wrong[] = { "", "2024-03-23", "2024-03-23T17:38:37",
		"2024-03-23T17:38:37+1:00", "2024-03-23T17:38:37+24:00",
		"2024-03-23T17:38:37+01:60", "2024-03-23T17:38:37+01:00x",
		"2024-03-23T17:38:37+ 1:00", "2024-03-23T17:38:37+01: 0", "2024-03-23 17:38:37Z",
		"2024-02-30T17:38:37Z" };
	Moment moment;
	for (size_t i = 0; i < G_N_ELEMENTS(same); i++) {
		assert_int_equal(moment_parse(same[i], &moment, NULL), 0);
		g_autofree char *text = moment_format(&moment);
		assert_string_equal(text, same[i]);
	}
	for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++)
		assert_int_equal(moment_parse(wrong[i], &moment, NULL), -1);
	Pb__Time foreign = PB__TIME__INIT;
	foreign.seconds = 5;
	foreign.nanos = -1;
	foreign.offset = INT32_MAX;
	moment = moment_from_message(&foreign);
	assert_int_equal(moment.nanoseconds, 0);
	assert_int_equal(moment.offset, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_moment),
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_x509),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
