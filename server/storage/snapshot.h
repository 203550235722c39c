#pragma once
/*
 * Snapshots of volumes, whatever the driver and the kind of volume: their rows
 * (storage_volumes_snapshots), their data, the order in which both are written. Instances' own rows
 * (instances_snapshots) are server/instance/snapshot.h's.
 *
 * The row comes first and goes last: a row without data is what a crash leaves, and the next start
 * removes it. Every function takes the volume's lock itself.
 */
#include "server/storage/volume.h"

typedef struct SnapshotRow {
	int64_t id;
	char *name, *description;
	int64_t created;	  /* seconds since 1970 */
	Moment expires;		  /* 0: never */
	Config *config;           /* NULL unless asked for */
} SnapshotRow;
void snapshot_row_free(SnapshotRow *row);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnapshotRow, snapshot_row_free)

/* ERROR_EXISTS "Snapshot \"NAME\" already in use". The row gets the volume's own configuration and
 * the description. The caller has made sure that nothing writes to it meanwhile (instances are
 * frozen). */
int snapshot_create(Pool *pool, const Volume *volume, const char *name, const char *description,
    const Moment *expires, Error **err);
/* The row only, of data that comes with its volume (copies, imports). created 0: now. */
int snapshot_row_insert(Pool *pool, const Volume *volume, const SnapshotRow *row, Error **err);
int snapshot_row_insert_in(
    Tx *tx, Pool *pool, const Volume *volume, const SnapshotRow *row, Error **err);
/* ERROR_NOT_FOUND "Snapshot not found"; ERROR_BUSY while it is mounted. */
int snapshot_delete(Pool *pool, const Volume *volume, const char *name, Error **err);
/* A crash in between leaves the old name. `also` (may be NULL) runs in the transaction. */
int snapshot_rename(Pool *pool, const Volume *volume, const char *name, const char *new_name,
    PoolAlso also, void *data, Error **err);
/* The volume (not mounted: ERROR_BUSY) gets the snapshot's content; a root volume its keys too.
 * With zfs.remove_snapshots newer ones go. */
int snapshot_restore(Pool *pool, const Volume *volume, const char *name, Error **err);
/* *ret_path (g_free) shows its content, until snapshot_unmount(). Counted. */
int snapshot_mount(
    Pool *pool, const Volume *volume, const char *name, char **ret_path, Error **err);
int snapshot_unmount(Pool *pool, const Volume *volume, const char *name, Error **err);

int snapshot_row_delete(Pool *pool, const Volume *volume, const char *name, Error **err);
/* With the end of VOLUME_SNAPSHOT_INTENT. */
int snapshot_row_rename(Pool *pool, const Volume *volume, const char *name, const char *new_name,
    PoolAlso also, void *data, Error **err);
int snapshot_row_find(
    Pool *pool, const Volume *volume, const char *name, SnapshotRow **ret_row, Error **err);
/* SnapshotRow *, oldest first; two statements. */
int snapshot_row_list(Pool *pool, const Volume *volume, GPtrArray **ret_rows, Error **err);
int snapshot_row_update(Pool *pool, const Volume *volume, const char *name, const char *description,
    const Moment *expires, Error **err);

/* A snapshot of a custom volume that will expire. */
typedef struct ExpiringSnapshot {
	char *pool, *project, *volume, *name;
	int64_t expires;
} ExpiringSnapshot;
/* ExpiringSnapshot *, of all pools; one statement. */
int snapshot_row_expiring(Daemon *d, GPtrArray **ret_snapshots, Error **err);

/* Bytes that the snapshot holds alone where the driver can tell; else -1. */
int snapshot_usage(
    Pool *pool, const Volume *volume, const char *name, int64_t *ret_used, Error **err);

/* Makes a snapshot, without a row, of a volume that is being made in PLACE_UNFINISHED
 * (volume_build.h) and holds the snapshot's content now: copies and imports lay snapshots down in
 * their order. The volume is mounted before and after. */
int snapshot_begin(Pool *pool, const Volume *volume, const char *name, Error **err);

/* The data alone, of a volume in its own place; the row is the caller's. */
int snapshot_data_create(Pool *pool, const Volume *snapshot, Error **err);
/* Names (char *, to free) of the snapshots that the volume has in its pool, with a row or not. */
int snapshot_list_data(Pool *pool, const Volume *volume, GPtrArray **ret_names, Error **err);
/* At start: rows without data go, and data of half-made or half-removed ones. */
int snapshot_repair(Pool *pool, Error **err);
