#pragma once
/*
 * Copies of volumes, with their snapshots, inside a pool and between pools of any drivers: the
 * driver's clone or stream where there is one, else trees.
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
	const Config *config;	/* of the new volume's row, over the pool's defaults; NULL:
				   volume_copy_config() */
	uint64_t size;		/* that a tree is to have, as volume_sized_config() */
	struct Operation *op;   /* may be NULL */
	PoolAlso also;          /* volume_copy(): in the transaction that makes the rows; may be NULL */
	void *data;
} VolumeCopy;

/* The new volume with its row and the rows of its snapshots, whose times, descriptions and keys are
 * the source's; `content` of both is loaded. Nothing is left on failure. Takes the locks of both;
 * the caller sees to it that nothing writes to the source meanwhile, or that it does not matter. */
int volume_copy(const VolumeCopy *copy, Error **err);
/* What a copy takes over of its source's configuration: what the target's driver knows, without
 * volatile keys. */
int volume_copy_config(const VolumeCopy *copy, Config **ret_config, Error **err);
/* Brings an existing, unmounted copy up to date: `snapshots` are those to add, `gone` (may be NULL)
 * those to delete first. */
int volume_refresh(const VolumeCopy *copy, const GPtrArray *gone, Error **err);
