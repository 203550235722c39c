#pragma once
/*
 * Copies, refreshed copies and moves of custom volumes between pools and projects of this server.
 */
#include "server/storage/custom_volume.h"

struct Operation;

typedef struct CustomCopy {
	Pool *from_pool, *to_pool;
	const char *from_project,
	    *from_name; /* NAME or NAME/SNAPSHOT; projects are the effective ones */
	const char *project, *name;
	const char *description; /* "": the source's */
	const Config *config;    /* NULL: the source's */
	gboolean volume_only;    /* without its snapshots */
	struct Operation *op;    /* may be NULL */
} CustomCopy;

/* ERROR_EXISTS when the name is taken; nothing is left on failure. */
int custom_copy(const CustomCopy *copy, Error **err);
/* An existing volume of the same content gets the source's data; snapshots that the source has not
 * go, and those that it lacks come (told by their names). One that does not exist is made. */
int custom_refresh(const CustomCopy *copy, Error **err);
/* The volume with its snapshots; description, config and volume_only are not looked at. `also` (may
 * be NULL) runs in the transaction after which the new one is the volume. A crash leaves one of the
 * two, whole. */
int custom_move(const CustomCopy *copy, PoolAlso also, void *data, Error **err);
/* At start: the other one. */
int custom_move_repair(Pool *pool, Error **err);
