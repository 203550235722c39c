#pragma once
/*
 * metadata.yaml of images and instances: read from strangers, so sizes, depth, types, template
 * paths and file names are checked here, once.
 */
#include "sdk/base/arena.h"
#include "sdk/base/error.h"
#include "incus/v1/image.pb-c.h"

enum { IMAGE_METADATA_MAX = 1024 * 1024 }; /* bytes */

/* ERROR_INVALID says what is wrong. Unknown top-level keys are ignored. */
int image_metadata_parse(
    const char *yaml, size_t length, Arena *arena, Pb__ImageMetadata **ret_metadata, Error **err);
/* The same checks for metadata that came by other ways (PUT .../metadata). */
int image_metadata_check(const Pb__ImageMetadata *metadata, Error **err);
/* The name of a file in templates/: no folder, not hidden, one line. */
int image_metadata_check_file(const char *file, Error **err);
/* As metadata.yaml; g_free. */
char *image_metadata_write(const Pb__ImageMetadata *metadata);

/* Number that Incus stores for an architecture name; 0 when unknown. */
int image_architecture_id(const char *name);
/* "unknown" when there is none. */
const char *image_architecture_name(int id);
