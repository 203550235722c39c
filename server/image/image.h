#pragma once
/*
 * Images: rows of the images table with their properties, aliases and profiles, and the files
 * INCUS_DIR/images/FINGERPRINT (a unified tarball or a split image's metadata) and
 * FINGERPRINT.rootfs (a split image's root file system). Unpacking into pools is server/storage's.
 *
 * `project` is always the one the caller works in; features.images decides here whether the
 * image is looked up in "default". Replies live in the arena given.
 */
#include "sdk/base/arena.h"
#include "sdk/base/error.h"
#include "sdk/base/map.h"
#include "server/daemon.h"
#include "incus/v1/image.pb-c.h"

/* Removes unfinished imports and files without a row. Call after db_open,
 * before listeners. */
int image_start(Daemon *d, Error **err);

typedef struct ImageQuery {
	const char *project;     /* the caller's; NULL: all projects */
	const char *fingerprint; /* start of it; NULL: any */
	gboolean public_only;    /* what untrusted callers may see */
} ImageQuery;

/* Sorted by fingerprint. Five statements whatever the number. */
int image_list(Daemon *d, const ImageQuery *query, Arena *arena, size_t *ret_n,
    Pb__Image ***ret_images, Error **err);
/* By unique fingerprint prefix. ERROR_NOT_FOUND "Image not found"; a prefix that fits several is
 * ERROR_INVALID. */
int image_get(Daemon *d, const char *project, const char *fingerprint, gboolean public_only,
    Arena *arena, Pb__Image **ret_image, Error **err);
/* By alias first, then by unique fingerprint prefix. ERROR_NOT_FOUND "Image not found". */
int image_resolve(Daemon *d, const char *project, const char *fingerprint_or_alias, Arena *arena,
    Pb__Image **ret_image, Error **err);
/* An image was used to make an instance: last_used_at becomes now. */
int image_touch(Daemon *d, const char *project, const char *fingerprint, Error **err);

int image_set_last_used(
    Daemon *d, const char *project, const char *fingerprint, int64_t seconds, Error **err);

/* What of an image may change; the lists and maps are replaced. */
int image_update(
    Daemon *d, const char *project, const char *fingerprint, const Pb__ImagePut *put, Error **err);
/* The row, and with the last project's row the files and the unpacked copies. fingerprint is whole.
 */
int image_delete(Daemon *d, const char *project, const char *fingerprint, Error **err);

/* A new row; files are in place already. `image` gives everything but its dates of use; profiles
 * empty means "default". ERROR_EXISTS "Image with same fingerprint already exists". */
int image_insert(Daemon *d, const char *project, const Pb__Image *image, Error **err);
/* A cached image was asked for by name: it stays, and is refreshed from `source`. */
int image_adopt(Daemon *d, const char *project, const char *fingerprint,
    const Pb__ImageSource *source, Error **err);
/* Held while files of images come and go, so that a delete cannot meet an import of the same. */
void image_files_lock(void);
void image_files_unlock(void);
/* INCUS_DIR/images/FINGERPRINT[.rootfs]; g_free. */
char *image_path(Daemon *d, const char *fingerprint, gboolean rootfs);
