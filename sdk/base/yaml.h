#pragma once
/*
 * Small YAML documents from strangers (metadata.yaml, backup.yaml) as JSON trees. Every scalar
 * becomes a string with the text as written, so that "12.10" stays what it is; a plain empty
 * scalar, ~ and null become JSON null. Anchors and aliases, more than one document, duplicate keys,
 * nesting beyond 32 and more than 100,000 nodes are refused.
 */
#include "sdk/base/error.h"
#include <jansson.h>

/* The caller checked the length. ERROR_INVALID with the line. An empty document is JSON null. */
int yaml_parse(const char *text, size_t length, json_t **ret_document, Error **err);
/* Block style; strings that would read as something else are quoted. Numbers and booleans of the
 * tree are written plain. Free with g_free. */
char *yaml_write(const json_t *document);
