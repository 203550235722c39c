#pragma once
/*
 * HTTP downloads for simplestreams.c, through libcurl. The library is loaded when the first download
 * starts: linked, its twenty dependencies would double the start of every program on the SDK.
 */
#include <incus/client.h>
#include <glib.h>

typedef gboolean (*FetchSink)(const void *data, size_t length, void *user); /* FALSE: stop */

/* GETs `url` into the sink. ERROR_NOT_FOUND for HTTP 404, ERROR_UNAVAILABLE for the rest of what can
 * go wrong on the way, ERROR_CANCELLED when the sink stopped it. */
int fetch(const char *url, FetchSink sink, void *user, incus_error **err);
