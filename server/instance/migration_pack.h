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

/* What zstd is told. */
typedef struct MigrationPacking {
	int level;   /* 0: bytes go as they are */
	int threads; /* beside the one that asks */
	int window;  /* log of its size; 0: as the level has it */
	int job;     /* bytes that a thread takes at once */
} MigrationPacking;

typedef struct MigrationPack {
	unsigned now;	     /* the row in use */
	unsigned seen;	     /* that of which what follows tells */
	int fixed;	     /* the level that is to be used; -1: the best */
	gboolean dense;	     /* nothing to be gained, as far as was seen */
	gboolean fresh;	     /* nothing has been seen */
	double speed;	     /* bytes a microsecond, compressed a little, last seen; 0: not tried */
	MigrationPace since; /* at the last choice */
	MigrationPace began; /* with this row, or of late */
	unsigned pieces;
} MigrationPack;

/* fixed: a level, 0 for no compression, or -1. */
void migration_pack_start(MigrationPack *pack, int fixed, const MigrationPace *pace);
/* How the next bytes are packed. */
MigrationPacking migration_pack_how(const MigrationPack *pack);
/* Chooses anew when enough has gone since the last time. */
void migration_pack_go_on(MigrationPack *pack, const MigrationPace *pace);
/* While bytes go as they are because nothing is to be gained, or before anything is known: whether
 * it is time to compress the next piece only to see, and what came of that. */
gboolean migration_pack_wants_sample(MigrationPack *pack);
void migration_pack_sample(MigrationPack *pack, uint64_t raw, uint64_t wire);
