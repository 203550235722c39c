/* incus/v1/NOUN.h, incus/v1/calls.h and calls.c: one function per rpc over
 * sdk/include/incus/call.h. */
#include "api/gen/model.h"
#include "api/gen/name.h"
#include <string.h>

/* Filled by the client or of no use without REST: never an argument of its own. */
static gboolean is_common(const GenField *field)
{
	static const char *const names[] = {
	    "project", "target", "recursion", "filter", "all_projects", NULL};

	return g_strv_contains(names, field->proto->name);
}

static const char *scalar_type(const GenField *field)
{
	switch (field->proto->type) {
	case GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_STRING:
		return "const char *";
	case GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_BOOL:
		return "bool ";
	case GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_INT32:
		return "int32_t ";
	case GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_UINT32:
		return "uint32_t ";
	case GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_INT64:
		return "int64_t ";
	case GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_UINT64:
		return "uint64_t ";
	default:
		return NULL;
	}
}

/* The fields of a request that are arguments, NULL when the request is passed whole. */
static GPtrArray *flat_fields(const GenMethod *method)
{
	GPtrArray *flat = g_ptr_array_new();

	for (guint i = 0; i < method->input->fields->len; i++) {
		GenField *field = method->input->fields->pdata[i];
		if (is_common(field))
			continue;
		if (field->repeated || field->proto->has_oneof_index || !scalar_type(field))
			return NULL;
		g_ptr_array_add(flat, field);
	}
	return flat->len <= 2 && !gen_streams(method) ? flat : NULL;
}

static gboolean returns_nothing(const GenMethod *method)
{
	return !strcmp(method->output->full_name, ".google.protobuf.Empty");
}

static char *sdk_type(const GenMessage *message)
{
	g_autofree char *lower = name_lower("", message->name);

	return g_strconcat("incus_", lower, NULL);
}

static void emit_types(GString *out, const Gen *gen, const GenFile *file)
{
	for (guint i = 0; i < gen->messages->len; i++) {
		const GenMessage *message = gen->messages->pdata[i];
		if (message->file != file || message->map_entry || strchr(message->name, '.'))
			continue;
		g_autofree char *type = sdk_type(message);
		g_autofree char *upper = g_ascii_strup(type, -1);
		g_autofree char *init = g_ascii_strup(message->c_lower, -1);
		g_string_append_c(out, '\n');
		gen_c_comment(out, message->comment);
		g_string_append_printf(out,
		    "typedef %s %s;\n#define %s_INIT %s__INIT\n"
		    "static inline void %s_free(%s "
		    "*message)\n{\n\tincus_message_free(message);\n}\n",
		    message->c_type, type, upper, init, type, type);
	}
}

static void emit_arguments(GString *out, const GPtrArray *flat)
{
	for (guint i = 0; i < flat->len; i++) {
		const GenField *field = flat->pdata[i];
		g_string_append_printf(out, "%s%s, ", scalar_type(field), field->c_name);
	}
}

static void emit_whole(GString *out, const GenMethod *method, const char *suffix)
{
	g_autofree char *in = sdk_type(method->input), *reply = sdk_type(method->output);

	g_string_append_printf(
	    out, "int incus_%s%s(incus_client *client, const %s *in, ", method->snake, suffix, in);
	if (gen_streams(method))
		g_string_append(out, "incus_stream **ret, ");
	else if (!returns_nothing(method))
		g_string_append_printf(out, "%s **ret, ", reply);
	g_string_append(out, "incus_error **err)");
}

static void emit_flat(GString *out, const GenMethod *method, const GPtrArray *flat)
{
	g_autofree char *reply = sdk_type(method->output);

	g_string_append_printf(out, "int incus_%s(incus_client *client, ", method->snake);
	emit_arguments(out, flat);
	if (!returns_nothing(method))
		g_string_append_printf(out, "%s **ret, ", reply);
	g_string_append(out, "incus_error **err)");
}

static void emit_stream_parts(GString *out, const GenMethod *method)
{
	g_autofree char *in = sdk_type(method->input), *reply = sdk_type(method->output);

	if (method->proto->client_streaming)
		g_string_append_printf(out,
		    "static inline int incus_%s_send(incus_stream *stream, const %s *message, "
		    "incus_error **err)\n"
		    "{\n\treturn incus_stream_send(stream, message, err);\n}\n",
		    method->snake, in);
	if (method->proto->server_streaming)
		g_string_append_printf(out,
		    "static inline int incus_%s_recv(incus_stream *stream, int timeout_ms, %s "
		    "**ret, incus_error **err)\n"
		    "{\n\treturn incus_stream_recv(stream, timeout_ms, (void **)ret, err);\n}\n",
		    method->snake, reply);
	else if (!returns_nothing(method))
		g_string_append_printf(out,
		    "static inline int incus_%s_finish(incus_stream *stream, %s **ret, incus_error "
		    "**err)\n"
		    "{\n\treturn incus_stream_finish(stream, (void **)ret, err);\n}\n",
		    method->snake, reply);
	else
		g_string_append_printf(out,
		    "static inline int incus_%s_finish(incus_stream *stream, incus_error **err)\n"
		    "{\n\treturn incus_stream_finish(stream, NULL, err);\n}\n",
		    method->snake);
}

static void emit_prototypes(GString *out, const GenMethod *method)
{
	g_autoptr(GPtrArray) flat = flat_fields(method);

	g_string_append_c(out, '\n');
	gen_c_comment(out, method->comment);
	if (flat) {
		emit_flat(out, method, flat);
		g_string_append(out, ";\n");
	}
	emit_whole(out, method, flat ? "_with" : "");
	g_string_append(out, ";\n");
	if (gen_streams(method))
		emit_stream_parts(out, method);
}

static void emit_imports(GString *out, const Gen *gen, const GenFile *file)
{
	for (size_t i = 0; i < file->proto->n_dependency; i++)
		for (guint k = 0; k < gen->files->len; k++) {
			const GenFile *other = gen->files->pdata[k];
			if (!strcmp(other->proto->name, file->proto->dependency[i]) &&
			    other->needed && g_str_has_prefix(other->base, "incus/"))
				g_string_append_printf(out, "#include <%s.h>\n", other->base);
		}
}

static void emit_header(Gen *gen, const GenFile *file)
{
	GString *out = g_string_new("#pragma once\n/*\n"
				    " * Generated from the schema. A request with no more than two "
				    "plain fields beside project,\n"
				    " * target, recursion, filter and all_projects is passed as "
				    "those fields, and whole to the\n"
				    " * function ending in _with; any other request is passed "
				    "whole. Empty project and target are\n"
				    " * the client's. A reply is the caller's, to be freed with "
				    "its _free function; `ret` may be\n"
				    " * NULL. 0, or -1 and *err.\n */\n");
	g_autofree char *name = g_strconcat(file->base, ".h", NULL);

	g_string_append_printf(
	    out, "#include <incus/call.h>\n#include \"%s.pb-c.h\"\n", file->base);
	emit_imports(out, gen, file);
	g_string_append(out, "\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n");
	emit_types(out, gen, file);
	for (guint i = 0; i < file->services->len; i++) {
		const GenService *service = file->services->pdata[i];
		for (guint k = 0; k < service->methods->len; k++)
			emit_prototypes(out, service->methods->pdata[k]);
	}
	g_string_append(out, "\n#ifdef __cplusplus\n}\n#endif\n");
	gen_output(gen, name, out);
}

static void emit_flat_body(GString *out, const GenMethod *method, const GPtrArray *flat)
{
	g_autofree char *init = g_ascii_strup(method->input->c_lower, -1);

	emit_flat(out, method, flat);
	g_string_append_printf(out, "\n{\n\t%s in = %s__INIT;\n\n", method->input->c_type, init);
	for (guint i = 0; i < flat->len; i++) {
		const GenField *field = flat->pdata[i];
		if (field->proto->type ==
		    GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_STRING)
			g_string_append_printf(out, "\tif (%s)\n\t\tin.%s = (char *)%s;\n",
			    field->c_name, field->c_name, field->c_name);
		else
			g_string_append_printf(
			    out, "\tin.%s = %s;\n", field->c_name, field->c_name);
	}
	g_string_append_printf(out, "\treturn incus_%s_with(client, &in, %serr);\n}\n\n",
	    method->snake, returns_nothing(method) ? "" : "ret, ");
}

static void emit_bodies(GString *out, const GenMethod *method, unsigned index)
{
	g_autoptr(GPtrArray) flat = flat_fields(method);

	emit_whole(out, method, flat ? "_with" : "");
	if (gen_streams(method))
		g_string_append_printf(out,
		    "\n{\n\treturn incus_stream_open(client, &schema_methods[%u], in, ret, "
		    "err);\n}\n\n",
		    index);
	else
		g_string_append_printf(out,
		    "\n{\n\treturn incus_call_unary(client, &schema_methods[%u], in, %s, "
		    "err);\n}\n\n",
		    index, returns_nothing(method) ? "NULL" : "(void **)ret");
	if (flat)
		emit_flat_body(out, method, flat);
}

void emit_sdk(Gen *gen)
{
	GString *source =
	    g_string_new("#include \"incus/v1/calls.h\"\n#include \"sdk/base/schema.h\"\n\n");
	GString *all = g_string_new("#pragma once\n/* Every call of the schema. */\n");

	for (guint i = 0; i < gen->files->len; i++) {
		const GenFile *file = gen->files->pdata[i];
		if (!file->needed || file->guest || !g_str_has_prefix(file->base, "incus/"))
			continue;
		emit_header(gen, file);
		g_string_append_printf(all, "#include <%s.h>\n", file->base);
	}
	for (guint i = 0; i < gen->methods->len; i++)
		emit_bodies(source, gen->methods->pdata[i], i);
	gen_output(gen, "incus/v1/calls.h", all);
	gen_output(gen, "incus/v1/calls.c", source);
}
