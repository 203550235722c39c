#pragma once
/*
 * From the parts of a REST request to the method's input message: path, query and headers first
 * (enough to check access), then the JSON body.
 */
#include "server/rpc/exchange.h"
#include "server/rpc/route.h"

enum { DECODE_BODY_MAX = 16 * 1024 * 1024 };

/* "X-LXD-uid" of "X-Incus-uid": what older clients send and look for beside the new one. NULL for
 * other headers. */
const char *header_old_name(const char *name, char *buffer, size_t size);
/* Also sets rq.project and rq.target. */
int decode_head(Exchange *ex, const RouteMatch *match, ProtobufCMessage **ret_in, Error **err);
/* Reads and parses the body where the method has one. */
int decode_body(Exchange *ex, const SchemaMethod *schema, ProtobufCMessage *in, Error **err);
/* The message of google.api.http's body, made when it is not there: handlers never find NULL. */
ProtobufCMessage *decode_body_message(
    const SchemaMethod *schema, ProtobufCMessage *in, Arena *arena);
/* What handlers read from a Request instead of the message: project, target. Both doors. */
void decode_request(Request *rq, ProtobufCMessage *in);
