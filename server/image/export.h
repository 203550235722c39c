#pragma once
/* Sends the files of an image to a client: one file, or the two parts of a split image. */
#include "server/image/image.h"
#include "server/rpc/request.h"
#include "server/rpc/stream.h"
#include <stdint.h>

/* One of the one or two files of an image. */
typedef struct ImageFile {
	const char
	    *part; /* "" for a unified image, else "metadata", then "rootfs" or "rootfs.img" */
	const char *filename; /* that it is saved under */
	int fd;
	uint64_t size;
} ImageFile;

typedef struct ImageFiles {
	ImageFile files[2];
	unsigned n;
} ImageFiles;

/* Names live in the arena. */
int image_files_open(
    Daemon *d, const Pb__Image *image, Arena *arena, ImageFiles *ret_files, Error **err);
void image_files_close(ImageFiles *files);
/* What stands before file number i in a multipart body. */
char *image_files_head(const ImageFiles *files, unsigned i, const char *boundary, Arena *arena);

int image_export(Request *rq, const Pb__Image *image, const Pb__ExportImageRequest *asked,
    Stream *stream, Error **err);
