#pragma once
/*
 * Backups of custom volumes: backup.h's, at INCUS_DIR/backups/custom/POOL/PROJECT_NAME; and volumes
 * from their archives. project is the effective one in all of these.
 */
#include "server/storage/backup.h"
#include "server/storage/volume_index.h"

extern const BackupKind custom_backups;
/* ERROR_NOT_FOUND "Storage volume not found". */
int custom_backup_owner(Pool *pool, const char *project, const char *name, BackupOwner **ret_owner,
    Error **err);

/* Whoever renames, moves or deletes the volume holds this, taken before its other locks: a backup
 * that is being made belongs to what it was made of. */
VolumeLock *custom_backup_lock(Pool *pool, const Volume *volume);
/* The volume's archives go where another name, project or pool wants them: backup.h. */
int custom_backup_place_begin(const Pool *pool, const Volume *volume, const Pool *to_pool,
    const Volume *to, Error **err);
void custom_backup_place_end(const Pool *pool, const Volume *volume, const Pool *to_pool,
    const Volume *to, gboolean came);
void custom_backup_place_clear(const Pool *pool, const Volume *volume);

/* At start, after the pools. */
int custom_backup_start(Daemon *d, Error **err);
int custom_backup_tasks_start(Daemon *d, Error **err);

/* ---- the way back ---- */

/* A volume from an archive, called as the index says (name NULL or ""). ERROR_EXISTS for a name
 * that is taken; nothing is left on failure. Filters the index's configuration. */
typedef struct CustomRestore {
	Pool *pool;
	const char *project, *name;
	VolumeIndex *index;
	int fd;
	struct Operation *op; /* may be NULL */
} CustomRestore;
int custom_restore(const CustomRestore *restore, Error **err);
/* What can be refused before the work begins. */
int custom_restore_check(const CustomRestore *restore, Error **err);
