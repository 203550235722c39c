#pragma once
/* What uses pools: URLs, from the database alone. */
#include "server/storage/pool.h"

/* Pool name -> GPtrArray of sorted URLs; pools that nothing uses are absent. pool NULL: all. */
int pool_used_load(Daemon *d, const char *pool, GHashTable **ret_used, Error **err);
/* *ret_used: by more than unpacked images, whose fingerprints are in *ret_images. */
int pool_used_check(
    Daemon *d, const char *pool, gboolean *ret_used, GPtrArray **ret_images, Error **err);
/* "/1.0/KIND/NAME" and "?project=" outside of default. name is escaped; g_free. */
char *used_url(const char *prefix, const char *name, const char *project);
