#pragma once
/*
 * A run that did not come to its end, and another one that goes on where it stopped. That is
 * possible once the plan is in the journal, which it is before anything is moved, and as long as
 * LXD was not started in between.
 */
#include "migrate/migration.h"

/* Fills `m` (source, LXD's database, plan, journal, report) with what the first run found, so that
 * convert_run() goes on. *ret_why is set instead (for people; g_free) where that cannot be, and all
 * is to be undone before another run begins anew. */
int resume_open(Migration *m, char **ret_why, Error **err);
