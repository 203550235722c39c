/* What the head of a ZFS stream says, and which of them are not let through. */
#include "server/storage/zfs_stream.h"
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <string.h>
#include <cmocka.h>

enum {
	SINGLE = 1,
	PACKAGE = 2,
	FILES = 2,
	ZVOL = 3,
	PLAIN = 1 << 2 | 1 << 23,
	RAW = 1 << 24,
	DEDUPLICATED = 1,
	RESUMING = 1 << 20,
	REDACTED = 1 << 21,
	HOLDS = 1 << 26
};

typedef struct Head {
	uint32_t type, payload;
	uint64_t magic, version, created;
	uint32_t objects, flags;
	uint64_t guid, since;
	char name[256];
} Head;
G_STATIC_ASSERT(sizeof(Head) == ZFS_STREAM_HEAD);

static Head head(uint64_t kind, uint64_t features)
{
	return (Head){ .magic = G_GUINT64_CONSTANT(0x2F5bacbac),
		.version = kind | features << 2,
		.created = 1700000000,
		.objects = FILES,
		.guid = 77,
		.name = "pool/of/somebody@now" };
}

static gboolean parses(const Head *of, ZfsStream *stream)
{
	uint8_t bytes[ZFS_STREAM_HEAD];
	g_autoptr(Error) err = NULL;
	memcpy(bytes, of, sizeof(bytes));
	int result = zfs_stream_parse(bytes, stream, &err);
	assert_true(result == 0 ? !err : err->kind == ERROR_INVALID);
	return result == 0;
}

static void test_taken(void **state)
{
	ZfsStream stream;
	Head one = head(SINGLE, PLAIN);
	assert_true(parses(&one, &stream));
	assert_false(stream.zvol);
	assert_int_equal(stream.since, 0);
	one.objects = ZVOL;
	one.since = 42;
	assert_true(parses(&one, &stream));
	assert_true(stream.zvol);
	assert_int_equal(stream.since, 42);
}

static void test_other_byte_order(void **state)
{
	ZfsStream stream;
	Head one = head(SINGLE, PLAIN), package = head(PACKAGE, PLAIN);
	one.magic = GUINT64_SWAP_LE_BE(one.magic);
	one.version = GUINT64_SWAP_LE_BE(one.version);
	one.objects = GUINT32_SWAP_LE_BE(ZVOL);
	one.since = GUINT64_SWAP_LE_BE((uint64_t)42);
	assert_true(parses(&one, &stream));
	assert_true(stream.zvol);
	assert_int_equal(stream.since, 42);
	package.magic = one.magic;
	package.version = GUINT64_SWAP_LE_BE(package.version);
	package.objects = one.objects;
	assert_false(parses(&package, &stream));
}

static void test_refused(void **state)
{
	static const uint64_t features[] = { DEDUPLICATED, RAW, RESUMING, REDACTED, HOLDS, 1 << 18,
		G_GUINT64_CONSTANT(1) << 40 };
	ZfsStream stream;
	Head package = head(PACKAGE, PLAIN), both = head(SINGLE | PACKAGE, PLAIN),
	     none = head(0, PLAIN);
	assert_false(parses(&package, &stream));
	assert_false(parses(&both, &stream));
	assert_false(parses(&none, &stream));
	for (size_t i = 0; i < G_N_ELEMENTS(features); i++) {
		Head one = head(SINGLE, PLAIN | features[i]);
		assert_false(parses(&one, &stream));
	}
	Head clone = head(SINGLE, PLAIN), other = clone, later = clone, strange = clone,
	     long_one = clone;
	clone.flags = 1;
	other.objects = 1;
	later.type = 1; /* not the beginning */
	strange.magic++;
	long_one.payload = UINT32_MAX;
	assert_false(parses(&clone, &stream));
	assert_false(parses(&other, &stream));
	assert_false(parses(&later, &stream));
	assert_false(parses(&strange, &stream));
	assert_false(parses(&long_one, &stream));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_taken),
		cmocka_unit_test(test_other_byte_order), cmocka_unit_test(test_refused) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
