#pragma once
/*
 * Methods that take over the connection: WebSockets (RFC 6455, framed by wslay) and other upgrades
 * ("sftp": plain bytes both ways). Messages with a `data` field are frames; others go as JSON text.
 */
#include "server/rpc/exchange.h"
#include "server/rpc/method.h"

int websocket_serve(Exchange *ex, const Method *method, ProtobufCMessage *in, Error **err);
/* Sec-WebSocket-Accept for this key; the caller frees it. */
char *websocket_accept_key(const char *key);
