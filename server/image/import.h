#pragma once
/*
 * One image on its way in: its file or two files are written to a temporary folder while a thread
 * hashes them, then checked, described by their metadata.yaml, moved to their place and given a
 * row. Freeing it before image_import_finish() has succeeded leaves nothing behind.
 */
#include "server/image/image.h"

struct Operation;
typedef struct ImageImport ImageImport;

/* What the uploader says about the image; NULL or "" is unsaid. */
typedef struct ImageImportOptions {
	const char *project;
	const char *filename;
	const char *fingerprint; /* must be this */
	gboolean public, auto_update;
	gboolean cached;         /* fetched for an instance: goes when long unused */
	const Pb__ImageSource *source; /* where it came from; may be NULL */
	int64_t expires_at;      /* seconds since 1970, 0: as the metadata says */
	const Config *properties; /* over those of the metadata; may be NULL */
	char **profiles;         /* NULL-terminated, may be NULL: "default" */
} ImageImportOptions;

/* Lays what the options say over an image; what lives outside the arena is borrowed. */
void image_import_apply(Pb__Image *image, const ImageImportOptions *options, Arena *arena);

int image_import_new(Daemon *d, ImageImport **ret_import, Error **err);
/* While it arrives the image stays below what "limits.disk" of the project leaves; the end asks
 * again. */
int image_import_limit(ImageImport *import, const char *project, Error **err);
void image_import_free(ImageImport *import);
/* Begins the next file: "" for a unified image; "metadata", then "rootfs" or "rootfs.img". */
int image_import_part(ImageImport *import, const char *part, const char *filename, Error **err);
int image_import_write(ImageImport *import, const void *data, size_t length, Error **err);
/* Gives the image as stored. Once, after the last byte. */
int image_import_finish(ImageImport *import, const ImageImportOptions *options, Arena *arena,
    Pb__Image **ret_image, Error **err);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(ImageImport, image_import_free)
