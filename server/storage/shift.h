#pragma once
/*
 * Owners on disk. Trees hold the ids that users have inside a container, and are mounted with its
 * id map; where a file system cannot be mounted so (ZFS before 2.2), the owners are moved to the
 * map's host ids on disk instead. Which map a tree's owners have is noted by who asks for it:
 * `volatile.last_state.idmap` of an instance, `volatile.idmap.last` of a custom volume; "[]" is
 * none.
 *
 * While owners are being moved the journal INCUS_DIR/shifts/POOL/FOLDER/NAME stands
 * (server/helper/spawner/shift.h); a start finishes what it finds there, and until then nobody
 * else gets at the volume (shift_check).
 */
#include "server/storage/volume.h"
#include "server/sys/id_map.h"

/* Whether the file system that `directory` is on can be mounted with an id map. Tests say no with
 * INCUS_IDMAPPED_MOUNTS_DISABLE=1 in the server's environment, as Incus does. */
int shift_can_map(Daemon *d, const char *directory, gboolean *ret_can, Error **err);

/* Whose owners, and who is to know: note() stores, to survive a crash, which map they have now. */
typedef struct Shift {
	Pool *pool;
	const Volume *volume;
	const char *folder; /* in the volume: "rootfs", or NULL for all of it */
	int (*note)(void *data, const GArray *map, Error **err);
	void *data;
} Shift;

/* The caller holds the volume's lock and has seen to it that nobody uses the volume. Finishes an
 * interrupted one first. */
int shift_run(const Shift *shift, const GArray *from, const GArray *to, Error **err);
/* Only finishes an interrupted one. */
int shift_resume(const Shift *shift, Error **err);
/* For who has no such lock. */
int shift_run_alone(const Shift *shift, const GArray *from, const GArray *to, Error **err);

/* ERROR_BUSY while the owners are half-way. */
int shift_check(const Pool *pool, const Volume *volume, Error **err);
/* The volume is no more. */
void shift_forget(const Pool *pool, const Volume *volume);
/* Those that an interrupted one has (Volume *); journals of volumes that are no more go. */
GPtrArray *shift_interrupted(Pool *pool, VolumeType type);
