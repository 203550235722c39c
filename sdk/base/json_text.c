#include "sdk/base/json_text.h"
#include <stdarg.h>
#include <string.h>

static void append_escaped(GString *json, const char *text)
{
	for (const char *p = text; *p; p++) {
		unsigned char c = (unsigned char)*p;
		switch (c) {
		case '"':
			g_string_append(json, "\\\"");
			break;
		case '\\':
			g_string_append(json, "\\\\");
			break;
		case '\n':
			g_string_append(json, "\\n");
			break;
		case '\r':
			g_string_append(json, "\\r");
			break;
		case '\t':
			g_string_append(json, "\\t");
			break;
		default:
			if (c < 0x20)
				g_string_append_printf(json, "\\u%04x", c);
			else
				g_string_append_c(json, (char)c);
		}
	}
}

void json_text_append(GString *json, const char *text)
{
	g_string_append_c(json, '"');
	if (text && g_utf8_validate(text, -1, NULL)) {
		append_escaped(json, text);
	} else if (text) {
		g_autofree char *valid = g_utf8_make_valid(text, -1);
		append_escaped(json, valid);
	}
	g_string_append_c(json, '"');
}

char *json_text_object(const char *key, ...)
{
	GString *json = g_string_new("{");
	va_list args;
	va_start(args, key);
	for (const char *k = key; k; k = va_arg(args, const char *)) {
		if (json->len > 1)
			g_string_append_c(json, ',');
		json_text_append(json, k);
		g_string_append_c(json, ':');
		json_text_append(json, va_arg(args, const char *));
	}
	va_end(args);
	g_string_append_c(json, '}');
	return g_string_free(json, FALSE);
}
