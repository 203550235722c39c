#pragma once
/*
 * Names, paths and rows of volumes, shared by the files of this folder and by server/api. A Volume
 * is only a name: that it exists is for its row (volume_row_find) to say.
 */
#include "server/db/db.h"
#include "server/storage/driver.h"
#include "server/storage/pool.h"
#include "server/storage/volume_lock.h"

typedef struct Volume {
	VolumeType type;
	VolumeContent content; /* as its type has it, until volume_load() */
	char *project;
	char *name;
	char *snapshot;  /* of that name; NULL: the volume itself */
	char *disk_name; /* with the project's prefix */
	char *path;      /* of PLACE_OWN */
} Volume;

const char *volume_type_name(VolumeType type); /* "container", "image", ...: as the API says */
/* ERROR_INVALID for an unknown one. */
int volume_type_parse(const char *name, VolumeType *ret_type, Error **err);

Volume *volume_new(const Pool *pool, VolumeType type, const char *project, const char *name);
/* One of its snapshots; their rows are snapshot.h's. */
Volume *volume_snapshot(const Pool *pool, const Volume *volume, const char *snapshot);
void volume_free(Volume *volume);
char *volume_path(const Pool *pool, const Volume *volume, VolumePlace place);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Volume, volume_free)

/* What a driver gets; config may be NULL. `path` is that of the place. */
typedef struct DriverCall {
	DriverPool pool;
	DriverVolume volume;
	Config *config, *empty, *stored;
	char *path;
} DriverCall;
DriverCall *driver_call_new(
    Pool *pool, const Volume *volume, VolumePlace place, const Config *config);
/* The same with the configuration that the volume's row has, for drivers that mount and resize by
 * it. */
DriverCall *driver_call_load(Pool *pool, const Volume *volume, VolumePlace place);
void driver_call_free(DriverCall *call);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DriverCall, driver_call_free)

/* Whether the driver has it there. */
gboolean volume_exists(Pool *pool, const Volume *volume, VolumePlace place);
/* Moves a volume with its snapshots between places; the driver's rename. */
int volume_move(Pool *pool, const Volume *volume, VolumePlace from, VolumePlace to, Error **err);
int volume_destroy(Pool *pool, const Volume *volume, VolumePlace place, Error **err);

/* ERROR_NOT_FOUND "Storage volume not found". ret_config may be NULL. */
int volume_row_find(
    Pool *pool, const Volume *volume, int64_t *ret_id, Config **ret_config, Error **err);
/* The same, and the content type goes into the volume. */
int volume_load(Pool *pool, Volume *volume, int64_t *ret_id, Config **ret_config, Error **err);
/* `also` (may be NULL) runs in the same transaction, here and below. */
int volume_row_insert(Pool *pool, const Volume *volume, const char *description,
    const Config *config, PoolAlso also, void *data, Error **err);
int volume_row_description(Pool *pool, const Volume *volume, char **ret_description, Error **err);
/* Success when there is none. */
int volume_row_delete(Pool *pool, const Volume *volume, Error **err);
int volume_row_delete_with(
    Pool *pool, const Volume *volume, PoolAlso also, void *data, Error **err);
int volume_row_rename(Pool *pool, const Volume *volume, const Volume *renamed, PoolAlso also,
    void *data, Error **err);
/* One key of the row; NULL removes it. */
int volume_row_set(
    Pool *pool, const Volume *volume, const char *key, const char *value, Error **err);
/* PROJECT/NAME that the volume is being given: a start that finds it gives the data the old name
 * back; volume_row_rename() takes it away with the new name. */
#define VOLUME_INTENT "volatile.rename"
/* OLD/NEW of a snapshot that is being renamed, likewise. */
#define VOLUME_SNAPSHOT_INTENT "volatile.rename.snapshot"
/* The snapshot that a machine's files and disk, one after the other, are set back to: a start that
 * finds it begins again. */
#define VOLUME_RESTORE_INTENT "volatile.restore.snapshot"
/* On a volume that a move to another pool has copied, until one of the two is left: a start that
 * finds a custom volume with it removes it, and asks the instance whether a root volume is its own.
 */
#define VOLUME_MOVING "volatile.moving"
/* Of a custom volume: the id map that the owners on disk have (shift.h). */
#define VOLUME_OWNERS "volatile.idmap.last"
/* The end of a move to another pool: `to` is the volume now and `from` the one to remove
 * (VOLUME_MOVING). ERROR_BUSY unless `from` has that number of snapshots, those that were copied.
 */
typedef struct VolumeHandOver {
	Pool *from_pool, *to_pool;
	const Volume *from, *to;
	guint snapshots;
	PoolAlso also;
	void *data;
} VolumeHandOver;
int volume_row_hand_over(const VolumeHandOver *over, Error **err);
/* Notes of the daemon's own, which nobody else is shown: these three. */
gboolean volume_key_is_internal(const char *key);
/* The same within a transaction. */
int volume_row_set_in(Tx *tx, Pool *pool, const Volume *volume, const char *key,
    const char *value, Error **err);
int volume_row_update(
    Pool *pool, const Volume *volume, const char *description, const Config *config, Error **err);

/* The volume's configuration with the pool's `volume.*` defaults below it. */
Config *volume_effective_config(Pool *pool, const Config *config);
/* What a volume is made by that has its size from elsewhere (an instance's root disk; 0: not):
 * drivers whose volumes are devices make it as large at once, and its snapshots. */
Config *volume_sized_config(const Config *config, uint64_t bytes);

/* Counted mounts; the driver is called for the first and the last. */
int volume_mount(Pool *pool, const Volume *volume, Error **err);
int volume_unmount(Pool *pool, const Volume *volume, Error **err);
/* The same for who holds the volume's lock, shared or not. */
int volume_mount_locked(Pool *pool, const Volume *volume, Error **err);
int volume_unmount_locked(Pool *pool, const Volume *volume, Error **err);
gboolean volume_mounted(Pool *pool, const Volume *volume);
/* Waits a moment for short users (a file transfer that ends); FALSE: it is in use for longer. The
 * caller may hold the volume's lock. */
gboolean volume_wait_unmounted(Pool *pool, const Volume *volume);

/* Bytes; -1 unknown. */
int volume_usage(
    Pool *pool, const Volume *volume, int64_t *ret_used, int64_t *ret_total, Error **err);

/* The limit of a file system, 0 for none, as far as the driver has one. */
int volume_set_size(Pool *pool, const Volume *volume, int64_t bytes, Error **err);

/* containers/NAME -> storage-pools/POOL/containers/NAME, for instances' roots;
 * containers-snapshots/NAME likewise, whether there are snapshots yet or not. */
int volume_link(Pool *pool, const Volume *volume, Error **err);
void volume_unlink(Pool *pool, const Volume *volume);
