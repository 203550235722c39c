#pragma once
/*
 * Small hand-made JSON texts (event metadata, contexts). Messages are written by json.h.
 */
#include <glib.h>

/* Appends text as a JSON string, quotes included; control characters are escaped, bytes that are
 * not UTF-8 become U+FFFD. NULL is "". */
void json_text_append(GString *json, const char *text);
/* A new object from NULL-terminated pairs key, value; values are strings. */
char *json_text_object(const char *key, ...) G_GNUC_NULL_TERMINATED;
