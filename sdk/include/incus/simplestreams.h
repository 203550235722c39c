#pragma once
/*
 * Image servers that publish a "simple streams" index over https: read-only, nobody logs in. A
 * server is read once, when the first question is asked, and kept in memory. One thread at a time.
 */
#include <incus/client.h>
#include "incus/v1/image.pb-c.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct incus_streams incus_streams;

/* One file of an image. */
typedef struct incus_streams_file {
	const char *path;   /* relative to the server's URL */
	const char *sha256; /* lower-case hexadecimal */
	uint64_t size;      /* bytes */
} incus_streams_file;

/* Bytes so far and in all; a result other than 0 ends the download with "CANCELLED". */
typedef int (*incus_streams_progress)(uint64_t done, uint64_t total, void *data);

/* `url` is https://, http:// or file://. Nothing is read yet. */
int incus_streams_open(const char *url, incus_streams **ret, incus_error **err);
/* The same for a server that must have the key of `certificate` (PEM; NULL: any that is trusted).
 */
int incus_streams_open_pinned(
    const char *url, const char *certificate, incus_streams **ret, incus_error **err);
void incus_streams_free(incus_streams *streams);
const char *incus_streams_url(const incus_streams *streams);

/* All that can be had, newest version of each product first; borrowed from `streams`. */
int incus_streams_images(
    incus_streams *streams, Pb__Image *const **ret, size_t *ret_n, incus_error **err);
/* The image with that fingerprint or with the only one that starts so; borrowed. */
int incus_streams_image(
    incus_streams *streams, const char *fingerprint, const Pb__Image **ret, incus_error **err);
/* What an alias means for an architecture ("x86_64"; NULL: this machine's) and a type ("container",
 * "virtual-machine"; NULL: container, else virtual machine); borrowed. */
int incus_streams_alias(incus_streams *streams, const char *alias, const char *architecture,
    const char *type, const Pb__Image **ret, incus_error **err);
/* The one or two files of an image: ret_rootfs->path is NULL for a unified one. */
int incus_streams_files(incus_streams *streams, const char *fingerprint,
    incus_streams_file *ret_metadata, incus_streams_file *ret_rootfs, incus_error **err);
/* Writes a file into fd from its current offset and checks size and hash on the way. progress may
 * be NULL. */
int incus_streams_download(incus_streams *streams, const incus_streams_file *file, int fd,
    incus_streams_progress progress, void *data, incus_error **err);

#ifdef __cplusplus
}
#endif
