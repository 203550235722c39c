#pragma once
/*
 * Copies of volumes, with their snapshots, inside a pool and between pools of any drivers: the driver's
 * clone where there is one, else trees.
 */
#include "server/storage/volume.h"

struct Operation;

typedef struct VolumeCopy {
	Pool *from_pool;
	const Volume *from;     /* a volume or one of its snapshots */
	Pool *to_pool;
	const Volume *to;
	/* Names (char *) of the source's snapshots to copy, oldest first; NULL or empty: none. */
	const GPtrArray *snapshots;
	const char *description;
	const Config *config;   /* of the new volume's row; NULL: the pool's defaults */
	struct Operation *op;   /* may be NULL */
} VolumeCopy;

/* The new volume with its row and the rows of its snapshots, whose times, descriptions and keys are the
 * source's. Nothing is left on failure. Takes the locks of both; the caller sees to it that nothing
 * writes to the source meanwhile, or that it does not matter. */
int volume_copy(const VolumeCopy *copy, Error **err);
/* Brings an existing, unmounted copy up to date: `snapshots` are those to add, `gone` (may be NULL) those to delete
 * first. */
int volume_refresh(const VolumeCopy *copy, const GPtrArray *gone, Error **err);
