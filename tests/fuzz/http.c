/* HTTP/1.1 request heads, chunk lines and percent-encoding. */
#include "tests/fuzz/fuzz.h"
#include "server/rpc/http.h"
#include <stdlib.h>
#include <string.h>

static void try_head(const char *data, size_t size)
{
	g_autofree char *copy = g_memdup2(data, size);
	size_t length = http_head_length(copy, size);
	HttpHead head;

	if (length > size)
		abort();
	if (!length || http_head_parse(copy, length, &head))
		return;
	for (unsigned i = 0; i < head.n_headers; i++)
		if (!http_header(&head, head.headers[i].name))
			abort();
	http_list_has(head.query, "close");
	/* Both at once is how requests are smuggled. */
	if (head.chunked && head.content_length >= 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	g_autofree char *decoded = http_percent_decode(text, size, size & 1);
	g_autofree char *encoded = decoded ? http_percent_encode(decoded) : NULL;
	g_autofree char *again =
	    encoded ? http_percent_decode(encoded, strlen(encoded), FALSE) : NULL;
	uint64_t chunk;

	if (decoded && (!again || strcmp(decoded, again)))
		abort();
	if (http_chunk_line(text, size, &chunk) > (ssize_t)size)
		abort();
	if (size)
		try_head(text, size);
	return 0;
}
