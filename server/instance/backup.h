#pragma once
/*
 * Backups of instances: one archive each (backup_index.h says what is in it), kept on the server as
 * INCUS_DIR/backups/instances/[PROJECT_]NAME/BACKUP with a row in instances_backups.
 *
 * The archive appears when it is whole and after its row; it goes before its row. At start rows
 * without archive and archives without row go.
 */
#include "server/instance/instance.h"
#include "server/rpc/request.h"

struct Operation;
struct BackupIndex;

typedef struct InstanceBackup {
	int64_t id, instance_id;
	char *name;
	int64_t created, expires; /* seconds since 1970; expires 0: never */
	gboolean instance_only, optimized;
} InstanceBackup;
void instance_backup_free(InstanceBackup *backup);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(InstanceBackup, instance_backup_free)

/* What a backup is to be. Borrowed. */
typedef struct InstanceBackupSpec {
	const char *name;        /* as instance_backup_next_name() gave it, or as asked for */
	int64_t expires;
	gboolean instance_only;  /* without snapshots */
	gboolean optimized;
	const char *compression; /* pack.h; NULL or "": as project or server say */
} InstanceBackupSpec;

int instance_backup_next_name(Instance *i, char **ret_name, Error **err);
/* A running instance stands still while it is packed. ERROR_EXISTS for a name that is taken. */
int instance_backup_create(Instance *i, const InstanceBackupSpec *spec, struct Operation *op,
    const Caller *caller, Error **err);
int instance_backup_delete(Instance *i, const char *name, const Caller *caller, Error **err);
int instance_backup_rename(
    Instance *i, const char *name, const char *new_name, const Caller *caller, Error **err);
/* The archive, to read; *ret_fd is the caller's. */
int instance_backup_open(Instance *i, const char *name, int *ret_fd, Error **err);

/* ERROR_NOT_FOUND "Instance backup not found". */
int instance_backup_find(Instance *i, const char *name, InstanceBackup **ret_backup, Error **err);
/* InstanceBackup *, oldest first. */
int instance_backup_list(Instance *i, GPtrArray **ret_backups, Error **err);

struct Pb__InstanceBackup;
void instance_backup_render(
    const InstanceBackup *backup, Arena *arena, struct Pb__InstanceBackup *out);

/* An instance that was renamed or moved takes its backups along; one that is deleted has none. */
void instance_backups_rename(Instance *i, const char *old_file_name);
void instance_backups_delete(Instance *i);

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
 * given
 * ("" or NULL: as it says; a pool that is not here gives way to that of the profiles). */
int instance_restore(Daemon *d, const char *project, const char *name, const char *pool,
    const InstanceArchive *archive, struct Operation *op, const Caller *caller, Error **err);
/* What can be refused before the work begins. */
int instance_restore_check(Daemon *d, const char *project, const char *name, const char *pool,
    const InstanceArchive *archive, Error **err);
