#pragma once
/*
 * The migration itself, step by step, every change through the journal; and its way back.
 */
#include "migrate/migration.h"

/* From a checked plan to a target directory that is whole and proven, with no daemon running; with
 * a journal in `m` from where the run that wrote it stopped. After a failure the journal tells
 * convert_undo() what to do, or another run where to go on. */
int convert_run(Migration *m, Error **err);
/* How far an earlier run came: the step that comes next, for people. */
const char *convert_next(const struct Journal *journal, guint *ret_done, guint *ret_all);
/* Starts Incus there and sees what ran under LXD run again; then the report is written. */
int convert_start(Migration *m, Error **err);
/* Undoes what the journal in `target` says, the newest first. ERROR_NOT_FOUND when there is none.
 * May be interrupted and called again. */
int convert_undo(const Target *target, Error **err);
