#include "api/gen/model.h"
#include <string.h>

char *gen_literal(const char *text)
{
	GString *out;

	if (!text || !*text)
		return g_strdup("NULL");
	out = g_string_new("\"");
	for (const char *c = text; *c; c++) {
		if (*c == '"' || *c == '\\')
			g_string_append_printf(out, "\\%c", *c);
		else if (*c == '\n')
			g_string_append(out, "\\n");
		else
			g_string_append_c(out, *c);
	}
	g_string_append_c(out, '"');
	return g_string_free(out, FALSE);
}

char *gen_summary(const char *comment)
{
	const char *end = strstr(comment, ". ");
	const char *line = strstr(comment, ".\n");
	gsize length = strlen(comment);
	char *text;

	if (line && (!end || line < end))
		end = line;
	if (end)
		length = (gsize)(end - comment);
	text = g_strdelimit(g_strndup(comment, length), "\n", ' ');
	length = strlen(text);
	if (length && text[length - 1] == '.')
		text[length - 1] = '\0';
	return text;
}

void gen_c_comment(GString *out, const char *comment)
{
	g_auto(GStrv) lines = g_strsplit(comment, "\n", -1);

	if (!*comment)
		return;
	if (!lines[1]) {
		g_string_append_printf(out, "/* %s */\n", comment);
		return;
	}
	g_string_append(out, "/*\n");
	for (char **line = lines; *line; line++)
		g_string_append_printf(out, **line ? " * %s\n" : " *%s\n", *line);
	g_string_append(out, " */\n");
}

void gen_output(Gen *gen, const char *name, GString *text)
{
	Google__Protobuf__Compiler__CodeGeneratorResponse__File *file =
	    g_new(Google__Protobuf__Compiler__CodeGeneratorResponse__File, 1);

	google__protobuf__compiler__code_generator_response__file__init(file);
	file->name = g_strdup(name);
	file->content = g_string_free(text, FALSE);
	g_ptr_array_add(gen->outputs, file);
}
