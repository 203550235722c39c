#pragma once
/*
 * The REST envelopes: what a handler's message looks like to a REST client, and errors.
 */
#include "server/rpc/exchange.h"
#include "server/rpc/method.h"

/* Answers with `out` in the method's envelope; `in` fills URL templates. */
int reply_message(Exchange *ex, const SchemaMethod *schema, const ProtobufCMessage *in,
    const ProtobufCMessage *out, Error **err);
/* The sync envelope, whatever the method's own. */
int reply_sync(Exchange *ex, const ProtobufCMessage *out, unsigned recursion, Error **err);
/* Nothing is sent when the reply has begun: the connection ends instead. */
void reply_error(Exchange *ex, const Error *error);
void reply_status(Exchange *ex, int http_status, const char *message);
