/* metadata.yaml of images: what is accepted is written and accepted again. */
#include "tests/fuzz/fuzz.h"
#include "server/image/metadata.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_autoptr(Arena) arena = arena_new();
	g_autoptr(Error) err = NULL;
	Pb__ImageMetadata *metadata = NULL;
	g_autofree char *text = NULL;

	if (image_metadata_parse((const char *)data, size, arena, &metadata, &err) < 0)
		return 0;
	text = image_metadata_write(metadata);
	if (image_metadata_parse(text, strlen(text), arena, &metadata, &err) < 0)
		abort();
	return 0;
}
