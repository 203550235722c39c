#pragma once
/*
 * How hard to compress what is being sent: whatever made the bytes go fastest lately, which
 * measures the link, the processors and the data together. What does not become smaller goes as it
 * is.
 */
#include <glib.h>
#include <stdint.h>

/* Rows of the table of levels: as they are, and from little to much work. */
enum { MIGRATION_PACK_LEVELS = 5 };

typedef struct MigrationPack {
	unsigned now;			     /* the row in use */
	gboolean dense;			     /* nothing to be gained, as far as was seen */
	double speed[MIGRATION_PACK_LEVELS]; /* bytes a microsecond, last seen; 0: not tried */
	/* Since the last choice: */
	int64_t since_us;
	uint64_t raw, wire;
	unsigned choices, pieces;
} MigrationPack;

void migration_pack_start(MigrationPack *pack, int64_t now_us);
/* Level of zstd for the next bytes; 0: as they are. */
int migration_pack_level(const MigrationPack *pack);
/* `raw` bytes have gone as `wire`. */
void migration_pack_count(MigrationPack *pack, uint64_t raw, uint64_t wire, int64_t now_us);
/* While bytes go as they are because nothing was to be gained: whether it is time to compress the
 * next piece only to see, and what came of that. */
gboolean migration_pack_wants_sample(MigrationPack *pack);
void migration_pack_sample(MigrationPack *pack, uint64_t raw, uint64_t wire);
