#pragma once
/*
 * Virtual machines where volumes are datasets or devices: a pair of a small file system, NAME, with
 * what describes the machine, and its disk, NAME.block; images of machines likewise. These are
 * functions for the rows of such drivers. Each does with both halves what `StorageDriver.one` does
 * with one volume, the file system first, and passes every other volume on. Of `one` they want that
 * volume_delete() takes all that has the name, whatever its content.
 */
#include "server/storage/driver.h"

/* Sizes: "size" is the disk's, "size.state" the file system's, as in Incus. */
gboolean pair_is(const DriverVolume *volume);

int pair_volume_create(DriverPool *pool, const DriverVolume *volume, Error **err);
int pair_volume_delete(DriverPool *pool, const DriverVolume *volume, Error **err);
/* A half that moved already is no error: who was interrupted calls it again, or the other way
 * round. */
int pair_volume_rename(
    DriverPool *pool, const DriverVolume *volume, const DriverVolume *to, Error **err);
/* One half is enough. */
gboolean pair_volume_exists(DriverPool *pool, const DriverVolume *volume);
int pair_volume_mend(
    DriverPool *pool, const DriverVolume *volume, const DriverVolume *elsewhere, Error **err);
int pair_volume_clone(
    DriverPool *pool, const DriverVolume *from, const DriverVolume *volume, Error **err);
int pair_volume_mount(DriverPool *pool, const DriverVolume *volume, Error **err);
int pair_volume_unmount(DriverPool *pool, const DriverVolume *volume, Error **err);
char *pair_block_path(DriverPool *pool, const DriverVolume *volume);
int pair_volume_usage(DriverPool *pool, const DriverVolume *volume, int64_t *ret_used,
    int64_t *ret_total, Error **err);
int pair_volume_usage_quick(DriverPool *pool, const DriverVolume *volume, int64_t *ret_used,
    int64_t *ret_total, Error **err);
int pair_volume_set_size(
    DriverPool *pool, const DriverVolume *volume, int64_t bytes, Error **err);
/* Those that both halves have. */
int pair_snapshot_list(
    DriverPool *pool, const DriverVolume *volume, GPtrArray *ret_names, Error **err);
int pair_snapshot_create(DriverPool *pool, const DriverVolume *snapshot, Error **err);
int pair_snapshot_delete(DriverPool *pool, const DriverVolume *snapshot, Error **err);
/* Halves as above. */
int pair_snapshot_rename(
    DriverPool *pool, const DriverVolume *snapshot, const char *new_name, Error **err);
int pair_snapshot_restore(DriverPool *pool, const DriverVolume *snapshot, Error **err);
/* The drivers' streams are of one dataset each: a pair goes as files and a disk. */
int pair_volume_send(
    DriverPool *pool, const DriverVolume *volume, const char *parent, int fd, Error **err);
int pair_volume_receive(DriverPool *pool, const DriverVolume *volume, int fd, Error **err);
gboolean pair_volume_is_portable(DriverPool *pool, const DriverVolume *volume);
gboolean pair_volume_is_foreign(DriverPool *pool, const DriverVolume *volume);
int pair_backup_send(DriverPool *pool, const DriverVolume *volume,
    const struct BackupStream *stream, const char *parent, int fd, Error **err);
int pair_backup_receive(DriverPool *pool, const DriverVolume *volume,
    const struct BackupStream *stream, guint number, int fd, Error **err);

/* What such a row has of these at least. */
#define PAIR_VOLUMES                                                                               \
	.volume_create = pair_volume_create, .volume_delete = pair_volume_delete,                  \
	.volume_rename = pair_volume_rename, .volume_exists = pair_volume_exists,                  \
	.volume_mend = pair_volume_mend, .volume_clone = pair_volume_clone,                        \
	.volume_mount = pair_volume_mount, .volume_unmount = pair_volume_unmount,                  \
	.volume_block_path = pair_block_path, .volume_usage = pair_volume_usage,                   \
	.volume_usage_quick = pair_volume_usage_quick, .volume_set_size = pair_volume_set_size,    \
	.snapshot_list = pair_snapshot_list,                                                       \
	.snapshot_create = pair_snapshot_create, .snapshot_delete = pair_snapshot_delete,          \
	.snapshot_rename = pair_snapshot_rename, .snapshot_restore = pair_snapshot_restore
