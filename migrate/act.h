#pragma once
/*
 * The few things that lxd-to-incus does to a file system, each written into the journal first and
 * each with its way back. Undoing what was never done, or was undone, changes nothing.
 */
#include "migrate/journal.h"

/* Each may be called once more with what an earlier run noted: it does what is not done yet. */

/* A rename; the folders that lose and get the name keep their times when it is undone. */
int act_rename(Journal *journal, const char *from, const char *to, Error **err);
/* `to` will be made by the caller (what an earlier run made of it goes); undoing removes it with
 * all that is in it. */
int act_make(Journal *journal, const char *to, Error **err);
/* Copies a file or a tree with everything, and compares both; of a tree that an earlier run began
 * only what is missing. */
int act_copy(Journal *journal, const char *from, const char *to,
    void (*progress)(uint64_t bytes, void *data), void *data, Error **err);
/* Folders that appear in `folder` from now on go when it is undone, unless there are files in them;
 * it gets its times back. */
int act_watch(Journal *journal, const char *folder, Error **err);

/* Undoes one line of a journal that is an act; FALSE in *ret_known when it is none. */
int act_undo(const json_t *line, gboolean *ret_known, Error **err);
