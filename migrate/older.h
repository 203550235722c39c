#pragma once
/*
 * What an older LXD has otherwise on disk: LXD's own upgrades rename it when a later version starts
 * for the first time, which never happened here. What of it can only be seen while its pool is
 * mounted is refused: LXD 5.0 does it when it is started once.
 */
#include "migrate/migration.h"

/* Whether LXD noted that it had applied that patch of its own. */
gboolean older_is_patched(LxdDatabase *lxd, const char *patch);
/* Where a custom volume of the default project is in a pool's folder (`folder`: "custom" or
 * "custom-snapshots"), if it is not where later versions have it. g_free; NULL: it is there. */
char *older_custom_volume(const char *pool_folder, const char *folder, const char *name);
/* In the target, after everything was moved: later versions' names. */
int older_rename(Migration *m, Error **err);
