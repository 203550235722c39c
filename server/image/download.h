#pragma once
/*
 * Getting an image from another server into a project: what is here already is used, two who want
 * the same image wait for one download, and an image is either there in full or not at all.
 */
#include "server/image/image.h"
#include "server/operation/operation.h"

/* Borrowed; NULL is unsaid. */
typedef struct ImageDownload {
	const char *project;
	const Pb__ImagesPostSource *source;
	/* Where an alias means several; "": as set, else this machine's. */
	const char *architecture;
	/* For an instance: what an earlier one fetched by the same alias is good enough, and what
	 * is fetched is cached, kept up to date as images.auto_update_cached says. */
	gboolean for_instance;
	/* For a refresh: while the source means this fingerprint nothing is done, *ret_image is
	 * NULL. */
	const char *known;
	/* Of an image that is not for an instance: */
	gboolean public, auto_update, cached;
	const char *filename;
	int64_t expires_at;	  /* 0: as its server says */
	const Config *properties; /* over those of its server */
	char **profiles;
} ImageDownload;

/* op (NULL: none) is told the progress and asked whether it was cancelled. */
int image_download(Daemon *d, const ImageDownload *download, Operation *op, Arena *arena,
    Pb__Image **ret_image, Error **err);
/* `cancel` of operations that download. */
void image_download_cancel(Operation *op, void *data);
