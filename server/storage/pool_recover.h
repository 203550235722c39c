#pragma once
/*
 * Pools and volumes that the database has lost: what is on disk is looked at, and gets its rows
 * back. Instances' own rows are server/instance/recover.h's.
 */
#include "server/storage/snapshot.h"
#include "server/storage/volume.h"

/* A pool without rows, mounted where it will be; nothing is written to it. pool_recover_close(),
 * or pool_recover_adopt() first. ERROR_EXISTS for the name of a pool that has its row. */
int pool_recover_open(Daemon *d, const char *name, const char *driver, const Config *config,
    Pool **ret_pool, Error **err);
/* Unmounts what opening mounted, unless the pool was adopted. Takes the reference. */
void pool_recover_close(Pool *pool);
/* With the configuration that it is to have. */
int pool_recover_adopt(Pool *pool, const char *description, const Config *config, Error **err);

/* Volumes of instances and of users that have data and no row (Volume *; names that are none of
 * ours are left out). A custom volume's content is what its files look like. */
int pool_recover_list(Pool *pool, GPtrArray **ret_volumes, Error **err);
/* Its row and those of its snapshots (SnapshotRow *), in one transaction with `also` (may be NULL).
 * A root volume gets its link. */
int pool_recover_volume(Pool *pool, const Volume *volume, const char *description,
    const Config *config, const GPtrArray *snapshots, PoolAlso also, void *data, Error **err);
/* The same of a custom volume, from what is on disk alone. */
int pool_recover_custom(Pool *pool, const Volume *volume, const GPtrArray *snapshots, Error **err);
/* Whether a pool has the root volume of a container (as it is called on disk), with a row or not.
 */
gboolean pool_recover_has_container(Daemon *d, const char *disk_name);
/* Unpacked images without a row are a cache that nobody would find again: they go. */
int pool_recover_drop_images(Pool *pool, Error **err);

/* After SQL by hand: pools whose rows are gone are forgotten, as a start would. */
int pool_table_sync(Daemon *d, Error **err);
