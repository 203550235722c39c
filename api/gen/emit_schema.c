/* schema.c: JSON tables, the method table, and the descriptor set, as sdk/base/schema.h wants them;
 * agent_schema.[ch]: the method table of incus-agent. */
#include "api/gen/model.h"
#include <string.h>

static const char *well_known(const GenMessage *message)
{
	static const char *const names[][2] = { { ".google.protobuf.Timestamp", "JSON_TIMESTAMP" },
		{ ".incus.v1.Time", "JSON_TIMESTAMP" },
		{ ".google.protobuf.Empty", "JSON_EMPTY" } };

	for (unsigned i = 0; i < G_N_ELEMENTS(names); i++)
		if (!strcmp(names[i][0], message->full_name))
			return names[i][1];
	for (guint i = 0; i < message->fields->len; i++)
		if (((GenField *)message->fields->pdata[i])->options->flatten)
			return "JSON_FLATTEN";
	return "JSON_PLAIN";
}

static void emit_field(GString *out, const GenField *field)
{
	g_autofree char *json_name = gen_literal(field->json_name);
	g_autofree char *header = gen_literal(field->options->header);

	g_string_append_printf(out,
	    "\t{%s, %s, .is_map = %d, .omit_empty = %d, .json = %d, "
	    ".secret = %d, .data = %d, .recursion = %u},\n",
	    json_name, header, field->is_map, field->options->omit_empty, field->options->json,
	    field->options->secret, field->options->data, field->options->recursion);
}

static unsigned position(const GPtrArray *fields, const GenField *field)
{
	guint index = 0;

	g_ptr_array_find((GPtrArray *)fields, field, &index);
	return index;
}

static void emit_message_tables(GString *out, const GenMessage *message)
{
	if (!message->fields->len)
		return;
	g_string_append_printf(out, "static const JsonField %s__json[] = {\n", message->c_lower);
	for (guint i = 0; i < message->by_number->len; i++)
		emit_field(out, message->by_number->pdata[i]);
	g_string_append_printf(out, "};\nstatic const uint16_t %s__order[] = {", message->c_lower);
	for (guint i = 0; i < message->fields->len; i++)
		g_string_append_printf(out, i ? ", %u" : "%u",
		    position(message->by_number, message->fields->pdata[i]));
	g_string_append(out, "};\n\n");
}

static void emit_messages(GString *out, const Gen *gen)
{
	for (guint i = 0; i < gen->messages->len; i++)
		emit_message_tables(out, gen->messages->pdata[i]);
	g_string_append(out, "const JsonMessage schema_messages[] = {\n");
	for (guint i = 0; i < gen->messages->len; i++) {
		const GenMessage *message = gen->messages->pdata[i];
		if (message->fields->len)
			g_string_append_printf(out,
			    "\t{&%s__descriptor, %s__json, %s__order, %s},\n", message->c_lower,
			    message->c_lower, message->c_lower, well_known(message));
		else
			g_string_append_printf(out, "\t{&%s__descriptor, NULL, NULL, %s},\n",
			    message->c_lower, well_known(message));
	}
	g_string_append_printf(
	    out, "};\nconst unsigned schema_n_messages = %u;\n\n", gen->messages->len);
}

static void emit_pair(GString *out, const char *name, const char *text)
{
	g_autofree char *literal = gen_literal(text);

	if (text && *text)
		g_string_append_printf(out, " .%s = %s,", name, literal);
}

static void emit_method(GString *out, const GenMethod *method)
{
	g_string_append_printf(out,
	    "\t{.name = \"%s\", .path = \"%s\",\n\t .kind = %s, .input = &%s__descriptor, "
	    ".output = &%s__descriptor,\n\t .envelope = %s,",
	    method->proto->name, method->path, gen_kind(method), method->input->c_lower,
	    method->output->c_lower, gen_envelope(method));
	emit_pair(out, "http_verb", method->verb);
	emit_pair(out, "http_path", method->http_path);
	emit_pair(out, "http_body", method->body);
	emit_pair(out, "object", method->options->object);
	emit_pair(out, "entitlement", method->options->entitlement);
	emit_pair(out, "etag", method->options->etag);
	emit_pair(out, "location", method->options->location);
	emit_pair(out, "event", method->options->event);
	emit_pair(out, "upgrade", method->options->upgrade);
	emit_pair(out, "group", method->options->group);
	emit_pair(out, "content_type", method->options->content_type);
	g_string_append(out, "},\n");
}

static void emit_methods(GString *out, const GPtrArray *methods, const char *table)
{
	g_string_append_printf(out, "const SchemaMethod schema_%s[] = {\n", table);
	for (guint i = 0; i < methods->len; i++)
		emit_method(out, methods->pdata[i]);
	if (!methods->len)
		g_string_append(out, "\t{.name = NULL},\n");
	g_string_append(out, "};\n");
}

/* Calls of the agent are named by number: AGENT_GET_STATE is the row of GetState. */
static void emit_agent(Gen *gen)
{
	GString *header = g_string_new("#pragma once\n/* The calls of incus-agent. */\n"
				       "#include \"sdk/base/schema.h\"\n\nenum {\n");
	GString *source = g_string_new("#include \"incus/v1/agent_schema.h\"\n");

	for (guint i = 0; i < gen->guest_methods->len; i++) {
		const GenMethod *method = gen->guest_methods->pdata[i];
		g_autofree char *upper = g_ascii_strup(method->snake, -1);
		g_string_append_printf(header, "\tAGENT_%s,\n", upper);
	}
	g_string_append(header, "\tAGENT_METHODS\n};\n\n"
				"extern const SchemaMethod schema_agent_methods[];\n");
	for (guint i = 0; i < gen->files->len; i++) {
		const GenFile *file = gen->files->pdata[i];
		if (file->needed)
			g_string_append_printf(source, "#include \"%s.pb-c.h\"\n", file->base);
	}
	emit_methods(source, gen->guest_methods, "agent_methods");
	gen_output(gen, "incus/v1/agent_schema.h", header);
	gen_output(gen, "incus/v1/agent_schema.c", source);
}

/* Sources, comments and the agent's services stay out: the set is for reflection, and small. */
static GString *descriptor_set(const Gen *gen)
{
	Google__Protobuf__FileDescriptorSet set = GOOGLE__PROTOBUF__FILE_DESCRIPTOR_SET__INIT;
	GString *bytes = g_string_new(NULL);

	set.n_file = gen->request->n_proto_file;
	set.file = gen->request->proto_file;
	for (size_t i = 0; i < set.n_file; i++) {
		set.file[i]->source_code_info = NULL;
		if (((GenFile *)gen->files->pdata[i])->guest)
			set.file[i]->n_service = 0;
	}
	g_string_set_size(bytes, google__protobuf__file_descriptor_set__get_packed_size(&set));
	google__protobuf__file_descriptor_set__pack(&set, (uint8_t *)bytes->str);
	return bytes;
}

static void emit_descriptor_set(Gen *gen)
{
	GString *out = g_string_new("#include \"sdk/base/schema.h\"\n\n"
				    "const uint8_t schema_descriptor_set[] = {");
	GString *bytes = descriptor_set(gen);

	for (gsize i = 0; i < bytes->len; i++)
		g_string_append_printf(
		    out, i % 24 ? "%u," : "\n\t%u,", (unsigned)(uint8_t)bytes->str[i]);
	g_string_append_printf(out,
	    "\n};\nconst unsigned schema_descriptor_set_size = %" G_GSIZE_FORMAT ";\n", bytes->len);
	g_string_free(bytes, TRUE);
	gen_output(gen, "incus/v1/descriptor_set.c", out);
}

void emit_schema(Gen *gen)
{
	GString *out = g_string_new("#include \"sdk/base/schema.h\"\n");

	for (guint i = 0; i < gen->files->len; i++) {
		const GenFile *file = gen->files->pdata[i];
		if (file->needed)
			g_string_append_printf(out, "#include \"%s.pb-c.h\"\n", file->base);
	}
	g_string_append_c(out, '\n');
	emit_messages(out, gen);
	emit_methods(out, gen->methods, "methods");
	g_string_append_printf(
	    out, "const unsigned schema_n_methods = %u;\n", gen->methods->len);
	gen_output(gen, "incus/v1/schema.c", out);
	emit_agent(gen);
	emit_descriptor_set(gen);
}
