#pragma once
/*
 * What a storage driver is: one row of functions that turn volumes into directories or block
 * devices. A driver sees no database, no projects and no reference counts; the pool layer holds
 * those and calls a driver for one volume at a time (under its lock), different volumes side by
 * side. The second half of the row may be NULL: then the pool layer does it generically, by
 * unpacking and copying trees.
 *
 * A driver's failures leave nothing behind: create removes what it made before it returns -1.
 *
 * On disk every driver shows the same paths, below storage-pools/POOL/ (for drivers of volumes that
 * are no directories these are mount points): containers/NAME/  containers-snapshots/NAME/SNAPSHOT/
 * (custom, images, virtual-machines alike) unfinished/containers/NAME/
 * unfinished/containers-snapshots/NAME/...  deleted/...
 */
#include "sdk/base/error.h"
#include "sdk/base/map.h"
#include <stdint.h>

typedef struct StorageDriver StorageDriver;
struct BackupStream;

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
	const char
	    *loop_file; /* INCUS_DIR/disks/NAME.img: where a pool on a loop file has its data */
	Config *config;
} DriverPool;

/* storage_volumes.content_type */
typedef enum VolumeContent {
	CONTENT_FILESYSTEM = 0,
	CONTENT_BLOCK = 1,
	CONTENT_ISO = 2
} VolumeContent;

/* Where a volume stands. It is made in UNFINISHED and moved to its OWN place once its row is
 * written; it is moved to DELETED before its row is removed. So at start whatever stands in the
 * first and the last of these has a row (the move is done or undone) or is removed, and what a user
 * may have put into a pool by hand is never touched. Drivers on paths find the place in `path`;
 * others put it into the names they give. Snapshots move with their volume. */
typedef enum VolumePlace { PLACE_OWN, PLACE_UNFINISHED, PLACE_DELETED } VolumePlace;

/* A volume, or one snapshot of it, as its driver knows it. */
typedef struct DriverVolume {
	VolumeType type;
	VolumeContent content;
	VolumePlace place;
	const char *name;       /* on disk: with the project's prefix */
	const char *snapshot;   /* NULL: the volume itself */
	const char *path;       /* absolute path of its directory, also where it is mounted */
	const Config *config;   /* never NULL; "size" among others */
	gboolean foreign;       /* volume_receive: the stream is a stranger's */
} DriverVolume;

typedef struct DriverResources {
	uint64_t space_used, space_total;   /* bytes; total 0 when unknown */
	uint64_t inodes_used, inodes_total;
} DriverResources;

struct StorageDriver {
	const char *name;
	gboolean remote;        /* shared between members */
	/* Of a driver that keeps virtual machines as two volumes: its row for one (driver_pair.h). */
	const StorageDriver *one;
	const char *files_size; /* of the smaller one, where it has to have a size */
	/* The version that GET /1.0 shows ("1", "6.2", ...; g_free): asks the tools and the kernel.
	 * ERROR_UNSUPPORTED, saying what is missing, where the driver cannot run. */
	int (*probe)(char **ret_version, Error **err);

	/* Checks and completes `config` (source, size) and changes nothing else: a place that holds
	 * what is not ours is refused here, for pool_delete() may come after it. The caller stores
	 * config. */
	int (*pool_prepare)(DriverPool *pool, Error **err);
	/* Makes the place; config may be changed again (a device's name). After a failure, and at
	 * the start after a crash in it, pool_delete() is called. */
	int (*pool_create)(DriverPool *pool, Error **err);
	/* Removes what the pool has, then the place if we made it; unmounts. Success when all is
	 * gone already. */
	int (*pool_delete)(DriverPool *pool, Error **err);
	/* Makes pool->path show the pool's content. Called once at start and after create. */
	int (*pool_mount)(DriverPool *pool, Error **err);
	int (*pool_unmount)(DriverPool *pool, Error **err);
	int (*pool_resources)(DriverPool *pool, DriverResources *ret, Error **err);

	int (*volume_create)(DriverPool *pool, const DriverVolume *volume, Error **err);
	/* The volume and its snapshots. Success when there is nothing. */
	int (*volume_delete)(DriverPool *pool, const DriverVolume *volume, Error **err);
	/* Renames and moves between places; the snapshots go with it. ERROR_EXISTS when `to` is
	 * there. Drivers that list their volumes move what is left when they are called again after
	 * a crash: the volume goes first. */
	int (*volume_rename)(
	    DriverPool *pool, const DriverVolume *volume, const DriverVolume *to, Error **err);

	/* From here on NULL has a generic meaning. */

	/* A pool setting is being changed: `pool->config` is the new one, `before` the old. Checks,
	 * grows, remounts. NULL: nothing to do. */
	int (*pool_update)(DriverPool *pool, const Config *before, Error **err);
	/* NULL: its directory is there. */
	gboolean (*volume_exists)(DriverPool *pool, const DriverVolume *volume);
	/* At start, before anything is concluded from where volumes are: one that was cut off while
	 * it moved between the two, in parts, is whole at `volume`. 1: a part of it still stands
	 * there alone. NULL: none moves in parts. */
	int (*volume_mend)(DriverPool *pool, const DriverVolume *volume,
	    const DriverVolume *elsewhere, Error **err);
	/* Names on disk of all volumes of a type in a place (char *, g_free). NULL: the folder's
	 * entries. */
	int (*volume_list)(DriverPool *pool, VolumeType type, VolumePlace place,
	    GPtrArray *ret_names, Error **err);
	/* Names of a volume's snapshots, oldest first where the driver knows. NULL: the folder's
	 * entries. */
	int (*snapshot_list)(
	    DriverPool *pool, const DriverVolume *volume, GPtrArray *ret_names, Error **err);
	/* `volume` becomes a copy of `from`, a volume or a snapshot of this pool; without its
	 * snapshots. NULL, or ERROR_UNSUPPORTED for this pool: the tree is copied. */
	int (*volume_clone)(
	    DriverPool *pool, const DriverVolume *from, const DriverVolume *volume, Error **err);
	/* Makes `path` show the content, of a snapshot read-only. Called for the first user and the
	 * last. NULL: it always does. */
	int (*volume_mount)(DriverPool *pool, const DriverVolume *volume, Error **err);
	int (*volume_unmount)(DriverPool *pool, const DriverVolume *volume, Error **err);
	/* The file or device of a block or iso volume (g_free). NULL: root.img or root.iso in its
	 * directory. */
	char *(*volume_block_path)(DriverPool *pool, const DriverVolume *volume);
	/* Bytes; -1 unknown. NULL: unknown. */
	int (*volume_usage)(DriverPool *pool, const DriverVolume *volume, int64_t *ret_used,
	    int64_t *ret_total, Error **err);
	/* The same for rows of lists, where volume_usage reads whole trees or starts programs: what
	 * a call or two tell. NULL: volume_usage. */
	int (*volume_usage_quick)(DriverPool *pool, const DriverVolume *volume, int64_t *ret_used,
	    int64_t *ret_total, Error **err);
	/* 0 removes the limit. ERROR_INVALID where it cannot shrink. NULL: accepted and not
	 * enforced. */
	int (*volume_set_size)(
	    DriverPool *pool, const DriverVolume *volume, int64_t bytes, Error **err);

	/* `snapshot->snapshot` names it; the volume is that without. Appears whole or not at all.
	 * NULL: the four are done by copying trees, and `path` is the snapshot's tree. */
	int (*snapshot_create)(DriverPool *pool, const DriverVolume *snapshot, Error **err);
	int (*snapshot_delete)(DriverPool *pool, const DriverVolume *snapshot, Error **err);
	int (*snapshot_rename)(
	    DriverPool *pool, const DriverVolume *snapshot, const char *new_name, Error **err);
	/* The (unmounted) volume gets the snapshot's content; snapshots stay. ERROR_INVALID, saying
	 * which key allows it, where newer snapshots would have to go. */
	int (*snapshot_restore)(DriverPool *pool, const DriverVolume *snapshot, Error **err);

	/* The driver's own stream of `volume` (a volume or a snapshot), since `parent` (a snapshot)
	 * when not NULL, written to fd; and back: receive makes `volume`, or the snapshot that it
	 * names. Used for migration between pools of one driver. NULL: not available. */
	int (*volume_send)(
	    DriverPool *pool, const DriverVolume *volume, const char *parent, int fd, Error **err);
	int (*volume_receive)(DriverPool *pool, const DriverVolume *volume, int fd, Error **err);
	/* Whether others take its streams: FALSE where those would have them mount the disk of a
	 * stranger. NULL: always. */
	gboolean (*volume_is_portable)(DriverPool *pool, const DriverVolume *volume);
	/* It came from a stranger, with what the driver cannot remove but keeps harmless: what is
	 * made of its streams is a stranger's too. NULL: never. */
	gboolean (*volume_is_foreign)(DriverPool *pool, const DriverVolume *volume);

	/* The same for optimised backups, in the form that Incus has there; what comes back is a
	 * stranger's. Snapshots come first, each since the one before, the volume last. NULL: the
	 * driver's backups are portable ones. */
	int (*backup_send)(DriverPool *pool, const DriverVolume *volume,
	    const struct BackupStream *stream, const char *parent, int fd, Error **err);
	/* `number`: of the stream in the archive's list. */
	int (*backup_receive)(DriverPool *pool, const DriverVolume *volume,
	    const struct BackupStream *stream, guint number, int fd, Error **err);
	/* Holds fast what is to be sent of a volume and these of its snapshots (char *), until
	 * backup_end(), and tells of the streams (BackupStream *); they are named in the archive's
	 * header. ERROR_UNSUPPORTED: there can be no streams of these. NULL: one each, without a
	 * header. */
	int (*backup_begin)(DriverPool *pool, const DriverVolume *volume,
	    const GPtrArray *snapshots, GPtrArray **ret_streams, Error **err);
	void (*backup_end)(DriverPool *pool, const DriverVolume *volume);
	/* All streams of the volume are there: puts them where they belong. NULL: they are. */
	int (*backup_place)(DriverPool *pool, const DriverVolume *volume,
	    const GPtrArray *streams, Error **err);
};

/* ERROR_INVALID for a name that is no driver; ERROR_UNSUPPORTED, naming it and the reason, for one
 * that this build or host lacks. */
int driver_find(const char *name, const StorageDriver **ret_driver, Error **err);

typedef struct DriverVersion {
	const StorageDriver *driver;
	const char *version;
} DriverVersion;
/* Drivers that work here, for GET /1.0; the last has driver NULL. */
const DriverVersion *driver_available(void);

/* The folder of a type: "containers", "images", ... */
const char *driver_folder(VolumeType type);
/* POOL/[unfinished/|deleted/]containers/NAME, or .../containers-snapshots/NAME/SNAPSHOT; snapshot
 * "" gives the folder of all of its snapshots. */
char *driver_path(const char *pool_path, VolumeType type, VolumePlace place, const char *name,
    const char *snapshot);
/* For drivers whose volumes are directories: a volume's tree and the folder of its snapshots move,
 * the tree first. */
int driver_path_rename(
    DriverPool *pool, const DriverVolume *volume, const DriverVolume *to, Error **err);
/* Of the file system that pool->path shows. */
int driver_path_resources(DriverPool *pool, DriverResources *ret, Error **err);

extern const StorageDriver driver_dir, driver_btrfs, driver_lvm, driver_zfs;
