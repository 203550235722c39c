#pragma once
/*
 * A bar on the terminal for what takes long: how much is done, and how long the rest may take.
 * Nothing where nobody looks (standard error is no terminal). Any thread may add to it.
 */
#include <glib.h>
#include <stdint.h>

typedef struct Progress Progress;

/* `what` stands before the bar ("Copying"); `total` bytes are to be added. */
Progress *progress_new(const char *what, uint64_t total);
/* `data` is the Progress: fits the callbacks of copies. */
void progress_add(uint64_t bytes, void *data);
/* Takes the bar away. */
void progress_free(Progress *progress);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Progress, progress_free)

/* The line after `seconds`, `done` of `total` bytes; g_free. */
char *progress_text(const char *what, uint64_t done, uint64_t total, double seconds);
