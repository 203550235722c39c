#pragma once
/* The rows of backups, for the files of this folder. */
#include "server/storage/backup.h"

int backup_row_insert(const BackupOwner *owner, Backup *backup, Error **err); /* sets id */
int backup_row_delete(Daemon *d, const BackupKind *kind, int64_t id, Error **err);
int backup_row_rename(
    Daemon *d, const BackupKind *kind, int64_t id, const char *name, Error **err);

/* One of all of a kind. */
typedef struct BackupPlace {
	char *place, *project, *pool, *owner, *name;
	int64_t id, expires;
} BackupPlace;
/* BackupPlace *; one statement. */
int backup_row_list_all(Daemon *d, const BackupKind *kind, GPtrArray **ret_places, Error **err);
