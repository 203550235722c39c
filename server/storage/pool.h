#pragma once
/*
 * Storage pools and the volumes in them, above the drivers.
 *
 * Words. A *pool* is a place with a driver (`dir`, later btrfs, lvm, zfs, ...), mounted at
 * INCUS_DIR/storage-pools/NAME. A *volume* is a directory tree (or, for machines, a block file) in
 * it: `container` and `virtual-machine` volumes are the roots of instances, `image` volumes are
 * unpacked images that new roots are cloned from, `custom` volumes belong to users and are attached
 * with disk devices. On disk a volume is called NAME in project "default" and PROJECT_NAME in any
 * other (custom volumes always carry their project), below the folder of its type:
 *
 *   storage-pools/POOL/containers/[PROJECT_]NAME/{rootfs,templates,metadata.yaml,backup.yaml}
 *   storage-pools/POOL/custom/PROJECT_NAME/      storage-pools/POOL/images/FINGERPRINT/
 *   containers/[PROJECT_]NAME -> storage-pools/POOL/containers/[PROJECT_]NAME
 *
 * States. A volume exists when its storage_volumes row does. Its tree is made in unfinished/ and
 * moved to its place once the row is written; it is moved to deleted/ before the row is removed. So
 * at start, what stands in these two folders is either moved back to its place, because it has a
 * row, or removed; trees in other places are never touched, whoever put them there. Mounts are
 * counted by this layer; a driver sees only the first and the last.
 *
 * Who does what. This layer holds rows, names, locks, reference counts and the symlink in
 * containers/; a driver (driver.h) knows only paths. Instances' rows, backup.yaml and devices are
 * the instance layer's. Everything here blocks and may be called from any thread; calls on one
 * volume are serialised here, calls on different volumes run side by side.
 */
#include "sdk/base/arena.h"
#include "sdk/base/error.h"
#include "sdk/base/map.h"
#include "server/daemon.h"

typedef struct Pool Pool;
typedef struct PoolTable PoolTable;
struct Operation;
struct Tx;

/* Loads every pool from the database, mounts them, and settles what a crash left (States above);
 * links in containers/ are made again. A pool that does not mount is kept with status "Unavailable"
 * and a log line; the others go on. */
int pool_table_start(Daemon *d, Error **err);
void pool_table_stop(Daemon *d);

/* ERROR_NOT_FOUND "Storage pool not found". */
int pool_get(Daemon *d, const char *name, Pool **ret_pool, Error **err);
/* New references (Pool *), in no order; free with g_ptr_array_unref. */
GPtrArray *pool_list(Daemon *d);
Pool *pool_ref(Pool *pool);
void pool_unref(Pool *pool);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Pool, pool_unref)

Daemon *pool_daemon(const Pool *pool);
const char *pool_name(const Pool *pool);
const char *pool_driver(const Pool *pool);
int64_t pool_id(const Pool *pool);
/* storage-pools/NAME, absolute. */
const char *pool_path(const Pool *pool);
/* "Created", "Pending", "Errored", "Unavailable". */
const char *pool_status(const Pool *pool);
Config *pool_config(Pool *pool); /* a copy */
/* TRUE when its driver takes a snapshot at one moment, so that nothing need stand still. */
gboolean pool_snapshots_at_once(const Pool *pool);

/* Root volumes of instances. `type` is "container" or "virtual-machine". Create makes the tree, the
 * storage_volumes row and the symlink in containers/ or virtual-machines/; on failure nothing is
 * left. volume_config may be NULL (the pool's `volume.*` defaults are applied here). An instance
 * that exists already is ERROR_EXISTS. */
int pool_instance_create(Pool *p, const char *project, const char *name, const char *type,
    const Config *volume_config, Error **err);
/* The image must be in INCUS_DIR/images. op may be NULL; its progress goes there and its
 * cancellation is noticed. */
int pool_instance_create_from_image(Pool *p, const char *project, const char *name,
    const char *type, const char *fingerprint, const Config *volume_config, struct Operation *op,
    Error **err);
/* The volume, which has no snapshots, gets a fresh tree: the image's, or an empty one (fingerprint
 * NULL). The old one goes when the new one is whole. */
int pool_instance_rebuild(Pool *p, const char *project, const char *name, const char *type,
    const char *fingerprint, struct Operation *op, Error **err);
/* Succeeds when there is nothing left to delete. Must not be mounted. `also` runs in the
 * transaction that removes the volume's row: what belongs to the volume goes with it, or both stay.
 */
int pool_instance_delete(Pool *p, const char *project, const char *name, const char *type,
    Error **err);
typedef int (*PoolAlso)(struct Tx *tx, void *data, Error **err);
int pool_instance_delete_with(Pool *p, const char *project, const char *name, const char *type,
    PoolAlso also, void *data, Error **err);
int pool_instance_rename(Pool *p, const char *project, const char *name, const char *type,
    const char *new_name, Error **err);
/* *ret_path (g_free) is the directory with rootfs/ metadata.yaml templates/ backup.yaml. Counted:
 * one unmount for each mount. ret_path may be NULL. */
int pool_instance_mount(Pool *p, const char *project, const char *name, const char *type,
    char **ret_path, Error **err);
int pool_instance_unmount(Pool *p, const char *project, const char *name, const char *type,
    Error **err);
/* The file or device of a virtual machine's root disk (g_free). */
int pool_instance_disk(Pool *p, const char *project, const char *name, const char *type,
    char **ret_path, Error **err);
/* Bytes; -1 when the driver cannot tell; quick: or not as quickly as each row of a list wants it. */
int pool_instance_usage(Pool *p, const char *project, const char *name, const char *type,
    gboolean quick, int64_t *ret_used, int64_t *ret_total, Error **err);
/* 0 removes the limit. dir without project quotas accepts and notes it in the log. */
int pool_instance_set_size(Pool *p, const char *project, const char *name, const char *type,
    int64_t bytes, Error **err);

/* Of what a virtual machine has beside its disk (size.state), where that is a volume of its own;
 * elsewhere it has no size, and 0 changes nothing. */
int pool_instance_set_state_size(
    Pool *p, const char *project, const char *name, const char *type, int64_t bytes, Error **err);

/* Whether a container may have the volume: ERROR_NOT_FOUND, or ERROR_INVALID for images of disks.
 */
int pool_custom_check(Pool *p, const char *project, const char *volume, Error **err);
/* For disk devices with pool= and source=: the directory to bind, mounted and counted until
 * pool_custom_unmount(). `project` is the instance's; it is mapped by features.storage.volumes.
 * idmap: the container's (IdRange). *ret_mapped: the mount is to be made with it (not with
 * security.unmapped); where it cannot be, the owners are shifted on disk. ERROR_NOT_FOUND "Storage
 * volume not found"; ERROR_BUSY while a container with another map uses it. */
int pool_custom_mount(Pool *p, const char *project, const char *volume, const GArray *idmap,
    char **ret_path, gboolean *ret_mapped, Error **err);
/* What kind of image a custom volume is; neither: it holds files. */
int pool_custom_content(Pool *p, const char *project, const char *volume, gboolean *ret_block,
    gboolean *ret_iso, Error **err);
/* For virtual machines: its image's file or device (g_free), counted as a mount. */
int pool_custom_disk(Pool *p, const char *project, const char *volume, char **ret_path,
    gboolean *ret_iso, Error **err);
/* Counts what a container that outlived the server has mounted. */
int pool_custom_adopt(Pool *p, const char *project, const char *volume, Error **err);
int pool_custom_unmount(Pool *p, const char *project, const char *volume, Error **err);

/* Removes the unpacked copies of an image from every pool, with their rows. */
int pool_image_delete(Daemon *d, const char *fingerprint, Error **err);
/* Unpacks `newer` in every pool that has `old` unpacked, so that the next instance need not wait
 * for it. Failures are logged: that instance unpacks it then. op may be NULL. */
void pool_image_follow(Daemon *d, const char *old, const char *newer, struct Operation *op);
