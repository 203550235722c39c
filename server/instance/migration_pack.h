#pragma once
/*
 * How hard to compress what is being sent, from what the time goes by with. Only while the network
 * is what everything waits for is more work worth it, and only as long as that work is not what
 * everything waits for next; what does not become smaller goes as it is.
 */
#include <glib.h>
#include <stdint.h>

/* Since the beginning. */
typedef struct MigrationPace {
	uint64_t raw, wire; /* bytes that went, as they are and as they travelled */
	int64_t time_us;    /* any clock */
	int64_t network_us; /* in which the network was waited for */
	int64_t packing_us; /* in which compression worked */
} MigrationPace;

typedef struct MigrationPack {
	unsigned now;	     /* the row in use */
	gboolean dense;	     /* nothing to be gained, as far as was seen */
	double speed;	     /* bytes a microsecond, compressed a little, last seen; 0: not tried */
	MigrationPace since; /* at the last choice */
	unsigned pieces;
} MigrationPack;

void migration_pack_start(MigrationPack *pack, const MigrationPace *pace);
/* Level of zstd for the next bytes; 0: as they are. */
int migration_pack_level(const MigrationPack *pack);
/* Chooses anew when enough has gone since the last time. */
void migration_pack_go_on(MigrationPack *pack, const MigrationPace *pace);
/* While bytes go as they are because nothing was to be gained: whether it is time to compress the
 * next piece only to see, and what came of that. */
gboolean migration_pack_wants_sample(MigrationPack *pack);
void migration_pack_sample(MigrationPack *pack, uint64_t raw, uint64_t wire);
