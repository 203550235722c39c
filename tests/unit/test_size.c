/* server/instance/size: "c2-m4" and what is not of that kind. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "server/instance/size.h"

static void check(const char *size, const char *cpu, const char *allowance, const char *memory)
{
	static const char *const keys[] = {"limits.cpu", "limits.cpu.allowance", "limits.memory"};
	const char *wanted[] = {cpu, allowance, memory};
	g_autoptr(Config) config = config_new();
	assert_int_equal(instance_size_apply(size, config, NULL), 0);
	for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
		const char *value = config_get(config, keys[i]);
		if (wanted[i])
			assert_string_equal(value, wanted[i]);
		else
			assert_null(value);
	}
}

static void test_sizes(void **state)
{
	check("c2-m4", "2", NULL, "4096MiB");
	check("m4-c2", "2", NULL, "4096MiB");
	check("c0.5-m0.2", "1", "50%", "204MiB");
	check("c1.1", "2", "55%", NULL);
	check("m1", NULL, NULL, "1024MiB");
}

static void test_own_values_stay(void **state)
{
	g_autoptr(Config) config = config_new();
	config_set(config, "limits.cpu", "7");
	assert_int_equal(instance_size_apply("c2-m4", config, NULL), 0);
	assert_string_equal(config_get(config, "limits.cpu"), "7");
	assert_string_equal(config_get(config, "limits.memory"), "4096MiB");
}

static void test_refused(void **state)
{
	static const char *const bad[] = { "t2.micro", "aws:t2.micro", "c", "c-m", "c0", "c1-c2",
		"c-1", "c1.", "c.5", "c1e3", "c1 ", "c99999", "c1-m2-m3", "m1-", "-", "cinf",
		"c0x10" };
	for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
		g_autoptr(Config) config = config_new();
		g_autoptr(Error) error = NULL;
		assert_int_equal(instance_size_apply(bad[i], config, &error), -1);
		assert_int_equal(error->kind, ERROR_INVALID);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_sizes),
	    cmocka_unit_test(test_own_values_stay),
	    cmocka_unit_test(test_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
