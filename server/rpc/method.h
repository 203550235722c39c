#pragma once
/*
 * One row per rpc: what the schema says and the handler that the linker found. The generator emits
 * `methods[]` in the order of schema_methods[] and a prototype for every handler:
 *
 *   unary:   int api_get_profile(Request *rq, const Pb__GetProfileRequest *in, Pb__Profile *out,
 * Error **err); stream:  int api_get_events(Request *rq, const Pb__GetEventsRequest *in, Stream
 * *stream, Error **err);
 *
 * The function is "api_" and the rpc in snake case. For client and bidi streams `in` is the first
 * message (REST: path, query and headers; gRPC: what the client sent first). A missing handler is a
 * link error.
 */
#include "sdk/base/error.h"
#include "sdk/base/schema.h"
#include "server/rpc/request.h"
#include "server/rpc/stream.h"

typedef int (*UnaryHandler)(Request *rq, const void *in, void *out, Error **err);
typedef int (*StreamHandler)(Request *rq, const void *in, Stream *stream, Error **err);

typedef struct Method {
	const SchemaMethod *schema;
	UnaryHandler unary;   /* exactly one of the two is set */
	StreamHandler stream;
} Method;

extern const Method methods[]; /* schema_n_methods rows */
