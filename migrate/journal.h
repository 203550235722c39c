#pragma once
/*
 * What was done, written down before it is done, so that it can be undone after any end: an error,
 * a signal, kill -9, a power cut. A journal is a file of JSON lines in "lxd-to-incus" in the target
 * directory; each names an action with all that its undoing needs.
 */
#include "sdk/base/error.h"
#include <jansson.h>

typedef struct Journal Journal;

/* `target`/lxd-to-incus, where the journal is and what was set aside. g_free. */
char *journal_folder(const char *target);
gboolean journal_exists(const char *target);
/* Makes the folder (and the target with it); ERROR_BUSY while another run holds it. */
int journal_create(const char *target, Journal **ret_journal, Error **err);
/* One that is there. */
int journal_open(const char *target, Journal **ret_journal, Error **err);
void journal_free(Journal *journal);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Journal, journal_free)

/* The line is on the disk when this returns. Takes `details` (an object, or NULL). */
int journal_note(Journal *journal, const char *action, json_t *details, Error **err);
/* The lines so far, oldest first: objects with "action". A last line that was cut off is left out:
 * its action had not begun. */
const json_t *journal_lines(const Journal *journal);
gboolean journal_has(const Journal *journal, const char *action);
/* The newest line of that action whose `key` is the text `value` (NULL, NULL: any); borrowed, NULL:
 * none. */
const json_t *journal_find(
    const Journal *journal, const char *action, const char *key, const char *value);
/* Whether `path` is in the target and the target was emptied: then nobody else has anything there.
 */
gboolean journal_owns(const Journal *journal, const char *path);
/* All was done, or undone: removes the folder, the journal last. */
int journal_remove(Journal *journal, Error **err);
