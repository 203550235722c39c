/* JSON request bodies: what reads is written, and what is written reads back into the same text. */
#include "tests/fuzz/fuzz.h"
#include "sdk/base/json.h"
#include "incus/v1/image.pb-c.h"
#include "incus/v1/instance.pb-c.h"
#include "incus/v1/operation.pb-c.h"
#include <stdlib.h>
#include <string.h>

static GString *rewrite(const ProtobufCMessageDescriptor *descriptor, const char *text, size_t size)
{
	g_autoptr(Arena) arena = arena_new();
	g_autoptr(Error) err = NULL;
	ProtobufCMessage *message = arena_alloc(arena, descriptor->sizeof_message);
	GString *out;

	protobuf_c_message_init(descriptor, message);
	if (json_read(text, size, message, arena, &err) < 0)
		return NULL;
	out = g_string_new(NULL);
	json_write(out, message, JSON_RECURSION_ALL, 0);
	return out;
}

static void try(const ProtobufCMessageDescriptor *descriptor, const char *text, size_t size)
{
	g_autoptr(GString) first = rewrite(descriptor, text, size);
	g_autoptr(GString) second = first ? rewrite(descriptor, first->str, first->len) : NULL;

	if (first && (!second || !g_string_equal(first, second)))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try(&pb__instances_post__descriptor, (const char *)data, size);
	try(&pb__images_post__descriptor, (const char *)data, size);
	try(&pb__operation__descriptor, (const char *)data, size);
	return 0;
}
