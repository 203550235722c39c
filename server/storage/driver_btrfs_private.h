#pragma once
/* The pool's half of the btrfs driver, for driver_btrfs.c alone. */
#include "server/storage/driver.h"

int btrfs_probe(char **ret_version, Error **err);
int btrfs_pool_prepare(DriverPool *pool, Error **err);
int btrfs_pool_create(DriverPool *pool, Error **err);
int btrfs_pool_delete(DriverPool *pool, Error **err);
int btrfs_pool_mount(DriverPool *pool, Error **err);
int btrfs_pool_unmount(DriverPool *pool, Error **err);
int btrfs_pool_update(DriverPool *pool, const Config *before, Error **err);
