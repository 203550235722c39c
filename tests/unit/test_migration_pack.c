/* server/instance/migration_pack: what is chosen over links and for data of several kinds. */
#include "server/instance/migration_pack.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

enum { CHUNK = 256 << 10 };

/* What a level leaves of the data, and how many bytes a microsecond it works on. */
typedef struct Kind {
	double left[10], work[10];
} Kind;

static const Kind text = { { [0] = 1, [1] = 0.33, [3] = 0.3, [6] = 0.27, [9] = 0.25 },
	{ [0] = 1e9, [1] = 500, [3] = 250, [6] = 80, [9] = 40 } };
static const Kind noise = { { [0] = 1, [1] = 1.001, [3] = 1.001, [6] = 1.001, [9] = 1.001 },
	{ [0] = 1e9, [1] = 2500, [3] = 1500, [6] = 500, [9] = 200 } };

/* Sends chunks over a link and to a reader of so many bytes a microsecond; the last one's level. */
static int send(MigrationPack *pack, MigrationPace *pace, const Kind *kind, double link,
    double reader, int chunks)
{
	int level = 0;
	for (int i = 0; i < chunks; i++) {
		level = migration_pack_how(pack).level;
		double wire = CHUNK * kind->left[level], work = CHUNK / kind->work[level];
		if (level == 0 && migration_pack_wants_sample(pack))
			migration_pack_sample(pack, CHUNK, (uint64_t)(CHUNK * kind->left[1]));
		pace->raw += CHUNK;
		pace->wire += (uint64_t)wire;
		pace->network_us += (int64_t)(wire / link);
		pace->packing_us += (int64_t)work;
		pace->time_us += (int64_t)MAX(MAX(work, wire / link), CHUNK / reader);
		migration_pack_go_on(pack, pace);
	}
	return level;
}

/* The level that it comes to and stays at. */
static int settles(const Kind *kind, double link, double reader)
{
	MigrationPace pace = { 0 };
	MigrationPack pack;
	migration_pack_start(&pack, -1, &pace);
	int level = send(&pack, &pace, kind, link, reader, 1000);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(send(&pack, &pace, kind, link, reader, 1), level);
	return level;
}

static void test_links(void **state)
{
	assert_int_equal(settles(&text, 5000, 1000), 0); /* loopback */
	assert_int_equal(settles(&text, 5000, 50), 0);	 /* and a slow disk behind it */
	assert_int_equal(settles(&text, 1100, 1000), 0); /* 10 Gbit/s */
	assert_int_equal(settles(&text, 110, 1000), 1);	 /* 1 Gbit/s: more would be waited for */
	assert_int_equal(settles(&text, 11, 1000), 6);	 /* 100 Mbit/s */
	assert_int_equal(settles(&text, 1.1, 1000), 9);
	assert_int_equal(settles(&text, 110, 50), 0); /* the disk is slower than the link */
	assert_int_equal(settles(&noise, 5000, 1000), 0);
	assert_int_equal(settles(&noise, 1.1, 1000), 0);
}

static void test_change(void **state)
{
	MigrationPace pace = { 0 };
	MigrationPack pack;
	migration_pack_start(&pack, -1, &pace);
	/* A few pieces show that nothing is to be gained. */
	assert_int_equal(send(&pack, &pace, &noise, 110, 1000, 10), 0);
	assert_int_equal(send(&pack, &pace, &noise, 110, 1000, 1000), 0);
	assert_int_equal(send(&pack, &pace, &text, 110, 1000, 100), 1);
	assert_int_equal(send(&pack, &pace, &noise, 110, 1000, 100), 0);
	assert_int_equal(send(&pack, &pace, &text, 1.1, 1000, 300), 9);
	/* The link gets better. */
	assert_int_equal(send(&pack, &pace, &text, 5000, 1000, 300), 0);
}

/* Chosen by hand: the network does not matter, what is compressed already does. */
static void test_fixed(void **state)
{
	MigrationPace pace = { 0 };
	MigrationPack pack;
	migration_pack_start(&pack, 6, &pace);
	assert_int_equal(send(&pack, &pace, &text, 5000, 1000, 100), 6);
	assert_int_equal(send(&pack, &pace, &text, 1.1, 1000, 100), 6);
	assert_int_equal(send(&pack, &pace, &noise, 1.1, 1000, 1000), 0);
	assert_int_equal(send(&pack, &pace, &text, 110, 1000, 100), 6);
	migration_pack_start(&pack, 0, &pace);
	assert_int_equal(send(&pack, &pace, &text, 1.1, 1000, 1000), 0);
}

/* One piece tells that nothing is to be gained, or that something is. */
static void test_first_piece(void **state)
{
	MigrationPace pace = { 0 };
	MigrationPack pack;
	migration_pack_start(&pack, -1, &pace);
	assert_int_equal(send(&pack, &pace, &noise, 1.1, 1000, 2), 0);
	migration_pack_start(&pack, -1, &pace);
	assert_int_equal(send(&pack, &pace, &text, 1.1, 1000, 2), 1);
}

/* Threads hold bytes back, and let them go all at once: that is no sign of density. */
static void test_held_back(void **state)
{
	MigrationPace pace = { 0 };
	MigrationPack pack;
	uint64_t held = 0;
	migration_pack_start(&pack, 9, &pace);
	send(&pack, &pace, &text, 1.1, 1000, 2);
	for (int i = 0; i < 2000; i++) {
		assert_int_equal(migration_pack_how(&pack).level, 9);
		held += CHUNK / 4;
		pace.raw += CHUNK;
		pace.time_us += 200000;
		if (i % 64 == 63) {
			pace.wire += held;
			held = 0;
		}
		migration_pack_go_on(&pack, &pace);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_links),
		cmocka_unit_test(test_change),
		cmocka_unit_test(test_fixed),
		cmocka_unit_test(test_first_piece),
		cmocka_unit_test(test_held_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
