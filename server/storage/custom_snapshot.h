#pragma once
/*
 * Snapshots of custom volumes: snapshot.h with names from snapshots.pattern and expiry from
 * snapshots.expiry of the volume. project is the effective one in all of these.
 */
#include "server/storage/snapshot.h"

typedef struct CustomSnapshotSpec {
	const char *name;  /* NULL or "": the next that snapshots.pattern gives */
	const char *description;
	gboolean expires_given;
	Moment expires; /* when given: 0 is never; else snapshots.expiry decides */
} CustomSnapshotSpec;

/* ERROR_EXISTS for a name that is taken. *ret_name (g_free; ret may be NULL) is what it was called.
 */
int custom_snapshot_create(Pool *pool, const char *project, const char *volume,
    const CustomSnapshotSpec *spec, char **ret_name, Error **err);
/* The name that a snapshot without one would get now (g_free). */
int custom_snapshot_next_name(
    Pool *pool, const char *project, const char *volume, char **ret_name, Error **err);
/* ERROR_NOT_FOUND "Snapshot not found"; ERROR_EXISTS for a new name that is taken. */
int custom_snapshot_rename(Pool *pool, const char *project, const char *volume, const char *name,
    const char *new_name, Error **err);
int custom_snapshot_delete(
    Pool *pool, const char *project, const char *volume, const char *name, Error **err);
/* ERROR_INVALID while it is mounted for an instance. The caller sees to those that run since before
 * this daemon. */
int custom_snapshot_restore(
    Pool *pool, const char *project, const char *volume, const char *name, Error **err);
