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
#include "server/daemon.h"
#include "incus/v1/image.pb-c.h"

/* Removes unfinished imports and files without a row. Call after db_open, before listeners. */
int image_start(Daemon *d, Error **err);

/* By unique fingerprint prefix. ERROR_NOT_FOUND "Image not found"; a prefix that fits several is
 * ERROR_INVALID. public_only: what untrusted callers may see. */
int image_get(Daemon *d, const char *project, const char *fingerprint, gboolean public_only,
    Arena *arena, Pb__Image **ret_image, Error **err);
/* By alias first, then by unique fingerprint prefix. ERROR_NOT_FOUND "Image not found". */
int image_resolve(Daemon *d, const char *project, const char *fingerprint_or_alias, Arena *arena,
    Pb__Image **ret_image, Error **err);
/* An image was used to make an instance: last_used_at becomes now. */
int image_touch(Daemon *d, const char *project, const char *fingerprint, Error **err);
