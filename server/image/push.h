#pragma once
/*
 * Sends an image to another Incus server that waits for it, over its REST API: the body of an
 * upload with the secret that the other side made. The import there is waited for.
 */
#include "server/image/image.h"
#include "server/operation/operation.h"

/* `post`: target, secret, certificate, project, profiles. */
int image_push(
    Daemon *d, const Pb__Image *image, const Pb__ImageExportPost *post, Operation *op, Error **err);
