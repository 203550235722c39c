/* Templates of images: any text renders or fails, in bounded time. */
#include "sdk/base/template_render.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static json_t *context;
	if (!context)
		context = json_pack("{s:s,s:{s:s,s:s},s:{s:s},s:{s:s},s:[s,s]}", "trigger",
		    "create", "container", "name", "c1", "privileged", "false", "config",
		    "user.foo", "bar", "properties", "os", "Busybox", "list", "a", "b");
	GString *out = g_string_new("");
	Error *err = NULL;
	if (template_render((const char *)data, size, context, out, &err) < 0) {
		if (!err || out->len > 0)
			abort();
		error_free(err);
	}
	g_string_free(out, TRUE);
	return 0;
}
