#pragma once
/*
 * Writes a tree as a tar stream (pax) that unpack.h takes back: owners, modes, times to the
 * nanosecond, user.* attributes, file capabilities, ACLs, holes, hard links, fifos and harmless
 * nodes. (pack.h makes archives that are the same for the same tree: sorted, whole seconds.) Names
 * are bytes. What is mounted inside the tree is not entered; sockets are left out.
 */
#include "sdk/base/error.h"
#include <glib.h>
#include <stdint.h>
#include <sys/stat.h>

typedef struct TreePackOptions {
	const char *prefix; /* put before every name ("rootfs"); NULL or "": none */
	/* TRUE leaves out something that is no directory; fd (O_PATH, but readable for files) is
	 * it. May be NULL. */
	gboolean (*skip)(void *data, const char *path, int fd, const struct stat *st);
	/* Nothing but the top and these (char *; folders before what is in them), which may have
	 * gone when their turn comes. NULL: all. */
	const GPtrArray *only;
	gboolean (*cancelled)(void *data); /* may be NULL */
	void *data;
	/* Whose ids the tree has (IdRange): those of inside go out. NULL: they are the same. */
	const GArray *owners;
} TreePackOptions;

/* The tree in directory_fd into out_fd (a file, a pipe). options may be NULL. */
int tree_pack(int directory_fd, int out_fd, const TreePackOptions *options, Error **err);
