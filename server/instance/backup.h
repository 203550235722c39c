#pragma once
/*
 * Backups of instances: server/storage/backup.h's, one archive with all that an instance is
 * (backup_index.h), at INCUS_DIR/backups/instances/[PROJECT_]NAME.
 */
#include "server/instance/instance.h"
#include "server/rpc/request.h"
#include "server/storage/backup.h"

struct Operation;
struct BackupIndex;

extern const BackupKind instance_backups;
BackupOwner *instance_backup_owner(Instance *i);

/* At start, after the instances. */
int instance_backup_repair(Daemon *d, Error **err);
/* Expired ones are deleted from now on. */
int instance_backup_tasks_start(Daemon *d, Error **err);

/* ---- the way back ---- */

/* An archive that an instance is made from. Borrowed. */
typedef struct InstanceArchive {
	const struct BackupIndex *index;
	int fd;
} InstanceArchive;

/* The instance that the index describes, under another name and on another pool where these are
 * given ("" or NULL: as it says; a pool that is not here gives way to that of the profiles). */
int instance_restore(Daemon *d, const char *project, const char *name, const char *pool,
    const InstanceArchive *archive, struct Operation *op, const Caller *caller, Error **err);
/* What can be refused before the work begins. */
int instance_restore_check(Daemon *d, const char *project, const char *name, const char *pool,
    const InstanceArchive *archive, Error **err);
