#pragma once
/*
 * How volumes come and go, the same for every driver and kind: made in PLACE_UNFINISHED, then row
 * and move; moved to PLACE_DELETED, then row and data. The caller holds the volume's lock.
 */
#include "server/storage/volume.h"

struct Operation;

/* An empty volume in PLACE_UNFINISHED, mounted; *ret_path (g_free) is its directory. What an
 * earlier attempt left there goes first. Then volume_finish() or volume_abandon(). config may be
 * NULL. */
int volume_begin(
    Pool *pool, const Volume *volume, const Config *config, char **ret_path, Error **err);
/* The same as a copy of `from`, a volume or snapshot of the same pool: the driver's clone, or the
 * tree is copied. The caller holds a lock on `from`. op (may be NULL) is asked whether to give up.
 */
int volume_begin_clone(Pool *pool, const Volume *from, const Volume *volume, const Config *config,
    struct Operation *op, char **ret_path, Error **err);
/* One that is received from the driver's streams (BackupStream *): nothing is left of an earlier
 * attempt, then each stream, then it is as after volume_begin(). */
int volume_begin_streams(Pool *pool, const Volume *volume, Error **err);
int volume_receive_stream(Pool *pool, const Volume *volume, const Config *config,
    const GPtrArray *streams, guint number, int fd, Error **err);
/* What its configuration says about size comes true: streams bring no limits along. */
int volume_limit_received(DriverCall *call, Error **err);
int volume_begin_received(Pool *pool, const Volume *volume, const GPtrArray *streams,
    const Config *config, char **ret_path, Error **err);
/* Unmounts it, writes its row (config as it is to be stored) and moves it to its place; roots of
 * instances get their link. On failure nothing is left of it. */
int volume_finish(
    Pool *pool, const Volume *volume, const char *description, const Config *config, Error **err);
/* Unmounts it only, for who moves it himself. */
int volume_ready(Pool *pool, const Volume *volume, Error **err);
int volume_finish_with(Pool *pool, const Volume *volume, const char *description,
    const Config *config, PoolAlso also, void *data, Error **err);
/* The same with the rows of the snapshots that came with its data: a start after a crash finds all
 * rows and finishes, or none and removes the data. */
typedef struct VolumeRows {
	const GPtrArray *snapshots; /* SnapshotRow *; NULL: none */
	PoolAlso also;              /* after them; may be NULL */
	void *data;
} VolumeRows;
int volume_finish_rows(Pool *pool, const Volume *volume, const char *description,
    const Config *config, const VolumeRows *rows, Error **err);
void volume_abandon(Pool *pool, const Volume *volume);
/* The volume with its snapshots and rows. Success when there is nothing; ERROR_BUSY while mounted.
 */
int volume_remove(Pool *pool, const Volume *volume, Error **err);
int volume_remove_with(Pool *pool, const Volume *volume, PoolAlso also, void *data, Error **err);
/* Gives it, with its snapshots, another name; a crash in between leaves the old one. The caller
 * holds both locks and has checked that the new name is free. */
int volume_rename(Pool *pool, const Volume *volume, const Volume *renamed, Error **err);
int volume_rename_with(Pool *pool, const Volume *volume, const Volume *renamed, PoolAlso also,
    void *data, Error **err);
/* The lock on both of two volumes of one pool, in the order that cannot deadlock. */
typedef struct VolumePairLock {
	VolumeLock *first, *second;
} VolumePairLock;
VolumePairLock volume_lock_pair(Pool *pool, const Volume *a, const Volume *b);
void volume_pair_unlock(VolumePairLock *pair);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VolumePairLock, volume_pair_unlock)

/* Copies a tree into an empty directory; op as above. */
int volume_copy_tree(const char *from, const char *to, struct Operation *op, Error **err);
