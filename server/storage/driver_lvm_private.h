#pragma once
/*
 * What the files of the lvm driver share. A pool is a volume group; a volume is a logical volume
 * [new_|old_]FOLDER_NAME[-SNAPSHOT][.block|.iso], with every hyphen of a name doubled and what LVM
 * does not allow as "+XX", in a thin pool or, with lvm.use_thinpool=false, on its own.
 */
#include "server/storage/driver.h"
#include "server/storage/lvm.h"

const char *lvm_pool_group(const DriverPool *pool);
/* NULL: volumes are thick. */
const char *lvm_pool_thin(const DriverPool *pool);
/* Adds what lvcreate wants for stripes, if `config` asks for them. */
int lvm_add_stripes(GPtrArray *words, const Config *config, const char *prefix, Error **err);
/* Adds an option that takes a size, if `config` has the key: LVM reads units in its own way. */
int lvm_add_size(
    GPtrArray *words, const char *option, const Config *config, const char *key, Error **err);

int lvm_pool_prepare(DriverPool *pool, Error **err);
int lvm_pool_create(DriverPool *pool, Error **err);
int lvm_pool_delete(DriverPool *pool, Error **err);
int lvm_pool_mount(DriverPool *pool, Error **err);
int lvm_pool_unmount(DriverPool *pool, Error **err);
int lvm_pool_update(DriverPool *pool, const Config *before, Error **err);
int lvm_pool_resources(DriverPool *pool, DriverResources *ret, Error **err);

/* Its name in the group (g_free). */
char *lvm_name(const DriverVolume *volume);
char *lvm_name_of(const DriverVolume *volume, VolumePlace place, const char *snapshot);
/* The parts of such a name; FALSE for what is not of this type and place. snapshot NULL for a
 * volume. Pure. */
gboolean lvm_name_parse(
    const char *lv, VolumeType type, VolumePlace place, char **ret_name, char **ret_snapshot);
/* A copy that shares blocks, of the thin volume or (thick) with room for everything. */
int lvm_snapshot(DriverPool *pool, const char *from, const char *name, Error **err);
int lvm_remove(DriverPool *pool, const char *name, Error **err);
int lvm_rename(DriverPool *pool, const char *name, const char *to, Error **err);

int lvm_volume_mount(DriverPool *pool, const DriverVolume *volume, Error **err);
int lvm_volume_unmount(DriverPool *pool, const DriverVolume *volume, Error **err);
/* From what LVM has now to `bytes`, its file system too. */
int lvm_volume_grow(
    DriverPool *pool, const DriverVolume *volume, const LvmVolume *now, int64_t bytes, Error **err);

int lvm_snapshot_list(
    DriverPool *pool, const DriverVolume *volume, GPtrArray *ret_names, Error **err);
int lvm_snapshot_create(DriverPool *pool, const DriverVolume *snapshot, Error **err);
int lvm_snapshot_delete(DriverPool *pool, const DriverVolume *snapshot, Error **err);
int lvm_snapshot_rename(
    DriverPool *pool, const DriverVolume *snapshot, const char *new_name, Error **err);
int lvm_snapshot_restore(DriverPool *pool, const DriverVolume *snapshot, Error **err);
