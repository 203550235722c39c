#pragma once
/*
 * rsync over a socket, as Incus starts it at both ends of a migration: the sender is the client,
 * whose words the other side does not hear, so both command lines have to be what they agreed on.
 * The other end is a stranger: our rsync is confined to the directory.
 */
#include "sdk/base/error.h"
#include <glib.h>

typedef struct RsyncOptions {
	gboolean xattrs, delete, compress; /* negotiated features */
	gboolean vanishing;		   /* files may go while they are sent */
	gboolean (*cancelled)(void *data); /* may be NULL */
	void *data;
} RsyncOptions;

/* Both run to the end; the socket stays the caller's. ERROR_UNSUPPORTED where there is no rsync. */
int rsync_send(const char *directory, int socket, const RsyncOptions *options, Error **err);
int rsync_receive(const char *directory, int socket, const RsyncOptions *options, Error **err);
