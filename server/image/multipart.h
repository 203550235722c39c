#pragma once
/*
 * multipart/form-data bodies as they arrive (RFC 7578, RFC 2046): a push parser over pieces of any
 * size, which never buffers more than a boundary and a part's head. For uploads of split images.
 */
#include "sdk/base/error.h"
#include <stddef.h>

typedef struct Multipart Multipart;

typedef struct MultipartSink {
	/* A part begins; filename "" when it has none. Names are shown as they came. */
	int (*part)(void *data, const char *name, const char *filename, Error **err);
	int (*content)(void *data, const void *bytes, size_t length, Error **err);
	void *data;
} MultipartSink;

/* content_type is the header's value with its boundary parameter: ERROR_INVALID without one. */
int multipart_new(
    const char *content_type, const MultipartSink *sink, Multipart **ret_multipart, Error **err);
int multipart_feed(Multipart *multipart, const void *bytes, size_t length, Error **err);
/* ERROR_INVALID when the last boundary has not come. */
int multipart_end(Multipart *multipart, Error **err);
void multipart_free(Multipart *multipart);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Multipart, multipart_free)
