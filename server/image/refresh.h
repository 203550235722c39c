#pragma once
/*
 * Newer versions of images, where they came from: the newer one takes the place of the older one,
 * with its aliases, profiles and date of use.
 */
#include "server/image/image.h"
#include "server/operation/operation.h"

/* *ret_refreshed: there was a newer one. op may be NULL. ERROR_INVALID where the image
 * has no source. */
int image_refresh(Daemon *d, const char *project, const Pb__Image *image, Operation *op,
    gboolean *ret_refreshed, Error **err);
