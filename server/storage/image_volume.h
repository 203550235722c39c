#pragma once
/*
 * Unpacked images in pools: made by the first instance from an image (on drivers that clone by
 * copying, by the second), cloned by all others, removed with the image. Their rows have type image
 * and belong to project "default".
 */
#include "server/storage/volume.h"

struct Operation;

/* Makes the tree of `volume` in PLACE_UNFINISHED from the image; unpacks it into the pool too when
 * it is not there. config is what the volume's row will have: where it wants another file
 * system than the unpacked image has, the image is unpacked once more. ERROR_NOT_FOUND when
 * INCUS_DIR/images lacks its files. Nothing is left on failure. */
int image_volume_clone(Pool *pool, const char *fingerprint, const Volume *volume,
    const Config *config, struct Operation *op, Error **err);
int image_volume_delete(Pool *pool, const char *fingerprint, Error **err);
