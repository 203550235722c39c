#pragma once
/*
 * POST /1.0/images with a source: the image comes from another server, will be pushed by one, or is
 * made of an instance.
 */
#include "server/image/image.h"
#include "server/operation/operation.h"

int image_source_create(Request *rq, const Pb__ImagesPost *post, Stream *stream, Error **err);
/* "fingerprint" and "size" of the new image in the operation's metadata. */
void image_source_report(Operation *op, const Pb__Image *image);
/* The aliases that were asked for with an image. */
int image_source_aliases(Daemon *d, const char *project, const Pb__ImagesPost *post,
    const char *fingerprint, Error **err);
