#pragma once
/*
 * What LXD left mounted below its directory: a folder under a mount cannot be moved, and a file
 * system that is mounted twice is lost. LXD mounts all of it again itself.
 */
#include "migrate/journal.h"

/* File systems mounted below `path` go, the deepest first, noted in `journal` (NULL: in none).
 * `space` is a file that keeps a mount namespace in which they may be, too (a snap's daemon has one
 * that stays when it ends); NULL: none. */
int mounts_release(Journal *journal, const char *path, const char *space, Error **err);
