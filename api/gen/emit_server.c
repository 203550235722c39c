/* handlers.h and methods.c: the server's side of the method table. An rpc without a handler does
 * not link. */
#include "api/gen/model.h"

static void emit_signature(GString *out, const GenMethod *method)
{
	if (gen_streams(method))
		g_string_append_printf(out,
		    "int api_%s(Request *rq, const %s *in, Stream *stream, Error **err)",
		    method->snake, method->input->c_type);
	else
		g_string_append_printf(out,
		    "int api_%s(Request *rq, const %s *in, %s *out, Error **err)", method->snake,
		    method->input->c_type, method->output->c_type);
}

static void emit_handlers(Gen *gen)
{
	GString *out = g_string_new("#pragma once\n"
				    "/* One function per rpc, written in server/api. */\n"
				    "#include \"server/rpc/method.h\"\n");

	for (guint i = 0; i < gen->files->len; i++) {
		const GenFile *file = gen->files->pdata[i];
		if (file->needed)
			g_string_append_printf(out, "#include \"%s.pb-c.h\"\n", file->base);
	}
	for (guint i = 0; i < gen->methods->len; i++) {
		const GenMethod *method = gen->methods->pdata[i];
		g_string_append_c(out, '\n');
		gen_c_comment(out, method->comment);
		emit_signature(out, method);
		g_string_append(out, ";\n");
	}
	gen_output(gen, "incus/v1/handlers.h", out);
}

/* Calling through a function pointer of another type is undefined: hence one thin function each. */
static void emit_methods(Gen *gen)
{
	GString *out = g_string_new("#include \"incus/v1/handlers.h\"\n\n");

	for (guint i = 0; i < gen->methods->len; i++) {
		const GenMethod *method = gen->methods->pdata[i];
		const char *last = gen_streams(method) ? "Stream *stream" : "void *out";
		g_string_append_printf(out,
		    "static int call_%s(Request *rq, const void *in, %s, Error **err)\n"
		    "{\n\treturn api_%s(rq, in, %s, err);\n}\n\n",
		    method->snake, last, method->snake, gen_streams(method) ? "stream" : "out");
	}
	g_string_append(out, "const Method methods[] = {\n");
	for (guint i = 0; i < gen->methods->len; i++) {
		const GenMethod *method = gen->methods->pdata[i];
		g_string_append_printf(out, "\t{.schema = &schema_methods[%u], .%s = call_%s},\n",
		    i, gen_streams(method) ? "stream" : "unary", method->snake);
	}
	if (!gen->methods->len)
		g_string_append(out, "\t{.schema = NULL},\n");
	g_string_append(out, "};\n");
	gen_output(gen, "incus/v1/methods.c", out);
}

void emit_server(Gen *gen)
{
	emit_handlers(gen);
	emit_methods(gen);
}
