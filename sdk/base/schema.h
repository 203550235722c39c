#pragma once
/*
 * The method table that the generator makes from api/incus/v1, as both ends see it: types,
 * kind of call, REST route, envelope, access. The server adds handlers (server/rpc/method.h).
 */
#include <protobuf-c/protobuf-c.h>
#include <stdint.h>

typedef enum MethodKind {
	METHOD_UNARY,
	METHOD_SERVER_STREAM,
	METHOD_CLIENT_STREAM,
	METHOD_BIDI
} MethodKind;

typedef enum Envelope { /* the values of incus.v1.Envelope in options.proto */
	ENVELOPE_SYNC, ENVELOPE_CREATED, ENVELOPE_OPERATION, ENVELOPE_LIST, ENVELOPE_RAW,
	ENVELOPE_WEBSOCKET, ENVELOPE_BARE,
} Envelope;

/* What JSON needs to know of a field beyond its protobuf-c descriptor. Index as in
 * descriptor->fields. */
typedef struct JsonField {
	const char *json_name;
	const char *header;    /* NULL unless RAW header field */
	unsigned is_map : 1, omit_empty : 1, json : 1, secret : 1, data : 1;
	uint8_t recursion;
} JsonField;

typedef enum JsonWellKnown { JSON_PLAIN, JSON_TIMESTAMP, JSON_EMPTY, JSON_FLATTEN } JsonWellKnown;

typedef struct JsonMessage {
	const ProtobufCMessageDescriptor *descriptor;
	const JsonField *fields; /* descriptor->n_fields rows, in the descriptor's field order */
	const uint16_t
	    *json_order; /* field indices in schema (declaration) order: JSON output order */
	JsonWellKnown well_known;
} JsonMessage;

typedef struct SchemaMethod {
	const char *name;            /* "GetProfile" */
	const char *path;            /* "/incus.v1.ProfileService/GetProfile" */
	MethodKind kind;
	const ProtobufCMessageDescriptor *input, *output;
	const char *http_verb;       /* NULL: no REST route */
	const char *http_path;       /* "/1.0/profiles/{name}" */
	const char *http_body; /* NULL: none; "*": the whole request; else the request's field */
	Envelope envelope;
	const char *object, *entitlement, *etag, *location, *event, *upgrade, *group,
	    *content_type; /* NULL when not given */
} SchemaMethod;

/* Generated; sorted by `path`. */
extern const SchemaMethod schema_methods[];
extern const unsigned schema_n_methods;
/* Generated; sorted by descriptor address is not possible at compile time: look up through
 * schema_json(). */
extern const JsonMessage schema_messages[];
extern const unsigned schema_n_messages;

/* Bytes of one value of this type in the C struct, and in the array of a repeated field. */
size_t schema_value_size(ProtobufCType type);
/* NULL for a message the schema does not have. Hashed once, thread-safe, O(1). */
const JsonMessage *schema_json(const ProtobufCMessageDescriptor *descriptor);
const SchemaMethod *schema_method_by_path(const char *path);
/* Index of the field in descriptor->fields by JSON name, -1 when unknown. */
int schema_field_by_json_name(const JsonMessage *message, const char *name, size_t length);
/* The serialised FileDescriptorSet, for reflection. */
extern const uint8_t schema_descriptor_set[];
extern const unsigned schema_descriptor_set_size;
