#pragma once
/*
 * A storage pool of Incus's while no server runs on it, and one volume after the other as the
 * pool's driver shows it: directories, mounts, devices, wherever the pool has its data.
 */
#include "server/db/db.h"
#include "server/storage/driver.h"

typedef struct PoolView PoolView;

/* `directory`: Incus's; `db`: what is in it. ERROR_NOT_FOUND when there is no such pool, or its
 * place is gone. */
int pool_view_open(
    const char *directory, Db *db, const char *name, PoolView **ret_view, Error **err);
/* Takes NULL. Nothing is mounted then; after a failure something may be, and must not be removed
 * as if it were a tree. */
int pool_view_close(PoolView *view, Error **err);

/* The volume, whose row has `id`, at *ret_path until pool_view_leave(); NULL: there is none. */
int pool_view_enter(PoolView *view, VolumeType type, const char *name, int64_t id,
    const char **ret_path, Error **err);
int pool_view_leave(PoolView *view, Error **err);
