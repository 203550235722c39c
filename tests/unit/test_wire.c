#include "sdk/base/wire.h"
#include "incus/v1/instance.pb-c.h"
#include "incus/v1/profile.pb-c.h"
#include "google/protobuf/struct.pb-c.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

static int check(const ProtobufCMessageDescriptor *descriptor, const void *data, size_t size)
{
	g_autoptr(Error) err = NULL;
	/* On the heap, so that the sanitizer sees reads beyond the end. */
	g_autofree uint8_t *copy = g_memdup2(data, size);
	int result = wire_check(descriptor, copy, size, &err);

	assert_int_equal(result < 0, err != NULL);
	if (err)
		assert_int_equal(err->kind, ERROR_INVALID);
	return result;
}

static int check_profile(const char *data, size_t size)
{
	return check(&pb__profile__descriptor, data, size);
}

#define PROFILE(bytes) check_profile((bytes), sizeof(bytes) - 1)

static void good_messages(void **state)
{
	Pb__Device device = PB__DEVICE__INIT;
	Pb__Profile__DevicesEntry entry = PB__PROFILE__DEVICES_ENTRY__INIT, *entries[] = {&entry};
	Pb__Profile profile = PB__PROFILE__INIT;
	uint8_t bytes[256];

	profile.name = (char *)"default \xe2\x82\xac";
	entry.key = (char *)"eth0";
	entry.value = &device;
	profile.n_devices = 1;
	profile.devices = entries;
	assert_int_equal(PROFILE(""), 0);
	assert_int_equal(
	    check(&pb__profile__descriptor, bytes, pb__profile__pack(&profile, bytes)), 0);
	assert_int_equal(PROFILE("\xa8\x06\x01"), 0); /* unknown field 101 */
}

static void bad_text(void **state)
{
	assert_int_equal(PROFILE("\x22\x03"
				 "a\0b"),
	    -1);
	assert_int_equal(PROFILE("\x22\x01\xff"), -1);
	assert_int_equal(PROFILE("\x0a\x03\x0a\x01\xff"), -1); /* key of a map */
}

static void bad_frames(void **state)
{
	assert_int_equal(PROFILE("\x22"), -1);
	assert_int_equal(PROFILE("\x22\x05"
				 "ab"),
	    -1);
	assert_int_equal(PROFILE("\x22\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), -1);
	assert_int_equal(PROFILE("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"), -1);
	assert_int_equal(PROFILE("\x02\x00"), -1);     /* field 0 */
	assert_int_equal(PROFILE("\x23\x24"), -1);     /* group */
	assert_int_equal(PROFILE("\x0d\x01\x02"), -1); /* short fixed32 */
}

/* google.protobuf.Value in ListValue in Value ... */
static void nesting(void **state)
{
	for (unsigned levels = 1; levels < 400; levels += 3) {
		g_autoptr(GByteArray) bytes = g_byte_array_new();
		for (unsigned i = 0; i < levels; i++) {
			guint8 head[6] = {i % 2 ? 0x0a : 0x32};
			guint length = bytes->len, n = 1;
			do
				head[n++] = (guint8)((length & 0x7f) | (length > 0x7f ? 0x80 : 0));
			while (length >>= 7);
			g_byte_array_prepend(bytes, head, n);
		}
		/* The outermost field belongs to Value or to ListValue, by parity. */
		const ProtobufCMessageDescriptor *outer =
		    levels % 2 ? &google__protobuf__value__descriptor
			       : &google__protobuf__list_value__descriptor;
		assert_int_equal(
		    check(outer, bytes->data, bytes->len), levels <= WIRE_DEPTH_MAX ? 0 : -1);
	}
}

static void too_many_parts(void **state)
{
	size_t size = 2u * (WIRE_MESSAGES_MAX + 8);
	g_autofree uint8_t *bytes = g_malloc(size);

	for (size_t i = 0; i < size; i += 2)
		bytes[i] = 0x0a, bytes[i + 1] = 0;
	assert_int_equal(check(&pb__profile__descriptor, bytes, size), -1);
}

/* What the scan lets through, protobuf-c unpacks without harm; every cut of a message included. */
static void cuts_and_flips(void **state)
{
	Pb__InstancesPost post = PB__INSTANCES_POST__INIT;
	Pb__InstanceSource source = PB__INSTANCE_SOURCE__INIT;
	uint8_t bytes[512];
	size_t size;

	post.name = (char *)"c1";
	post.source = &source;
	source.type = (char *)"image";
	source.alias = (char *)"busybox";
	size = pb__instances_post__pack(&post, bytes);
	for (size_t i = 0; i <= size; i++)
		for (unsigned flip = 0; flip < 256; flip++) {
			uint8_t copy[512];
			memcpy(copy, bytes, size);
			copy[i % size] ^= (uint8_t)flip;
			if (check(&pb__instances_post__descriptor, copy, i))
				continue;
			Pb__InstancesPost *again = pb__instances_post__unpack(NULL, i, copy);
			if (again)
				pb__instances_post__free_unpacked(again, NULL);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(good_messages),
	    cmocka_unit_test(bad_text),
	    cmocka_unit_test(bad_frames),
	    cmocka_unit_test(nesting),
	    cmocka_unit_test(too_many_parts),
	    cmocka_unit_test(cuts_and_flips),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
