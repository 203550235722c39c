#pragma once
/*
 * The WebSockets of one operation: named channels ("0", "1", "2", "control"), each with a random
 * secret that a client connects with. Shared by exec and console. A connection's thread lends its
 * Stream until the channel is released.
 */
#include "sdk/base/error.h"
#include "server/rpc/stream.h"
#include <glib.h>

typedef struct Channels Channels;

/* names: NULL-terminated. */
Channels *channels_new(const char *const *names);
void channels_free(Channels *channels);
/* {"0":"SECRET",...} */
char *channels_secrets_json(Channels *channels);
/* Makes `name`'s secret the prefix and that of `of`, and leaves `of` out of the JSON: whoever takes
 * the prefix off connects to that one instead. */
void channels_alias(Channels *channels, const char *name, const char *prefix, const char *of);
/* The secret of `name` is good for any number of connections. */
void channels_repeat(Channels *channels, const char *name);
/* The connection's thread: finds the channel by secret (ERROR_FORBIDDEN), opens the stream, runs
 * serve(data, name, stream) and returns when it does. Each secret works once, unless it may be repeated. */
int channels_connect(Channels *channels, const char *secret, Stream *stream,
    void (*serve)(void *data, const char *name, Stream *stream), void *data, Error **err);
/* Waits until the named channels are connected; FALSE after timeout_ms or close. */
gboolean channels_wait(Channels *channels, const char *const *names, int timeout_ms);
/* The same for all of either list: 0 the first is connected, 1 the second, -1. */
int channels_wait_either(Channels *channels, const char *const *names, const char *const *others,
    int timeout_ms);
/* The channel's stream, valid until its serve() returns; NULL when not connected. */
Stream *channels_stream(Channels *channels, const char *name);
/* Cancels every connected stream and waits until all serve() calls have returned. */
void channels_close(Channels *channels);

/* Frame helpers. The barrier is the empty text frame that ends a direction. */
int channel_send(Stream *stream, const void *data, size_t length);
int channel_send_barrier(Stream *stream);
