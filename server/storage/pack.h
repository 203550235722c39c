#pragma once
/*
 * Trees as tar archives, the other way round of unpack.h: owners, modes, times (whole seconds),
 * links of both kinds, holes, ACLs, file capabilities and user.* attributes; what unpack.h would
 * not take is left out. Entries are sorted, so that equal trees give equal archives. Nobody may be
 * writing to the trees, unless pack_set_live() said so.
 */
#include "server/storage/archive_target.h"
#include "server/sys/id_map.h"

struct Operation;
typedef struct Pack Pack;

typedef struct PackOptions {
	const char *compression; /* as archive_target_open() */
	ArchiveSink sink;
	void *data;
	struct Operation *op; /* progress and cancellation; may be NULL */
	const char *stage,
	    *what; /* of the progress: "create_image_from_container_pack", "Image pack" */
} PackOptions;

int pack_new(const PackOptions *options, Pack **ret_pack, Error **err);
/* Whose ids the trees that follow have on disk (IdRange; borrowed until the next call): those of
 * inside are written. NULL: they are the same. */
void pack_owners(Pack *pack, const GArray *map);
/* A file of root's with this content. */
int pack_text(Pack *pack, const char *path, const char *text, Error **err);
/* Of trees that follow: what goes meanwhile is left out, what gets shorter ends in zeros. */
void pack_set_live(Pack *pack, gboolean live);
/* An open file or device, read from its start, as a file of root's; bytes: no more than that (0:
 * all). */
int pack_file(Pack *pack, const char *path, int fd, int64_t bytes, Error **err);
/* Of trees that follow: what has that name at their top is left out. NULL: nothing. */
void pack_without(Pack *pack, const char *name);
/* The directory and all in it, below `path`; a link to a file of another tree becomes a file. */
int pack_tree(Pack *pack, const char *path, int directory_fd, Error **err);
/* Writes the archive's end; once. */
int pack_finish(Pack *pack, Error **err);
void pack_free(Pack *pack);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Pack, pack_free)
