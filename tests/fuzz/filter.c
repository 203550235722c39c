/* Filters of lists, run against an instance. */
#include "tests/fuzz/fuzz.h"
#include "sdk/base/filter.h"
#include "sdk/base/json.h"
#include "incus/v1/instance.pb-c.h"
#include <string.h>

static const char instance_text[] = "{\"name\":\"c1\",\"config\":{\"image.os\":\"Debian\",\"user."
				    "x\":\"a b\"},\"status\":\"Running\","
				    "\"devices\":{\"eth0\":{\"nictype\":\"bridged\"}},\"profiles\":"
				    "[\"default\"],\"ephemeral\":true}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_autofree char *text = g_strndup((const char *)data, size);
	g_autoptr(Arena) arena = arena_new();
	g_autoptr(Error) err = NULL;
	g_autoptr(Filter) filter = NULL;
	Pb__Instance *instance = arena_message(arena, Pb__Instance, pb__instance);

	/* Text from the front doors is UTF-8 without NUL, and heads are not longer than this. */
	if (size > 4096 || !g_utf8_validate(text, -1, NULL) ||
	    filter_parse(text, &filter, &err) < 0)
		return 0;
	if (json_read(instance_text, strlen(instance_text), instance, arena, &err) == 0)
		filter_match(filter, instance);
	filter_uses(filter, "state");
	return 0;
}
