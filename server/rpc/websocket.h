#pragma once
/*
 * Methods that take over the connection: WebSockets (RFC 6455; websocket_frame.h) and other
 * upgrades
 * ("sftp": plain bytes both ways). Messages with a `data` field are frames; others go as JSON text.
 */
#include "server/rpc/exchange.h"
#include "server/rpc/method.h"

int websocket_serve(Exchange *ex, const Method *method, ProtobufCMessage *in, Error **err);

/* The other way round: a WebSocket of another server. */
typedef struct WebsocketPlace {
	const char *authority, *path; /* "host:8443", "/1.0/operations/...?secret=..." */
	const ProtobufCMessageDescriptor *input, *output; /* of its frames: what comes, what goes */
	int timeout_ms;
} WebsocketPlace;
/* Upgrades a connection (takes both, whatever happens; non-blocking); the stream is for
 * websocket_disconnect(). */
int websocket_connect(
    const WebsocketPlace *place, struct ssl_st *ssl, int fd, Stream **ret, Error **err);
void websocket_disconnect(Stream *stream); /* NULL is fine */

/* Sec-WebSocket-Accept for this key; the caller frees it. */
char *websocket_accept_key(const char *key);
