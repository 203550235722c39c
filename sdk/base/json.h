#pragma once
/*
 * Messages as JSON text and back, by the schema's tables and without a tree in between when
 * writing. The text is that of Go's encoder: fields as declared, map keys sorted, int64 as numbers,
 * absent maps {} and lists [], an absent message null, an absent timestamp the year 1. Fields that
 * travel as headers or body (RAW) are not part of it. Hand-made texts: json_text.h.
 */
#include "sdk/base/arena.h"
#include "sdk/base/error.h"
#include <limits.h>

struct json_t;

enum {
	JSON_HTML = 1, /* escape <, > and & as Go does by default: what ETags hash */
};
enum {
	JSON_DEPTH_MAX = 100, /* objects and lists in each other, when reading */
};
#define JSON_RECURSION_ALL UINT_MAX /* every field, whatever `recursion` it asks for */

/* Appends. Bytes that are not UTF-8 become U+FFFD. */
void json_write(GString *out, const void *message, unsigned recursion, unsigned flags);
/* The value of one field, an index into descriptor->fields. */
void json_write_field(GString *out, const void *message, unsigned field, unsigned flags);
/* Says that the repeated field `name` of message points to an array that lives and stays the same
 * as long as the process: its text is made now and stands wherever json_write() meets that array.
 * For the few constants that are most of a frequent reply. */
void json_keep(const void *message, const char *name);

/*
 * Fills an initialised message; what it points to lives in the arena. Unknown keys are ignored,
 * null leaves a field as it is, a value of the wrong type is ERROR_INVALID and names the key. The
 * caller limits the length.
 */
int json_read(const char *text, size_t length, void *message, Arena *arena, Error **err);
/* The same from a tree (of jansson), for YAML and for parts of a document. */
int json_read_tree(const struct json_t *tree, void *message, Arena *arena, Error **err);
