#pragma once
/*
 * Single fields of messages by name, as text: what URLs, query strings and headers are made of.
 * For whole messages see sdk/base/json.h and protobuf-c.
 */
#include "sdk/base/arena.h"
#include "sdk/base/error.h"
#include "sdk/base/schema.h"

const ProtobufCFieldDescriptor *field_find(
    const ProtobufCMessageDescriptor *descriptor, const char *name, size_t length);
static inline void *field_at(const void *message, const ProtobufCFieldDescriptor *field)
{
	return (char *)message + field->offset;
}
/* Sets a scalar, or adds to a repeated string. `text` must live as long as the message. Numbers and
 * booleans that cannot be read are ERROR_INVALID. */
int field_set_text(
    void *message, const ProtobufCFieldDescriptor *field, char *text, Arena *arena, Error **err);
/* The field as text in the arena; NULL when it has none (messages, repeated fields, bytes). */
const char *field_text(const void *message, const ProtobufCFieldDescriptor *field, Arena *arena);
/* "project", "target": the string of that name, "" when the message has no such field. */
const char *field_string(const ProtobufCMessage *message, const char *name);
/* The message in that field, made (empty) when it is not there; NULL when the field is no message.
 */
ProtobufCMessage *field_message(
    ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, Arena *arena);
/* The one repeated message or string field of a list reply. */
const ProtobufCFieldDescriptor *field_repeated(const ProtobufCMessageDescriptor *descriptor);
/* The field that JsonField calls `data`: body bytes. NULL when there is none. */
const ProtobufCFieldDescriptor *field_data(const ProtobufCMessageDescriptor *descriptor);
/* A new initialised message of any type. */
ProtobufCMessage *field_new_message(Arena *arena, const ProtobufCMessageDescriptor *descriptor);
/* Fills "/1.0/profiles/{name}" from `first`, then from `second` (may be NULL); values are encoded.
 * "{profile.name}" looks into a message. */
char *field_fill_url(const char *template_, const ProtobufCMessage *first,
    const ProtobufCMessage *second, Arena *arena);
