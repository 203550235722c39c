#pragma once
/*
 * That nothing is missing: every row of LXD, as it should have become, against what is in the new
 * database; networks are up, and what ran under LXD runs. What was seen goes into m->report.
 */
#include "migrate/migration.h"
#include "migrate/rows.h"

/* Compares table by table; ERROR_INTERNAL names the first row that is not there. */
int proof_rows(Migration *m, const RowsContext *context, Db *ours, Error **err);
/* The daemon runs: sees the networks, starts what ran and does not yet, and sees each running. */
int proof_running(Migration *m, Error **err);
