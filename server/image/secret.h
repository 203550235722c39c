#pragma once
/*
 * Secrets that stand in for being trusted, each for one image and one use: to read a private image,
 * or to bring one that was announced. They are token operations.
 */
#include "server/image/image.h"
#include "server/rpc/request.h"
#include "incus/v1/operation.pb-c.h"

int image_secret_create(Request *rq, const char *fingerprint, Pb__Operation *out, Error **err);
/* TRUE when the secret is good for this image. Looking does not use it up. */
gboolean image_secret_check(
    Daemon *d, const char *project, const char *fingerprint, const char *secret);
/* The same, and the secret is spent: of two callers one wins. */
gboolean image_secret_redeem(
    Daemon *d, const char *project, const char *fingerprint, const char *secret);

/* A secret with which anybody may upload the image post->source->fingerprint once; it will be as
 * `post` says. */
int image_secret_expect(Request *rq, const Pb__ImagesPost *post, Pb__Operation *out, Error **err);
/* Spends such a secret; *ret_post is what was said then, in the arena. ERROR_FORBIDDEN. */
int image_secret_accept(Daemon *d, const char *project, const char *fingerprint, const char *secret,
    Arena *arena, Pb__ImagesPost **ret_post, Error **err);
