#pragma once
/*
 * YAML as people read and edit it, to and from JSON trees. The layout is that of Incus's own tools
 * (lists at the indentation of their key, double quotes where a plain word would be read as
 * another type, literal blocks for text of several lines), because scripts match lines of it.
 */
#include "sdk/base/error.h"
#include <jansson.h>

/* Free with g_free(). */
char *yaml_from_json(const json_t *data);
/*
 * One document, as a tree in which every scalar is a string, save nulls: what type a value has is
 * the schema's to say (message.h). A key given twice counts last. Refuses anchors, nesting beyond
 * 100 and text over 16 MiB. An empty document is null.
 */
json_t *yaml_to_json(const char *text, size_t length, Error **err);
