#pragma once
/*
 * The backup.yaml of every instance that can be seen: what it says of paths becomes right. The old
 * files are kept in the journal's folder.
 */
#include "migrate/migration.h"

int backup_files_rewrite(Migration *m, Error **err);
int backup_files_restore(const char *target, Error **err);
