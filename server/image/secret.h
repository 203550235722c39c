#pragma once
/*
 * Secrets with which anybody may read one private image once: token operations.
 */
#include "server/image/image.h"
#include "server/rpc/request.h"
#include "incus/v1/operation.pb-c.h"

int image_secret_create(Request *rq, const char *fingerprint, Pb__Operation *out, Error **err);
/* TRUE when the secret is good for this image. Looking does not use it up. */
gboolean image_secret_check(Daemon *d, const char *project, const char *fingerprint, const char *secret);
/* The same, and the secret is spent: of two callers one wins. */
gboolean image_secret_redeem(Daemon *d, const char *project, const char *fingerprint, const char *secret);
