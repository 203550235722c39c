#pragma once
/* Names of snapshots that come without one: from a pattern and the names that are there. */
#include "sdk/base/error.h"
#include <glib.h>

/* The pattern (NULL: "snap%d"), rendered as a template that knows creation_date, with its one "%d"
 * replaced by the number after the highest in `names` (const char *), from 0. Without "%d", or when
 * that name is taken, "-0", "-1", ... is put behind. */
int snapshot_name_next(const char *pattern, const GPtrArray *names, char **ret_name, Error **err);
