#pragma once
/*
 * What an instance keeps of its image: metadata.yaml and the files in templates/. Rendering them
 * into the root file system is template_apply.c's.
 */
#include "incus/v1/image.pb-c.h"
#include "server/instance/folder.h"

enum { TEMPLATE_MAX = 1024 * 1024 }; /* bytes of one template file */

/* metadata.yaml of the folder. ERROR_NOT_FOUND "metadata not found" when there is none. */
int metadata_load(int folder_fd, Arena *arena, Pb__ImageMetadata **ret_metadata, Error **err);
/* Checks it as that of an image is checked and replaces metadata.yaml. */
int metadata_store(int folder_fd, const Pb__ImageMetadata *metadata, Error **err);

/* Reads and changes the instance's metadata with no flow in between; `change` fills `now` (an empty
 * message where there was none) and may refuse. */
typedef int (*MetadataChange)(Pb__ImageMetadata *now, gboolean found, void *data, Error **err);
int metadata_change(Instance *instance, MetadataChange change, void *data, Error **err);

/* Template files by name; ERROR_INVALID for a name that is no plain file name. */
int template_list(int folder_fd, GPtrArray **ret_names, Error **err);
int template_open(int folder_fd, const char *name, int *ret_fd, uint64_t *ret_size, Error **err);
int template_write(
    Instance *instance, const char *name, const void *text, size_t length, Error **err);
int template_delete(Instance *instance, const char *name, Error **err);
