#pragma once
/*
 * What a storage driver is: one row of functions that turn volumes into directories. A driver sees
 * no database, no projects and no reference counts; pool.c holds those and calls a driver for one
 * volume at a time. The second half of the row may be NULL: then pool.c does it generically, by
 * unpacking and copying trees.
 *
 * A driver's failures leave nothing behind: create removes what it made before it returns -1.
 */
#include "sdk/base/error.h"
#include "sdk/base/map.h"
#include <stdint.h>

typedef struct StorageDriver StorageDriver;

/* storage_volumes.type */
typedef enum VolumeType {
	VOLUME_CONTAINER = 0,
	VOLUME_IMAGE = 1,
	VOLUME_CUSTOM = 2,
	VOLUME_MACHINE = 3,
} VolumeType;

/* A pool as its driver knows it. */
typedef struct DriverPool {
	const StorageDriver *driver;
	const char *name;
	const char *path;       /* INCUS_DIR/storage-pools/NAME */
	Config *config;
} DriverPool;

/* A volume as its driver knows it. */
typedef struct DriverVolume {
	VolumeType type;
	const char *name;       /* on disk: with the project's prefix */
	const char *path;       /* absolute path of its directory */
	const Config *config;   /* never NULL */
} DriverVolume;

typedef struct DriverResources {
	uint64_t space_used, space_total;   /* bytes; total 0 when unknown */
	uint64_t inodes_used, inodes_total;
} DriverResources;

struct StorageDriver {
	const char *name;
	gboolean remote;        /* shared between members */
	gboolean usage_walks;   /* volume_usage reads the whole tree: asked for one volume, never for a list */
	/* "1", "5.4 / 6.2"...: version for GET /1.0; NULL when the driver cannot run here. */
	const char *(*version)(void);

	/* Checks and completes `config` (source, size) and makes the place; `pool->path` exists and is
	 * an empty directory. Changes to config are stored by the caller. */
	int (*pool_create)(DriverPool *pool, Error **err);
	int (*pool_delete)(DriverPool *pool, Error **err);
	/* Makes pool->path show the pool's content. Called once at start and after create. */
	int (*pool_mount)(DriverPool *pool, Error **err);
	int (*pool_unmount)(DriverPool *pool, Error **err);
	int (*pool_resources)(DriverPool *pool, DriverResources *ret, Error **err);

	int (*volume_create)(DriverPool *pool, const DriverVolume *volume, Error **err);
	int (*volume_delete)(DriverPool *pool, const DriverVolume *volume, Error **err);
	int (*volume_rename)(DriverPool *pool, const DriverVolume *volume, const DriverVolume *to, Error **err);

	/* From here on NULL has a generic meaning: cloning is a copy of the tree, mounting is nothing,
	 * usage is unknown, a size is accepted and not enforced. */
	int (*volume_clone)(DriverPool *pool, const DriverVolume *from, const DriverVolume *volume, Error **err);
	int (*volume_mount)(DriverPool *pool, const DriverVolume *volume, Error **err);
	int (*volume_unmount)(DriverPool *pool, const DriverVolume *volume, Error **err);
	int (*volume_usage)(DriverPool *pool, const DriverVolume *volume, int64_t *ret_used, int64_t *ret_total, Error **err);
	int (*volume_set_size)(DriverPool *pool, const DriverVolume *volume, int64_t bytes, Error **err);
};

/* ERROR_INVALID for a name that is no driver; ERROR_UNSUPPORTED, naming it, for one that this build
 * or host lacks. */
int driver_find(const char *name, const StorageDriver **ret_driver, Error **err);
/* Drivers that work here, for GET /1.0; NULL-terminated. */
const StorageDriver *const *driver_available(void);

extern const StorageDriver driver_dir;
