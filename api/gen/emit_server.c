/* handlers.h and methods.c: the server's side of the method table; agent_handlers.h and
 * agent_methods.c: that of incus-agent. An rpc without a handler does not link. */
#include "api/gen/model.h"

/* One of the two programs that serve calls. */
typedef struct Side {
	GPtrArray *methods;
	gboolean guest;
	const char *files;  /* before "handlers.h" */
	const char *prefix; /* of handlers */
	const char *table;  /* of handlers; that of the schema is "schema_" and this */
} Side;

static void emit_signature(GString *out, const Side *side, const GenMethod *method)
{
	if (gen_streams(method))
		g_string_append_printf(out,
		    "int %s_%s(Request *rq, const %s *in, Stream *stream, Error **err)",
		    side->prefix, method->snake, method->input->c_type);
	else
		g_string_append_printf(out,
		    "int %s_%s(Request *rq, const %s *in, %s *out, Error **err)", side->prefix,
		    method->snake, method->input->c_type, method->output->c_type);
}

static void emit_handlers(Gen *gen, const Side *side)
{
	g_autofree char *name = g_strdup_printf("incus/v1/%shandlers.h", side->files);
	GString *out = g_string_new(NULL);

	g_string_append_printf(out,
	    "#pragma once\n/* One function per rpc, written in %s. */\n"
	    "#include \"server/rpc/method.h\"\n",
	    side->guest ? "server/agent" : "server/api");
	for (guint i = 0; i < gen->files->len; i++) {
		const GenFile *file = gen->files->pdata[i];
		if (file->needed && (!file->guest || side->guest))
			g_string_append_printf(out, "#include \"%s.pb-c.h\"\n", file->base);
	}
	for (guint i = 0; i < side->methods->len; i++) {
		const GenMethod *method = side->methods->pdata[i];
		g_string_append_c(out, '\n');
		gen_c_comment(out, method->comment);
		emit_signature(out, side, method);
		g_string_append(out, ";\n");
	}
	gen_output(gen, name, out);
}

/* Calling through a function pointer of another type is undefined: hence one thin function each. */
static void emit_methods(Gen *gen, const Side *side)
{
	g_autofree char *name = g_strdup_printf("incus/v1/%smethods.c", side->files);
	GString *out = g_string_new(NULL);

	g_string_append_printf(out, "#include \"incus/v1/%shandlers.h\"\n%s\n", side->files,
	    side->guest ? "#include \"incus/v1/agent_schema.h\"\n" : "");
	for (guint i = 0; i < side->methods->len; i++) {
		const GenMethod *method = side->methods->pdata[i];
		const char *last = gen_streams(method) ? "Stream *stream" : "void *out";
		g_string_append_printf(out,
		    "static int call_%s(Request *rq, const void *in, %s, Error **err)\n"
		    "{\n\treturn %s_%s(rq, in, %s, err);\n}\n\n",
		    method->snake, last, side->prefix, method->snake,
		    gen_streams(method) ? "stream" : "out");
	}
	g_string_append_printf(out, "const Method %s[] = {\n", side->table);
	for (guint i = 0; i < side->methods->len; i++) {
		const GenMethod *method = side->methods->pdata[i];
		g_string_append_printf(out, "\t{.schema = &schema_%s[%u], .%s = call_%s},\n",
		    side->table, i, gen_streams(method) ? "stream" : "unary", method->snake);
	}
	if (!side->methods->len)
		g_string_append(out, "\t{.schema = NULL},\n");
	g_string_append(out, "};\n");
	gen_output(gen, name, out);
}

void emit_server(Gen *gen)
{
	const Side sides[] = {{gen->methods, FALSE, "", "api", "methods"},
	    {gen->guest_methods, TRUE, "agent_", "agent", "agent_methods"}};

	for (guint i = 0; i < G_N_ELEMENTS(sides); i++) {
		emit_handlers(gen, &sides[i]);
		emit_methods(gen, &sides[i]);
	}
}
