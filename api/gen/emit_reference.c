/* reference/NOUN.md and reference/README.md: the schema for people who read. */
#include "api/gen/model.h"
#include <string.h>

/* In a table cell a line break or a bar would end the cell. */
static char *cell(const char *text)
{
	g_auto(GStrv) parts = g_strsplit(text, "|", -1);
	char *joined = g_strjoinv("\\|", parts);

	return g_strdelimit(joined, "\n", ' ');
}

static char *type_of(const GenField *field)
{
	static const char *const scalars[] = {"", "number", "number", "int64", "uint64", "int32",
	    "uint64", "uint32", "bool", "text", "", "", "bytes", "uint32", "enum", "int32", "int64",
	    "int32", "int64"};
	const char *name = field->options->json ? "JSON"
			   : field->message	? field->message->name
						: scalars[field->proto->type];

	if (field->is_map) {
		g_autofree char *value = type_of(gen_field(field->message, "value"));
		return g_strdup_printf("map of %s", value);
	}
	return field->repeated ? g_strdup_printf("list of %s", name) : g_strdup(name);
}

static void append_fields(GString *out, const GenMessage *message)
{
	if (!message->fields->len) {
		g_string_append(out, "No fields.\n");
		return;
	}
	g_string_append(out, "| field | type | meaning |\n| --- | --- | --- |\n");
	for (guint i = 0; i < message->fields->len; i++) {
		const GenField *field = message->fields->pdata[i];
		g_autofree char *type = type_of(field), *meaning = cell(field->comment);
		const char *header = field->options->header;
		if (*header)
			g_string_append_printf(out, "| `%s` (header `%s`) | %s | %s |\n",
			    field->json_name, header, type, meaning);
		else
			g_string_append_printf(
			    out, "| `%s` | %s | %s |\n", field->json_name, type, meaning);
	}
}

static const char *kind_words(const GenMethod *method)
{
	if (method->proto->client_streaming)
		return method->proto->server_streaming ? "a stream each way"
						       : "a stream from the client";
	return method->proto->server_streaming ? "a stream from the server"
					       : "one request, one reply";
}

static void append_method(GString *out, const GenMethod *method)
{
	g_string_append_printf(out, "\n### %s\n\n%s\n\n", method->proto->name, method->comment);
	if (method->http_path)
		g_string_append_printf(out, "- REST: `%s %s`\n", method->verb, method->http_path);
	g_string_append_printf(out, "- gRPC: `%s`, %s\n- SDK: `incus_%s()`\n", method->path,
	    kind_words(method), method->snake);
	if (*method->options->entitlement)
		g_string_append_printf(out, "- Access: `%s` on %s\n", method->options->entitlement,
		    method->options->object);
	if (*method->options->etag)
		g_string_append_printf(out, "- ETag: %s\n", method->options->etag);
	if (*method->options->event)
		g_string_append_printf(out, "- Event: `%s`\n", method->options->event);
	g_string_append_printf(out, "- Reply: `%s`\n\n", method->output->name);
	append_fields(out, method->input);
}

static gboolean is_request(const Gen *gen, const GenMessage *message)
{
	for (guint i = 0; i < gen->methods->len; i++)
		if (((GenMethod *)gen->methods->pdata[i])->input == message)
			return TRUE;
	return FALSE;
}

static void append_messages(GString *out, const Gen *gen, const GenFile *file)
{
	g_string_append(out, "\n## Messages\n");
	for (guint i = 0; i < gen->messages->len; i++) {
		const GenMessage *message = gen->messages->pdata[i];
		if (message->file != file || message->map_entry || is_request(gen, message))
			continue;
		g_string_append_printf(out, "\n### %s\n\n%s\n\n", message->name, message->comment);
		append_fields(out, message);
	}
}

static void emit_page(Gen *gen, const GenFile *file)
{
	GString *out = g_string_new(NULL);
	g_autofree char *name = g_strdup_printf("reference/%s.md", file->noun);

	g_string_append_printf(out, "# %s\n\n%s\n", file->noun, file->comment);
	for (guint i = 0; i < file->services->len; i++) {
		const GenService *service = file->services->pdata[i];
		g_string_append_printf(
		    out, "\n## %s\n\n%s\n", service->proto->name, service->comment);
		for (guint k = 0; k < service->methods->len; k++)
			append_method(out, service->methods->pdata[k]);
	}
	append_messages(out, gen, file);
	gen_output(gen, name, out);
}

static void emit_index(Gen *gen)
{
	GString *out =
	    g_string_new("# Calls\n\n| call | REST | what it does |\n| --- | --- | --- |\n");

	for (guint i = 0; i < gen->methods->len; i++) {
		const GenMethod *method = gen->methods->pdata[i];
		g_autofree char *first = gen_summary(method->comment), *summary = cell(first);
		g_autofree char *anchor = g_ascii_strdown(method->proto->name, -1);
		g_string_append_printf(out, "| [%s](%s.md#%s) | ", method->proto->name,
		    method->service->file->noun, anchor);
		if (method->http_path)
			g_string_append_printf(out, "`%s %s`", method->verb, method->http_path);
		g_string_append_printf(out, " | %s |\n", summary);
	}
	gen_output(gen, "reference/README.md", out);
}

void emit_reference(Gen *gen)
{
	for (guint i = 0; i < gen->files->len; i++) {
		const GenFile *file = gen->files->pdata[i];
		if (file->needed && !file->guest && g_str_has_prefix(file->base, "incus/"))
			emit_page(gen, file);
	}
	emit_index(gen);
}
