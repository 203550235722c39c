#include "server/instance/migration_pack.h"

static const int levels[MIGRATION_PACK_LEVELS] = { 0, 1, 3, 6, 9 };

enum {
	FIRST = 1,
	/* What a choice is made from: enough that what buffers swallow does not count. */
	WINDOW_US = 150000,
	WINDOW_BYTES = 16 << 20,
	DENSE_BYTES = 2 << 20, /* that do not become smaller are enough */
	TRY_AGAIN = 64,	       /* choices, after which what was slower is tried once more */
	SAMPLE_EVERY = 32,     /* pieces */
};

void migration_pack_start(MigrationPack *pack, int64_t now_us)
{
	*pack = (MigrationPack){ .now = FIRST, .since_us = now_us };
}

int migration_pack_level(const MigrationPack *pack)
{
	return levels[pack->now];
}

static gboolean is_dense(uint64_t raw, uint64_t wire)
{
	return wire > raw - raw / 10;
}

static unsigned fastest(const MigrationPack *pack)
{
	unsigned best = pack->now;
	for (unsigned n = 0; n < MIGRATION_PACK_LEVELS; n++)
		if (pack->speed[n] > pack->speed[best])
			best = n;
	return best;
}

/* The fastest row, or one beside it that was not tried; less work first. */
static unsigned choose(MigrationPack *pack)
{
	unsigned best = fastest(pack);
	if (++pack->choices % TRY_AGAIN == 0)
		for (unsigned n = 0; n < MIGRATION_PACK_LEVELS; n++)
			if (n != best)
				pack->speed[n] = 0;
	if (best > 0 && pack->speed[best - 1] == 0)
		return best - 1;
	return best + 1 < MIGRATION_PACK_LEVELS && pack->speed[best + 1] == 0 ? best + 1 : best;
}

static void begin(MigrationPack *pack, unsigned now, int64_t now_us)
{
	pack->now = now;
	pack->since_us = now_us;
	pack->raw = pack->wire = 0;
}

void migration_pack_count(MigrationPack *pack, uint64_t raw, uint64_t wire, int64_t now_us)
{
	int64_t took = now_us - pack->since_us;
	pack->raw += raw;
	pack->wire += wire;
	if (pack->now > 0 && pack->raw >= DENSE_BYTES && is_dense(pack->raw, pack->wire)) {
		pack->dense = TRUE;
		begin(pack, 0, now_us);
	} else if (!pack->dense && (took >= WINDOW_US || pack->raw >= WINDOW_BYTES)) {
		pack->speed[pack->now] = (double)pack->raw / (double)MAX(took, 1);
		begin(pack, choose(pack), now_us);
	}
}

gboolean migration_pack_wants_sample(MigrationPack *pack)
{
	return pack->dense && ++pack->pieces % SAMPLE_EVERY == 0;
}

void migration_pack_sample(MigrationPack *pack, uint64_t raw, uint64_t wire)
{
	if (is_dense(raw, wire))
		return;
	pack->dense = FALSE;
	pack->speed[FIRST] = 0; /* tried after this choice */
}
