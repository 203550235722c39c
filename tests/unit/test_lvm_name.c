/* Names of logical volumes: made and read back, whatever hyphens are in what they name. */
#include "server/storage/driver_lvm_private.h"
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

static void round_trip(DriverVolume volume, const char *expected)
{
	g_autofree char *lv = lvm_name(&volume), *name = NULL, *snapshot = NULL;
	assert_string_equal(lv, expected);
	assert_true(lvm_name_parse(lv, volume.type, volume.place, &name, &snapshot));
	assert_string_equal(name, volume.name);
	if (volume.snapshot)
		assert_string_equal(snapshot, volume.snapshot);
	else
		assert_null(snapshot);
}

static void test_names(void **state)
{
	round_trip((DriverVolume){ .type = VOLUME_CONTAINER, .name = "c1" }, "containers_c1");
	round_trip((DriverVolume){ .type = VOLUME_CONTAINER, .name = "c-1" }, "containers_c--1");
	round_trip((DriverVolume){ .type = VOLUME_CONTAINER, .name = "c1", .snapshot = "snap0" },
	    "containers_c1-snap0");
	round_trip(
	    (DriverVolume){ .type = VOLUME_CUSTOM, .name = "default_a--b", .snapshot = "s-1" },
	    "custom_default_a----b-s--1");
	round_trip(
	    (DriverVolume){ .type = VOLUME_CUSTOM, .name = "default_d", .content = CONTENT_BLOCK },
	    "custom_default_d.block");
	round_trip((DriverVolume){ .type = VOLUME_CUSTOM,
		       .name = "default_d",
		       .snapshot = "x",
		       .content = CONTENT_ISO },
	    "custom_default_d-x.iso");
	round_trip(
	    (DriverVolume){ .type = VOLUME_CUSTOM, .name = "default_a~b", .snapshot = "50%" },
	    "custom_default_a+7eb-50+25");
	round_trip((DriverVolume){ .type = VOLUME_CUSTOM, .name = "default_a+b+7e" },
	    "custom_default_a+b+2b7e");
	round_trip(
	    (DriverVolume){ .type = VOLUME_CUSTOM, .name = "default_+-7" }, "custom_default_+--7");
	round_trip(
	    (DriverVolume){ .type = VOLUME_IMAGE, .name = "0123", .place = PLACE_UNFINISHED },
	    "new_images_0123");
	round_trip((DriverVolume){ .type = VOLUME_CONTAINER, .name = "c1", .place = PLACE_DELETED },
	    "old_containers_c1");
}

static void test_others(void **state)
{
	g_autofree char *name = NULL, *snapshot = NULL;
	assert_false(
	    lvm_name_parse("IncusThinPool", VOLUME_CONTAINER, PLACE_OWN, &name, &snapshot));
	assert_false(lvm_name_parse("containers_c1", VOLUME_CUSTOM, PLACE_OWN, &name, &snapshot));
	assert_false(
	    lvm_name_parse("old_containers_c1", VOLUME_CONTAINER, PLACE_OWN, &name, &snapshot));
	assert_false(
	    lvm_name_parse("containers_c1", VOLUME_CONTAINER, PLACE_DELETED, &name, &snapshot));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_names),
		cmocka_unit_test(test_others) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
