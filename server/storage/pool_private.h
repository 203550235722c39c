#pragma once
/* The inside of a Pool, for the files of this folder alone. */
#include "server/storage/driver.h"
#include "server/storage/pool.h"
#include "server/storage/volume_lock.h"

struct Pool {
	gint refs;
	Daemon *daemon;
	int64_t id;
	gboolean pending; /* as its row was at start */
	gboolean passing; /* without a row, and mounted only to be looked at */
	char *name, *path, *loop_file;
	const StorageDriver *driver; /* NULL: this build lacks it */
	char *driver_name;
	VolumeLocks *locks;
	GMutex mounting; /* one mount or unmount at a time, of drivers that have some; taken before
			    lock */
	GMutex lock; /* guards what follows */
	Config *config;
	char *description;
	const char *status;
	GHashTable *mounts; /* path -> count */
	GCond unmounted;    /* one of them went to 0 */
	GHashTable *passed_on; /* fingerprints of images that were unpacked but not kept */
};

struct PoolTable {
	GMutex lock; /* of the map; never held while a pool's is taken */
	GMutex change; /* one create, update or delete at a time; taken before all others */
	GHashTable *pools;
};

Pool *pool_new(Daemon *d, int64_t id, const char *name, const char *driver, const char *description,
    Config *config);
void pool_table_add(PoolTable *table, Pool *pool); /* takes the reference */
void pool_table_remove(PoolTable *table, const char *name);
/* storage_pools.state. A pool that is pending at start was being made when the server ended. */
enum { POOL_ROW_PENDING = 0, POOL_ROW_CREATED = 1 };
/* Removes the pool's data and its row. */
int pool_discard(Pool *pool, Error **err);
/* The rows of a pool whose data is there already; it is in the table then. */
int pool_adopt(Pool *pool, const char *description, const Config *config, Error **err);
/* Mounts it and makes the folders in it. */
int pool_open(Pool *pool, Error **err);
void pool_set_status(Pool *pool, const char *status);
/* INCUS_DIR/storage-pools/NAME/FOLDER for every folder a pool has. */
int pool_make_folders(Pool *pool, Error **err);
/* Those that are empty: of drivers that mount volumes, not pools, they stay when the pool is gone.
 */
void pool_remove_folders(Pool *pool);
/* Names on disk of what is there; `names` owns copies. */
int pool_list_place(Pool *pool, VolumeType type, VolumePlace place, GHashTable *names, Error **err);
/* What a crash left in it (VolumePlace). */
int pool_repair(Pool *pool, Error **err);
/* The member whose rows these are. */
int64_t pool_member(const Pool *pool);
