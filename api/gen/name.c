#include "api/gen/name.h"
#include <string.h>

char *name_snake(const char *camel)
{
	GString *out = g_string_new(NULL);
	gboolean was_upper = TRUE;

	for (const char *c = camel; *c; c++) {
		gboolean upper = g_ascii_isupper(*c);
		if (upper && !was_upper)
			g_string_append_c(out, '_');
		g_string_append_c(out, g_ascii_tolower(*c));
		was_upper = upper;
	}
	return g_string_free(out, FALSE);
}

char *name_camel(const char *snake)
{
	GString *out = g_string_new(NULL);
	gboolean next_upper = TRUE;

	for (const char *c = snake; *c; c++) {
		if (*c == '_') {
			next_upper = TRUE;
			continue;
		}
		g_string_append_c(out, next_upper ? g_ascii_toupper(*c) : *c);
		next_upper = FALSE;
	}
	return g_string_free(out, FALSE);
}

static char *join(const char *package, const char *name, char *(*piece)(const char *))
{
	g_autofree char *full = g_strconcat(package, ".", name, NULL);
	g_auto(GStrv) parts = g_strsplit(full, ".", -1);
	GString *out = g_string_new(NULL);

	for (char **part = parts; *part; part++) {
		if (!**part)
			continue;
		g_autofree char *text = piece(*part);
		if (out->len)
			g_string_append(out, "__");
		g_string_append(out, text);
	}
	return g_string_free(out, FALSE);
}

char *name_type(const char *package, const char *name)
{
	return join(package, name, name_camel);
}

char *name_lower(const char *package, const char *name)
{
	return join(package, name, name_snake);
}

char *name_field(const char *field)
{
	static const char *const reserved[] = {"and", "and_eq", "asm", "auto", "bitand", "bitor",
	    "bool", "break", "case", "catch", "char", "class", "compl", "const", "const_cast",
	    "continue", "default", "delete", "do", "double", "dynamic_cast", "else", "enum",
	    "explicit", "extern", "false", "float", "for", "friend", "goto", "if", "inline", "int",
	    "long", "mutable", "namespace", "new", "not", "not_eq", "operator", "or", "or_eq",
	    "private", "protected", "public", "register", "reinterpret_cast", "return", "short",
	    "signed", "sizeof", "static", "static_cast", "struct", "switch", "template", "this",
	    "throw", "true", "try", "typedef", "typeid", "typename", "union", "unsigned", "using",
	    "virtual", "void", "volatile", "wchar_t", "while", "xor", "xor_eq", NULL};
	g_autofree char *lower = g_ascii_strdown(field, -1);

	if (g_strv_contains(reserved, lower))
		return g_strconcat(lower, "_", NULL);
	return g_steal_pointer(&lower);
}
