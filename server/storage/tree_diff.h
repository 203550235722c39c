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
	uint64_t inode;
	uint8_t digest[TREE_DIGEST]; /* of kind, owner, mode, size, time, target and attributes;
					directories: zeros */
} TreeEntry;
void tree_entry_free(TreeEntry *entry);

/* TreeEntry *, everything but the top; directories before what is in them, mounts as empty
 * directories. */
int tree_list(int directory_fd, GPtrArray **ret_entries, Error **err);
/* The same in a tenth of the time, without digests, and without what is in the folder `without` at
 * the top (NULL: none): enough to tell by inodes and change times what is as it was in a list of
 * the same tree. */
int tree_look(int directory_fd, const char *without, GPtrArray **ret_entries, Error **err);
/* entry: of tree_look(); before: of an older list (NULL: it was not there). Whether it is still
 * just that, where `since_ns` was then. */
gboolean tree_entry_stands(const TreeEntry *entry, const TreeEntry *before, int64_t since_ns);
/* For n entries, none set; lowest first. */
GByteArray *tree_bits_new(guint n);
void tree_bit_set(GByteArray *bits, guint n);
/* Of the entries of `theirs` those that are in `ours` just so: bits, lowest first. */
GByteArray *tree_same(const GPtrArray *ours, const GPtrArray *theirs);
gboolean tree_bit(const GByteArray *bits, guint n);
/* Removes the listed entries whose bit is not set. */
int tree_prune(int directory_fd, const GPtrArray *entries, const GByteArray *kept, Error **err);
