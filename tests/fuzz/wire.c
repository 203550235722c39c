/* Protobuf from strangers: what the scan accepts can be unpacked, written and freed. */
#include "tests/fuzz/fuzz.h"
#include "sdk/base/json.h"
#include "sdk/base/wire.h"
#include "google/protobuf/struct.pb-c.h"
#include "incus/v1/image.pb-c.h"
#include "incus/v1/instance.pb-c.h"

static void try(const ProtobufCMessageDescriptor *descriptor, const uint8_t *data, size_t size)
{
	g_autoptr(Arena) arena = arena_new();
	g_autoptr(Error) err = NULL;
	g_autoptr(GString) text = g_string_new(NULL);
	ProtobufCMessage *message;

	if (wire_check(descriptor, data, size, &err) < 0)
		return;
	message = protobuf_c_message_unpack(descriptor, arena_allocator(arena), size, data);
	if (message)
		json_write(text, message, JSON_RECURSION_ALL, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try(&pb__instances_post__descriptor, data, size);
	try(&pb__instance__descriptor, data, size);
	try(&pb__create_image_request__descriptor, data, size);
	try(&google__protobuf__value__descriptor, data, size);
	return 0;
}
