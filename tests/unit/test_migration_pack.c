/* server/instance/migration_pack: what is chosen over links and for data of several kinds. */
#include "server/instance/migration_pack.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

enum { CHUNK = 256 << 10 };

/* Bytes a microsecond of the link; what a level leaves of the data, and how fast it works. */
typedef struct World {
	double link, left[10], work[10];
} World;

static const World text = { 0, { [0] = 1, [1] = 0.33, [3] = 0.3, [6] = 0.27, [9] = 0.25 },
	{ [0] = 1e9, [1] = 500, [3] = 250, [6] = 80, [9] = 40 } };
static const World noise = { 0, { [0] = 1, [1] = 1.001, [3] = 1.001, [6] = 1.001, [9] = 1.001 },
	{ [0] = 1e9, [1] = 2500, [3] = 1500, [6] = 500, [9] = 200 } };

/* Sends chunks, and tells the last one's level. */
static int send(MigrationPack *pack, const World *world, double link, int chunks, int64_t *now)
{
	int level = 0;
	for (int i = 0; i < chunks; i++) {
		level = migration_pack_level(pack);
		double wire = CHUNK * world->left[level];
		*now += (int64_t)(CHUNK / world->work[level] + wire / link);
		if (level == 0 && migration_pack_wants_sample(pack))
			migration_pack_sample(pack, CHUNK, (uint64_t)(CHUNK * world->left[1]));
		migration_pack_count(pack, CHUNK, (uint64_t)wire, *now);
	}
	return level;
}

/* The level most of the time, once it knows. */
static int settles(const World *world, double link)
{
	MigrationPack pack;
	int64_t now = 0;
	int seen[10] = { 0 }, best = 0;
	migration_pack_start(&pack, now);
	send(&pack, world, link, 1000, &now);
	for (int i = 0; i < 2000; i++)
		seen[send(&pack, world, link, 1, &now)]++;
	for (int level = 0; level < 10; level++)
		if (seen[level] > seen[best])
			best = level;
	assert_true(seen[best] > 1600);
	return best;
}

static void test_links(void **state)
{
	assert_int_equal(settles(&text, 1000), 0); /* loopback */
	assert_int_equal(settles(&text, 110), 1);  /* 1 Gbit/s */
	assert_int_equal(settles(&text, 1.1), 9);  /* 10 Mbit/s */
	assert_int_equal(settles(&noise, 1000), 0);
	assert_int_equal(settles(&noise, 1.1), 0);
}

static void test_change(void **state)
{
	MigrationPack pack;
	int64_t now = 0;
	migration_pack_start(&pack, now);
	/* A few pieces show that nothing is to be gained. */
	assert_int_equal(send(&pack, &noise, 110, 10, &now), 0);
	assert_int_equal(send(&pack, &noise, 110, 1000, &now), 0);
	assert_int_equal(send(&pack, &text, 110, 500, &now), 1);
	assert_int_equal(send(&pack, &noise, 110, 100, &now), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_links),
		cmocka_unit_test(test_change),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
