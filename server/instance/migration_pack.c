#include "server/instance/migration_pack.h"

/* From little to much work: each row takes two or three times as long as the one before. */
static const int levels[] = { 0, 1, 3, 6, 9 };

enum {
	FIRST = 1,
	/* What a choice is made from. */
	WINDOW_US = 100000,
	WINDOW_BYTES = 2 << 20,
	SAMPLE_EVERY = 16, /* pieces */
};
/* Shares of the time. */
static const double network_full = 0.9, network_free = 0.7, work_full = 0.9, work_light = 0.35;

void migration_pack_start(MigrationPack *pack, const MigrationPace *pace)
{
	*pack = (MigrationPack){ .now = FIRST, .since = *pace };
}

int migration_pack_level(const MigrationPack *pack)
{
	return levels[pack->now];
}

static gboolean is_dense(uint64_t raw, uint64_t wire)
{
	return wire > raw - raw / 10;
}

/* What went by since the last choice: shares of the time, and bytes a microsecond. */
typedef struct Seen {
	double network, work, speed;
	double plain; /* what the network's share would be without compression */
} Seen;

static unsigned choose(MigrationPack *pack, const Seen *seen)
{
	unsigned now = pack->now;
	gboolean full = seen->network > network_full;
	if (now == FIRST)
		pack->speed = seen->speed;
	if (now == 0)
		return full && (pack->speed == 0 || seen->speed < pack->speed) ? FIRST : 0;
	if (seen->plain < network_free)
		return 0;
	if (full && seen->work < work_light)
		return MIN(now + 1, G_N_ELEMENTS(levels) - 1);
	return now > FIRST && seen->work > work_full && seen->network < network_free ? now - 1 :
										       now;
}

void migration_pack_go_on(MigrationPack *pack, const MigrationPace *pace)
{
	const MigrationPace *since = &pack->since;
	uint64_t raw = pace->raw - since->raw, wire = pace->wire - since->wire;
	int64_t took = MAX(pace->time_us - since->time_us, 1);
	if (took < WINDOW_US && raw < WINDOW_BYTES)
		return;
	if (pack->now > 0 && is_dense(raw, wire)) {
		pack->dense = TRUE;
		pack->now = 0;
	} else if (!pack->dense) {
		Seen seen = { .network = (double)(pace->network_us - since->network_us) / took,
			.work = (double)(pace->packing_us - since->packing_us) / took,
			.speed = (double)raw / took };
		seen.plain = seen.network * (double)raw / (double)MAX(wire, 1);
		pack->now = choose(pack, &seen);
	}
	pack->since = *pace;
}

gboolean migration_pack_wants_sample(MigrationPack *pack)
{
	return pack->dense && ++pack->pieces % SAMPLE_EVERY == 0;
}

void migration_pack_sample(MigrationPack *pack, uint64_t raw, uint64_t wire)
{
	pack->dense = is_dense(raw, wire);
	pack->speed = 0; /* other data was seen then */
}
