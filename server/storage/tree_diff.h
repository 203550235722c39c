#pragma once
/*
 * What a tree holds, entry by entry, so that another machine can tell which of it is as its own and
 * need not be sent again.
 */
#include "sdk/base/error.h"
#include <glib.h>
#include <stdint.h>

enum { TREE_DIGEST = 16 };

typedef struct TreeEntry {
	char *path; /* bytes; without a leading slash */
	gboolean directory;
	gboolean
	    several; /* names: it is never the same, for its other names have to stay with it */
	int64_t changed_ns; /* its change time, since 1970 */
	uint8_t digest[TREE_DIGEST]; /* of kind, owner, mode, size, time, target and attributes;
					directories: zeros */
} TreeEntry;
void tree_entry_free(TreeEntry *entry);

/* TreeEntry *, everything but the top; directories before what is in them, mounts as empty
 * directories. */
int tree_list(int directory_fd, GPtrArray **ret_entries, Error **err);
/* Of the entries of `theirs` those that are in `ours` just so: bits, lowest first. */
GByteArray *tree_same(const GPtrArray *ours, const GPtrArray *theirs);
gboolean tree_bit(const GByteArray *bits, guint n);
/* Removes the listed entries whose bit is not set. */
int tree_prune(int directory_fd, const GPtrArray *entries, const GByteArray *kept, Error **err);
