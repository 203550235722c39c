#pragma once
/*
 * Storage pools in loop files (DIRECTORY/disks/NAME.img) that the kernel still writes to when
 * nothing of them is mounted any more: ZFS pools that are imported, LVM's volume groups that are
 * active, loop devices that stay. A file of one that is in use must not be copied.
 */
#include "migrate/journal.h"

/* All of them below `directory` are let go, noted in `journal` (NULL: in none). ERROR_BUSY where
 * one is in use. */
int pool_files_release(Journal *journal, const char *directory, Error **err);
/* Undoes a line of the journal: what was let go is had again. LXD does that itself when it starts,
 * so where it fails a warning is enough. */
int pool_files_import(const json_t *line, Error **err);
int pool_files_activate(const json_t *line, Error **err);
