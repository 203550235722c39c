#pragma once
/*
 * Images of other servers: finding out what one is, and having its bytes sent into an import. One
 * row a protocol says how: Incus (over REST, so that the original is spoken to as well), simple
 * streams, and a plain URL whose headers tell the hash. Servers are strangers: https only, sizes
 * are kept to what was promised, hashes are checked by the import.
 */
#include "server/image/import.h"
#include "server/operation/operation.h"

/* An opened source. One thread at a time. */
typedef struct ImageRemote ImageRemote;

/* What may be asked for, checked: a known protocol, an https address, names of the right form.
 * `source`: server, protocol ("" is "incus"), alias or fingerprint, and for Incus certificate,
 * secret, project and image_type; type "url": url. ERROR_INVALID. */
int image_remote_check(const Pb__ImagesPostSource *source, Error **err);

/* Copies what it needs. `project` is the local one: its settings say which architecture is meant
 * where `architecture` ("" or NULL) does not. op (NULL: none) is asked whether it was cancelled,
 * and told the progress. */
int image_remote_open(Daemon *d, const char *project, const Pb__ImagesPostSource *source,
    const char *architecture, Operation *op, ImageRemote **ret_remote, Error **err);
void image_remote_free(ImageRemote *remote);
/* The image as its server describes it: always with a whole fingerprint. */
int image_remote_find(ImageRemote *remote, Arena *arena, Pb__Image **ret_image, Error **err);
/* Has the bytes of `image` (as found) written into the import. */
int image_remote_fetch(
    ImageRemote *remote, const Pb__Image *image, ImageImport *import, Error **err);
/* What the image will be refreshed from. Lives as long as the remote. */
const Pb__ImageSource *image_remote_source(const ImageRemote *remote);

/* Protocols as the images_source table numbers them; "incus" for unknown numbers. */
const char *image_protocol_name(int number);
int image_protocol_number(const char *name);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(ImageRemote, image_remote_free)
