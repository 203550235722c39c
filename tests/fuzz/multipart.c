/* Multipart uploads: whole and byte by byte must give the same parts. */
#include "tests/fuzz/fuzz.h"
#include "server/image/multipart.h"
#include <stdlib.h>

static int on_part(void *data, const char *name, const char *filename, Error **err)
{
	g_string_append_printf(data, "[%s|%s]", name, filename);
	return 0;
}

static int on_content(void *data, const void *bytes, size_t length, Error **err)
{
	g_string_append_len(data, bytes, (gssize)length);
	return 0;
}

/* NULL when refused. */
static GString *parts_of(const uint8_t *data, size_t size, size_t step)
{
	GString *parts = g_string_new(NULL);
	MultipartSink sink = {on_part, on_content, parts};
	g_autoptr(Multipart) multipart = NULL;
	g_autoptr(Error) err = NULL;
	int result = multipart_new("multipart/form-data; boundary=b", &sink, &multipart, &err);

	for (size_t at = 0; result == 0 && at < size; at += step)
		result = multipart_feed(multipart, data + at, MIN(step, size - at), &err);
	if (result == 0)
		result = multipart_end(multipart, &err);
	if (result == 0)
		return parts;
	g_string_free(parts, TRUE);
	return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_autoptr(GString) whole = parts_of(data, size, size ? size : 1);
	g_autoptr(GString) pieces = parts_of(data, size, 1);

	if (!whole != !pieces || (whole && !g_string_equal(whole, pieces)))
		abort();
	return 0;
}
