#pragma once
/*
 * The migration itself, step by step, every change through the journal; and its way back.
 */
#include "migrate/migration.h"

/* From a checked plan to a target directory that is whole and proven, with no daemon running. After
 * a failure the journal tells convert_undo() what to do. */
int convert_run(Migration *m, Error **err);
/* Starts Incus there and sees what ran under LXD run again; then the report is written. */
int convert_start(Migration *m, Error **err);
/* Undoes what the journal in `target` says, the newest first. ERROR_NOT_FOUND when there is none.
 * May be interrupted and called again. */
int convert_undo(const Target *target, Error **err);
