#pragma once
/*
 * HTTP transfers through libcurl: documents and image files of other servers, and uploads to them.
 * The library is loaded when the first transfer starts: linked, its twenty dependencies would
 * double the start of every program on the SDK. Blocking; any thread.
 */
#include "sdk/base/error.h"
#include <stddef.h>
#include <sys/types.h>

/* One transfer. Strings are borrowed; what is NULL or 0 is not used. */
typedef struct Fetch {
	/* https, http or file; an https URL never leads to another scheme. */
	const char *url;
	/* PEM of the server ("" as NULL): its key must be the one that the server has. Else the
	 * certificate must be good for SSL_CERT_FILE, SSL_CERT_DIR or the system's authorities. */
	const char *certificate;
	const char *proxy, *no_proxy; /* over what the environment says */
	const char *const *headers;   /* "Name: value", NULL-terminated */
	gboolean head;                /* only the headers of the reply */
	/* What was cut goes on from where it was, a few times: for contents that the caller checks as a
	 * whole, since the server may have another one by then. */
	gboolean resume;
	/* The server may take its time; else a minute without a byte ends it. */
	gboolean patient;
	/* Body of a POST request: up to `length` bytes each time, `upload` in all; -1 with *err
	 * stops. */
	ssize_t (*source)(void *bytes, size_t length, void *data, Error **err);
	uint64_t upload;
	/* Body of a good reply, in pieces; -1 with *err stops. */
	int (*sink)(const void *bytes, size_t length, void *data, Error **err);
	/* A header of the last reply, without blanks around. */
	void (*header)(const char *name, const char *value, void *data);
	/* Asked about once a second, more often while data flow. */
	gboolean (*cancelled)(void *data);
	void *data;
} Fetch;

/* ERROR_NOT_FOUND and ERROR_FORBIDDEN for HTTP 404, 401 and 403, ERROR_CANCELLED, the callbacks'
 * own errors, ERROR_UNAVAILABLE for the rest of what can go wrong on the way. */
int fetch_run(const Fetch *fetch, Error **err);
/* The whole body as text, NUL-terminated. Longer than limit: ERROR_TOO_LARGE. `fetch->sink` is not
 * used; `data` is that of the other callbacks. */
int fetch_text(const Fetch *fetch, size_t limit, char **ret_text, size_t *ret_length, Error **err);
