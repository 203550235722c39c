#pragma once
/* What the btrfs driver has in other files, for the row in driver_btrfs.c alone: pools and streams.
 */
#include "server/storage/driver.h"

int btrfs_probe(char **ret_version, Error **err);
int btrfs_pool_prepare(DriverPool *pool, Error **err);
int btrfs_pool_create(DriverPool *pool, Error **err);
int btrfs_pool_delete(DriverPool *pool, Error **err);
int btrfs_pool_mount(DriverPool *pool, Error **err);
int btrfs_pool_unmount(DriverPool *pool, Error **err);
int btrfs_pool_update(DriverPool *pool, const Config *before, Error **err);

int btrfs_volume_send(
    DriverPool *pool, const DriverVolume *volume, const char *parent, int fd, Error **err);
int btrfs_volume_receive(DriverPool *pool, const DriverVolume *volume, int fd, Error **err);
int btrfs_backup_begin(DriverPool *pool, const DriverVolume *volume, const GPtrArray *snapshots,
    GPtrArray **ret_streams, Error **err);
void btrfs_backup_end(DriverPool *pool, const DriverVolume *volume);
int btrfs_backup_send(DriverPool *pool, const DriverVolume *volume,
    const struct BackupStream *stream, const char *parent, int fd, Error **err);
int btrfs_backup_receive(DriverPool *pool, const DriverVolume *volume,
    const struct BackupStream *stream, guint number, int fd, Error **err);
int btrfs_backup_place(
    DriverPool *pool, const DriverVolume *volume, const GPtrArray *streams, Error **err);
/* Where a backup's streams are received (g_free); goes with what is unfinished of the volume. */
char *btrfs_backup_folder(const DriverPool *pool, const DriverVolume *volume);
