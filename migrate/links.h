#pragma once
/*
 * The links of Incus's directory: from instances to their volumes, and from the server's own
 * folders ("images", "backups") to the volumes that its settings name.
 */
#include "migrate/migration.h"

/* All of them, into a target that has none; what an earlier run made goes first. */
int links_make(Migration *m, Error **err);
/* What a link that LXD has at `path` leads to, as it is now; NULL where it is no link. g_free. */
char *links_source(const Migration *m, const char *path);
