#include "server/instance/migration_pack.h"

enum { JOB = 4 << 20, WIDE_JOB = 16 << 20, THREADS_MOST = 4 };

/* From little to much work: each row takes two or three times as long as the one before. Where the
 * link is so slow that these are worth while, other processors have time, and a larger window finds
 * more. */
static const MigrationPacking rows[] = {
	{ .level = 0 },
	{ .level = 1 },
	{ .level = 3 },
	{ .level = 6, .threads = 2, .job = JOB },
	{ .level = 9, .threads = THREADS_MOST, .window = 24, .job = WIDE_JOB },
};

enum {
	FIRST = 1,
	/* What a choice is made from. */
	WINDOW_US = 100000,
	WINDOW_BYTES = 2 << 20,
	LATELY_BYTES = 256 << 20,
	SAMPLE_EVERY = 16, /* pieces */
};
/* Shares of the time. */
static const double network_full = 0.9, network_free = 0.7, work_full = 0.9, work_light = 0.35;

void migration_pack_start(MigrationPack *pack, int fixed, const MigrationPace *pace)
{
	*pack = (MigrationPack){ .fixed = fixed,
		.fresh = fixed != 0,
		.dense = fixed != 0,
		.since = *pace,
		.began = *pace };
}

MigrationPacking migration_pack_how(const MigrationPack *pack)
{
	MigrationPacking how = rows[pack->now];
	if (pack->now > 0 && pack->fixed > 0) {
		how = (MigrationPacking){ .level = pack->fixed };
		for (unsigned n = 0; n < G_N_ELEMENTS(rows); n++)
			if (rows[n].level <= pack->fixed) {
				how.threads = rows[n].threads;
				how.job = rows[n].job;
			}
	}
	how.threads = MIN(how.threads, (int)g_get_num_processors() - 1);
	return how;
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
		return MIN(now + 1, G_N_ELEMENTS(rows) - 1);
	return now > FIRST && seen->work > work_full && seen->network < network_free ? now - 1 :
										       now;
}

/* What threads hold back has not travelled yet, and must not be taken for what was saved: all since
 * the row began counts for them. */
static gboolean gains_nothing(const MigrationPack *pack, const MigrationPace *pace)
{
	const MigrationPace *from = migration_pack_how(pack).threads ? &pack->began : &pack->since;
	return is_dense(pace->raw - from->raw, pace->wire - from->wire);
}

static void choose_row(MigrationPack *pack, const MigrationPace *pace)
{
	const MigrationPace *since = &pack->since;
	uint64_t raw = pace->raw - since->raw, wire = pace->wire - since->wire;
	int64_t took = MAX(pace->time_us - since->time_us, 1);
	Seen seen = { .network = (double)(pace->network_us - since->network_us) / took,
		.work = (double)(pace->packing_us - since->packing_us) / took,
		.speed = (double)raw / took };
	seen.plain = seen.network * (double)raw / (double)MAX(wire, 1);
	pack->now = choose(pack, &seen);
}

static void begin_row(MigrationPack *pack, const MigrationPace *pace)
{
	pack->seen = pack->now;
	pack->since = pack->began = *pace;
}

void migration_pack_go_on(MigrationPack *pack, const MigrationPace *pace)
{
	if (pack->now != pack->seen) { /* a sample has chosen: what went was packed otherwise */
		begin_row(pack, pace);
		return;
	}
	if (pace->time_us - pack->since.time_us < WINDOW_US &&
	    pace->raw - pack->since.raw < WINDOW_BYTES)
		return;
	if (pack->now > 0 && gains_nothing(pack, pace)) {
		pack->dense = TRUE;
		pack->now = 0;
	} else if (!pack->dense && pack->fixed < 0) {
		choose_row(pack, pace);
	}
	pack->since = *pace;
	if (pack->now != pack->seen || pace->raw - pack->began.raw > LATELY_BYTES)
		begin_row(pack, pace);
}

gboolean migration_pack_wants_sample(MigrationPack *pack)
{
	return pack->dense && (pack->fresh || ++pack->pieces % SAMPLE_EVERY == 0);
}

void migration_pack_sample(MigrationPack *pack, uint64_t raw, uint64_t wire)
{
	pack->dense = is_dense(raw, wire);
	if (!pack->dense && (pack->fresh || pack->fixed > 0))
		pack->now = FIRST;
	pack->fresh = FALSE;
	pack->speed = 0; /* other data was seen then */
}
