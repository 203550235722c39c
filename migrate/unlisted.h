#pragma once
/*
 * Files in "images" and "backups" that no row of LXD's database names: what imports that failed
 * left, or what somebody put there. Incus removes such files when it starts, so they are moved out
 * of its way, to "lxd-unlisted" in the same folder.
 */
#include "migrate/migration.h"

/* A note for each. */
int unlisted_check(Migration *m, Error **err);
/* In the target, after everything was moved. */
int unlisted_keep(Migration *m, Error **err);
