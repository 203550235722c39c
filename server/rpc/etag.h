#pragma once
/*
 * ETags as Incus makes them: SHA-256 of the JSON of a list of the object's values.
 */
#include "sdk/base/error.h"
#include <protobuf-c/protobuf-c.h>

enum { ETAG_LENGTH = 65 };

/* `fields`: "config,description" in that order, or "*" for the whole object. */
void etag_hash(const char *fields, const ProtobufCMessage *object, char ret_hash[ETAG_LENGTH]);
/* 0, or ERROR_PRECONDITION when `if_match` (a hash, in quotes or not) is not the object's. */
int etag_check(
    const char *fields, const ProtobufCMessage *object, const char *if_match, Error **err);
