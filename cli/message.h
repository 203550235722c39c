#pragma once
/*
 * Messages of the schema to and from JSON trees. Commands treat the server's objects as documents:
 * most of what they do is to show, change and send back whole ones. Reading is lenient where YAML
 * written by people needs it: "15" and "true" become what the schema says, unknown keys are left
 * out.
 */
#include "sdk/base/arena.h"
#include "sdk/base/error.h"
#include <jansson.h>
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

/* With `deep`, the fields that only recursive lists fill are there too. */
json_t *message_to_json(const ProtobufCMessage *message, bool deep);
/* The message, in the arena; NULL on error. */
ProtobufCMessage *message_from_json(
    const ProtobufCMessageDescriptor *descriptor, const json_t *data, Arena *arena, Error **err);
/* A copy of `object` with only the fields that the message has. */
json_t *message_writable(const ProtobufCMessageDescriptor *descriptor, const json_t *object);
/* The value as the schema types it: text "5" for a number field becomes 5. NULL on error. */
json_t *message_coerce(const ProtobufCMessageDescriptor *descriptor, const char *field,
    const char *text, Error **err);
bool message_has_field(const ProtobufCMessageDescriptor *descriptor, const char *json_name);
