#pragma once
/*
 * Unpacks archives that strangers made into a fresh directory, without ever leaving it. Names are
 * checked (no "..", no absolute path save "/rootfs" and its like in an image), every parent is
 * opened with openat2 beneath the directory and without following links, nothing is replaced by a
 * link, hard links point only at what the archive itself made, and device nodes other than the
 * harmless ones every /dev has are left out. Owners, modes, times, sparse files, ACLs, file
 * capabilities and user.* attributes are kept.
 *
 * libarchive's own disk writer is not used: its checks look at a path before they use it and want
 * the process's working directory; openat2 does both at once and from any thread.
 */
#include "sdk/base/error.h"
#include <glib.h>
#include <stdint.h>
#include <sys/types.h>

struct Operation;

typedef enum UnpackShape {
	UNPACK_TREE,	 /* all entries */
	UNPACK_IMAGE,	 /* metadata.yaml (a file), rootfs/ and templates/ (directories); others are
			    skipped */
	UNPACK_METADATA, /* as UNPACK_IMAGE without rootfs/ */
	UNPACK_MACHINE,	 /* what a virtual machine has beside its disk: as UNPACK_METADATA, and the
			    firmware's variables, its state (files) and TPMs (directories) */
} UnpackShape;

typedef struct UnpackOptions {
	UnpackShape shape;
	uint64_t limit;           /* bytes of content of one tree; 0: none */
	struct Operation *op;     /* progress and cancellation; may be NULL */
	const char *stage,
	    *what; /* of the progress: "create_instance_from_image_unpack", "Unpacking image" */
} UnpackOptions;

/* Unpacks the tar archive in archive_fd, of any known compression, into directory_fd (empty, or
 * holding only what an earlier call put there). What was unpacked before a failure stays: the
 * caller removes the directory. */
int unpack_archive(int archive_fd, int directory_fd, const UnpackOptions *options, Error **err);

/* The same entry by entry, for archives that hold several trees: whoever reads decides by the name
 * which directory an entry goes to, and what of its name comes before those below that directory.
 */
typedef struct Unpacker Unpacker;
/* Borrows both. */
int unpacker_open(
    int archive_fd, const UnpackOptions *options, Unpacker **ret_unpacker, Error **err);
/* 1 and the next entry's clean name, until the next call; 0 at the end. */
int unpacker_next(Unpacker *unpacker, const char **ret_path, Error **err);
/* It is a regular file. */
gboolean unpacker_at_file(const Unpacker *unpacker);
/* Entries go there from now on; a hard link's target has to be there too. The shape's rules are for
 * the names below. Borrows the fd. */
void unpacker_enter(Unpacker *unpacker, int directory_fd, const char *prefix);
/* Unpacks the entry that unpacker_next() came to. */
int unpacker_entry(Unpacker *unpacker, Error **err);
/* Instead of that: the content of the entry, which must be a regular file, into an empty file,
 * where zeros stay holes. */
int unpacker_content(Unpacker *unpacker, int fd, Error **err);
/* The directory has all it gets: sets what writing would change (times of directories). */
void unpacker_leave(Unpacker *unpacker);
void unpacker_close(Unpacker *unpacker);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Unpacker, unpacker_close)

/* Unpacks a root file system: a tar archive into the directory, or a squashfs through unsquashfs.
 */
int unpack_rootfs(const char *file, int directory_fd, const UnpackOptions *options, Error **err);
/* The content of the regular file `name` at the top of the archive: ERROR_NOT_FOUND when it is not
 * there, ERROR_INVALID when it is no regular file or longer than limit. */
int unpack_read_file(int archive_fd, const char *name, size_t limit, char **ret_content,
    size_t *ret_length, Error **err);
typedef enum ImageContent { IMAGE_CONTENT_CONTAINER, IMAGE_CONTENT_MACHINE } ImageContent;
/* What a unified image holds: rootfs/ or rootfs.img. ERROR_INVALID when it has neither, or one of
 * the wrong kind. Reads no further than the first of them. */
int unpack_image_content(int archive_fd, ImageContent *ret_content, Error **err);
/* Fifos and the few character devices that are the same in every /dev. */
gboolean unpack_node_is_harmless(mode_t mode, dev_t dev);
/* Removes all other devices' nodes from a tree that came another way. */
int unpack_drop_devices(int directory_fd, Error **err);
