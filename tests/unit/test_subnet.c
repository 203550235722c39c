/* server/network/subnet: parsing, arithmetic and the choice of free subnets. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "server/network/subnet.h"

static Subnet parse(const char *text)
{
	Subnet s = {0};
	assert_int_equal(subnet_parse(text, &s, NULL), 0);
	return s;
}

static void check_text(char *text, const char *wanted)
{
	g_autofree char *owned = text;
	assert_string_equal(owned, wanted);
}

static void test_parse(void **state)
{
	static const char *const bad[] = { "", "/", "10.0.0", "10.0.0.1/", "10.0.0.1/33",
		"10.0.0.1/-1", "10.0.0.1/2 4", "fd42::1/129", "fd42:::1/64", "auto",
		"10.0.0.1/24\n", "256.0.0.1/8" };
	Subnet s;
	for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
		assert_int_equal(subnet_parse(bad[i], &s, NULL), -1);
	s = parse("10.1.2.3/24");
	check_text(subnet_address_text(&s), "10.1.2.3");
	check_text(subnet_network_text(&s), "10.1.2.0/24");
	s = parse("fd42::1");
	check_text(subnet_network_text(&s), "fd42::1/128");
	s = parse("10.1.2.129/25");
	check_text(subnet_network_text(&s), "10.1.2.128/25");
}

static void test_hosts(void **state)
{
	Subnet s = parse("10.1.2.3/24");
	check_text(subnet_host_text(&s, 2), "10.1.2.2");
	check_text(subnet_host_text(&s, -1), "10.1.2.255");
	check_text(subnet_host_text(&s, -2), "10.1.2.254");
	s = parse("10.1.0.1/16");
	check_text(subnet_host_text(&s, 258), "10.1.1.2");
	check_text(subnet_host_text(&s, -257), "10.1.254.255");
	s = parse("fd42:1:2:3::1/64");
	check_text(subnet_host_text(&s, 2), "fd42:1:2:3::2");
	check_text(subnet_host_text(&s, -1), "fd42:1:2:3:ffff:ffff:ffff:ffff");
	check_text(subnet_eui64_text(&s, "00:16:3e:0c:ee:dd"), "fd42:1:2:3:216:3eff:fe0c:eedd");
	s = parse("fd42::1/80");
	assert_null(subnet_eui64_text(&s, "00:16:3e:0c:ee:dd"));
}

static void test_relations(void **state)
{
	Subnet a = parse("10.1.2.1/24"), b = parse("10.1.0.0/16"), c = parse("10.1.3.0/24");
	Subnet host = parse("10.1.2.77"), v6 = parse("fd42::1/64");
	assert_true(subnet_overlaps(&a, &b));
	assert_true(subnet_overlaps(&b, &a));
	assert_false(subnet_overlaps(&a, &c));
	assert_false(subnet_overlaps(&a, &v6));
	assert_true(subnet_contains(&a, &host));
	assert_true(subnet_contains(&b, &a));
	assert_false(subnet_contains(&a, &b));
	assert_false(subnet_contains(&c, &host));
}

static void test_pick(void **state)
{
	g_autoptr(GPtrArray) taken = g_ptr_array_new_with_free_func(g_free);
	/* All of 10/8 but one sixteenth: what is picked must lie there. */
	for (int i = 0; i < 240; i++)
		g_ptr_array_add(taken, g_strdup_printf("10.%d.0.0/16", i));
	g_ptr_array_add(taken, g_strdup("0.0.0.0/0"));
	g_ptr_array_add(taken, g_strdup("nonsense"));
	for (int i = 0; i < 50; i++) {
		g_autofree char *cidr = NULL;
		assert_int_equal(subnet_pick_ipv4(taken, &cidr, NULL), 0);
		Subnet s = parse(cidr);
		assert_int_equal(s.prefix, 24);
		assert_int_equal(s.address[0], 10);
		assert_true(s.address[1] >= 240);
		assert_int_equal(s.address[3], 1);
	}
	g_ptr_array_add(taken, g_strdup("10.0.0.0/8"));
	g_autofree char *none = NULL;
	g_autoptr(Error) err = NULL;
	assert_int_equal(subnet_pick_ipv4(taken, &none, &err), -1);
	assert_non_null(err);
	g_autofree char *v6 = NULL;
	assert_int_equal(subnet_pick_ipv6(NULL, &v6, NULL), 0);
	assert_true(g_str_has_prefix(v6, "fd42:"));
	assert_true(g_str_has_suffix(v6, "::1/64") || strchr(v6, '/'));
}

static void test_split(void **state)
{
	g_auto(GStrv) words = subnet_split_list(" a, b,,c ,");
	assert_int_equal(g_strv_length(words), 3);
	assert_string_equal(words[1], "b");
	g_auto(GStrv) empty = subnet_split_list(NULL);
	assert_int_equal(g_strv_length(empty), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_parse),
	    cmocka_unit_test(test_hosts),
	    cmocka_unit_test(test_relations),
	    cmocka_unit_test(test_pick),
	    cmocka_unit_test(test_split),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
