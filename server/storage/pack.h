#pragma once
/*
 * Puts files and whole trees into an archive, with all that unpack.h takes out again: owners by
 * number, modes, times, extended attributes, ACLs, file capabilities, holes, hard links, fifos and device nodes. Sockets
 * are left out, mounts inside a tree are empty directories. Trees are somebody else's: nothing is followed out of them.
 */
#include "server/storage/archive_sink.h"
#include <sys/types.h>

struct Operation;

typedef struct PackOptions {
	struct Operation *op;     /* progress and cancellation; may be NULL */
	const char *stage, *what; /* of the progress: "create_backup", "Packing" */
	const char *skip;         /* a name at the top of the tree that is left out; may be NULL */
} PackOptions;

/* One regular file of root's with this content. */
int pack_file(ArchiveSink *sink, const char *name, const void *data, size_t length, mode_t mode, Error **err);
/* Everything below directory_fd as `prefix`/..., the directory itself as `prefix`. */
int pack_tree(ArchiveSink *sink, int directory_fd, const char *prefix, const PackOptions *options, Error **err);
