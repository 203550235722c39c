#pragma once
/* The rows of backups, for the files of this folder. */
#include "server/instance/backup.h"

int backup_row_insert(Daemon *d, InstanceBackup *backup, Error **err); /* sets id */
int backup_row_delete(Daemon *d, int64_t id, Error **err);
int backup_row_rename(Daemon *d, int64_t id, const char *name, Error **err);

/* One of any instance. */
typedef struct BackupPlace {
	char *project, *instance, *name;
	int64_t id, expires;
} BackupPlace;
/* BackupPlace *, of all instances; one statement. */
int backup_row_list_all(Daemon *d, GPtrArray **ret_places, Error **err);
