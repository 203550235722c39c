#pragma once
/*
 * Custom volumes and the description of all volumes of a pool.
 */
#include "server/storage/volume.h"
#include "incus/v1/storage.pb-c.h"

/* Whether there may be one like that: the pool, name, keys, content and the project's limits.
 * ERROR_EXISTS for a name that is taken. */
int custom_check_new(Pool *pool, const Volume *volume, const Config *config, Error **err);
/* project is the effective one in all of these. content_type "" or "filesystem", or "block". */
int custom_create(Pool *pool, const char *project, const char *name, const char *description,
    const char *content_type, const Config *config, Error **err);
/* From a regular file, read from its start. */
int custom_create_iso(Pool *pool, const char *project, const char *name, const char *description,
    int fd, Error **err);
/* Of any type. A new size is applied to what is there: ERROR_INVALID for a smaller disk, and for
 * volumes of instances, whose size is their root disk's. */
int volume_update(
    Pool *pool, Volume *volume, const char *description, const Config *config, Error **err);
/* ERROR_INVALID "The storage volume is still in use" while a device names it. */
int custom_check_unused(Pool *pool, const char *project, const char *name, Error **err);
int custom_delete(Pool *pool, const char *project, const char *name, Error **err);
/* What is to be written into the volume, or put in its place, has the owners of this id map (JSON;
 * NULL: none): those that it has become that first. ERROR_BUSY while it is in use. */
int custom_set_owners(Pool *pool, const Volume *volume, const char *map, Error **err);
/* Whose ids (GArray of IdRange) the files of the volume and of these snapshots of it (SnapshotRow *)
 * have on disk. */
int custom_owners(Pool *pool, const Volume *volume, const GPtrArray *rows, GArray **ret_owners,
    GPtrArray **ret_of_snapshots, Error **err);
/* Finishes what a crash interrupted. */
void custom_owners_repair(Pool *pool);
/* ERROR_UNAVAILABLE. */
int custom_check_pool(const Pool *pool, Error **err);
/* Of a loaded volume, also into another project. `also` (may be NULL) runs in the transaction that
 * gives it its new name, for the devices that use it. */
int custom_rename(Pool *pool, const Volume *volume, const char *project, const char *new_name,
    PoolAlso also, void *data, Error **err);

typedef struct VolumeQuery {
	const char *project;     /* the request's; NULL: all projects */
	const char *type, *name; /* NULL: any */
	gboolean snapshots;      /* VOLUME/SNAPSHOT too */
} VolumeQuery;

/* Volumes with configuration and users, sorted by type and name. Four statements whatever the
 * number. */
int volume_describe(Pool *pool, const VolumeQuery *query, Arena *arena, size_t *ret_n,
    Pb__StorageVolume ***ret_volumes, Error **err);
