#include "api/gen/model.h"

void emit_openapi(Gen *gen)
{
	gen_output(gen, "openapi.json", g_string_new("{}\n"));
}

void emit_reference(Gen *gen)
{
}
