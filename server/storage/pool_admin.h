#pragma once
/*
 * Making, changing, deleting and describing pools. One such change runs at a time.
 */
#include "server/storage/pool.h"
#include "incus/v1/storage.pb-c.h"

/* ERROR_EXISTS "The storage pool already exists". */
int pool_create(Daemon *d, const char *name, const char *driver, const char *description,
    const Config *config, Error **err);
/* Replaces description and configuration; keys that cannot change may be left out. */
int pool_update(Pool *pool, const char *description, const Config *config, Error **err);
/* ERROR_INVALID "The storage pool is currently in use" while volumes or profiles need it. */
int pool_delete(Daemon *d, const char *name, Error **err);
char *pool_description(Pool *pool);

/* Pools with what uses them, sorted by name; `name` NULL: all. Two statements whatever the number.
 * with_config FALSE leaves config out (callers who may not administer the server). */
int pool_describe(Daemon *d, const char *name, gboolean with_config, Arena *arena,
    size_t *ret_n, Pb__StoragePool ***ret_pools, Error **err);
int pool_resources(Pool *pool, Arena *arena, Pb__ResourcesStoragePool *ret, Error **err);
