#pragma once
/*
 * Image servers that publish the "simple streams" format: streams/v1/index.json names product
 * files; a product has versions, a version has items, and a metadata item with a root file system
 * item is an image whose fingerprint the metadata item gives ("combined_..._sha256"). What servers
 * say is checked here: paths stay below the server, hashes are hashes, documents have a limit. A
 * server is read once, at the first question. One thread at a time.
 */
#include "sdk/base/fetch.h"
#include "incus/v1/image.pb-c.h"

typedef struct Streams Streams;

/* One file of an image. */
typedef struct StreamsFile {
	const char *path;   /* relative to the server's URL; NULL: there is none */
	const char *sha256; /* lower-case hexadecimal */
	uint64_t size;	    /* bytes */
} StreamsFile;

/* `server` says where and how: url, certificate, proxies, cancelled with its data. Strings are
 * copied. Nothing is read yet. */
int streams_open(const Fetch *server, Streams **ret, Error **err);
void streams_free(Streams *streams);
const char *streams_url(const Streams *streams); /* without a slash at the end */

/* Reads a document of products that is here already, instead of what the server has. */
int streams_parse(Streams *streams, const char *text, size_t length, Error **err);

/* All that can be had, newest version of each product first; borrowed. */
int streams_images(Streams *streams, Pb__Image *const **ret, size_t *ret_n, Error **err);
/* The image with that fingerprint or with the only one that starts so; borrowed. */
int streams_image(Streams *streams, const char *fingerprint, const Pb__Image **ret, Error **err);
/* What an alias means for an architecture ("x86_64"; NULL or "": this machine's) and a type
 * ("container", "virtual-machine"; NULL or "": container, else virtual machine); borrowed. */
int streams_alias(Streams *streams, const char *alias, const char *architecture, const char *type,
    const Pb__Image **ret, Error **err);
/* The one or two files of an image: ret_rootfs->path is NULL for a unified one. */
int streams_files(Streams *streams, const char *fingerprint, StreamsFile *ret_metadata,
    StreamsFile *ret_rootfs, Error **err);
/* Gives the file's bytes to the sink. A size that is not the promised one is ERROR_INVALID; the
 * hash is the caller's to check, for the whole image has one too. */
int streams_download(Streams *streams, const StreamsFile *file,
    int (*sink)(const void *bytes, size_t length, void *data, Error **err), void *data,
    Error **err);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Streams, streams_free)
