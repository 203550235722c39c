#pragma once
/*
 * What the files of the zfs driver share. A volume is the dataset
 * POOL/[unfinished/|deleted/]FOLDER/NAME, or a zvol: NAME.block and NAME.iso, and NAME itself with
 * zfs.block_mode. Its snapshots are
 * @snapshot-NAME. Copies are clones of @copy-UUID (of images: @readonly), which ZFS itself removes
 * with the last clone. What has clones cannot be destroyed: it waits as POOL/deleted/ghosts/UUID
 * for the last of them to go.
 */
#include "server/storage/driver.h"
#include "server/storage/program.h"
#include "server/storage/zfs.h"

#define ZFS_SNAPSHOT "snapshot-"
#define ZFS_MIGRATION "migration"
#define ZFS_COPY "copy"
/* A property: yes on what a stranger's stream made, whose snapshots may hold anything. */
#define ZFS_FOREIGN "incus:foreign"

const char *zfs_pool_dataset(const DriverPool *pool);
/* Names (g_free): what ZFS does not allow in a volume's or snapshot's is ":XX". */
char *zfs_dataset_of(const DriverPool *pool, const DriverVolume *volume, VolumePlace place);
char *zfs_dataset(const DriverPool *pool, const DriverVolume *volume);
char *zfs_snapshot_name(const DriverPool *pool, const DriverVolume *volume, const char *snapshot);
/* The part of a volume or snapshot, as it was. */
char *zfs_name_read(const char *name);
/* "PREFIX-UUID" (g_free). */
char *zfs_unique(const char *prefix);

/* Makes what is above a dataset that is about to be. */
int zfs_make_parent(const char *dataset, Error **err);

int zfs_pool_prepare(DriverPool *pool, Error **err);
int zfs_pool_create(DriverPool *pool, Error **err);
int zfs_pool_delete(DriverPool *pool, Error **err);
int zfs_pool_mount(DriverPool *pool, Error **err);
int zfs_pool_unmount(DriverPool *pool, Error **err);
int zfs_pool_update(DriverPool *pool, const Config *before, Error **err);
int zfs_pool_resources(DriverPool *pool, DriverResources *ret, Error **err);

int zfs_snapshot_list(
    DriverPool *pool, const DriverVolume *volume, GPtrArray *ret_names, Error **err);
int zfs_snapshot_create(DriverPool *pool, const DriverVolume *snapshot, Error **err);
int zfs_snapshot_delete(DriverPool *pool, const DriverVolume *snapshot, Error **err);
int zfs_snapshot_rename(
    DriverPool *pool, const DriverVolume *snapshot, const char *new_name, Error **err);
int zfs_snapshot_restore(DriverPool *pool, const DriverVolume *snapshot, Error **err);
int zfs_volume_clone(
    DriverPool *pool, const DriverVolume *from, const DriverVolume *volume, Error **err);
/* One program writes what the other reads. */
int zfs_transfer(const char *const *send, const char *const *receive, Error **err);
int zfs_volume_send(
    DriverPool *pool, const DriverVolume *volume, const char *parent, int fd, Error **err);
gboolean zfs_volume_is_portable(DriverPool *pool, const DriverVolume *volume);
int zfs_volume_receive(DriverPool *pool, const DriverVolume *volume, int fd, Error **err);
int zfs_backup_send(DriverPool *pool, const DriverVolume *volume, const struct BackupStream *stream,
    const char *parent, int fd, Error **err);
int zfs_backup_receive(DriverPool *pool, const DriverVolume *volume,
    const struct BackupStream *stream, guint number, int fd, Error **err);
int zfs_volume_mount(DriverPool *pool, const DriverVolume *volume, Error **err);
int zfs_volume_unmount(DriverPool *pool, const DriverVolume *volume, Error **err);
/* What a dataset is, whatever its volume's configuration says. */
typedef struct ZfsKind {
	gboolean zvol, foreign;
} ZfsKind;
int zfs_kind(const char *dataset, ZfsKind *ret_kind, Error **err);
/* Of xfs and btrfs on zvols, two with one UUID are not mounted side by side; xfs is told to, btrfs
 * gets another. */
int zfs_renew_uuid(const char *dataset, Error **err);
/* What the volume's configuration makes of it. */
gboolean zfs_is_zvol_wanted(const DriverVolume *volume);
/* The dataset with its snapshots, at once or as a ghost; then ghosts that nobody needs any more. */
int zfs_destroy(const DriverPool *pool, const char *dataset, Error **err);
int zfs_volume_set_size(DriverPool *pool, const DriverVolume *volume, int64_t bytes, Error **err);
/* The size of a new or copied volume. */
int zfs_volume_apply(
    DriverPool *pool, const DriverVolume *volume, const ZfsKind *kind, Error **err);
