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
/* Where a volume's streams are received until it is there itself; as the next. */
char *btrfs_receive_folder(const DriverPool *pool, const DriverVolume *volume);
/* What was received is kept in its folder under names that begin so, for the streams that go on from
 * it. */
enum { BTRFS_KEPT_MARK = '@' };
/* One stream from fd becomes the read-only subvolume `kept`, in the folder, and touches nothing
 * outside of that. */
int btrfs_receive(const char *folder, int fd, const char *kept, Error **err);
/* `..` of a subvolume is its own, so that it moves only while it can be written to. foreign: without
 * nodes of devices. */
int btrfs_open_up(const char *path, gboolean foreign, Error **err);
/* A writable subvolume moves into the outermost one, where a directory stands for it. */
int btrfs_place_inner(int outermost, const char *path, const char *inner, Error **err);
/* Where a backup's streams are received (g_free); goes with what is unfinished of the volume. */
char *btrfs_backup_folder(const DriverPool *pool, const DriverVolume *volume);
