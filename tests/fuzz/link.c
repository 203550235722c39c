/* A machine's serial channel: whatever comes, in whatever pieces, a reader stays within it. */
#include "tests/fuzz/fuzz.h"
#include "server/guest/link.h"
#include <stdlib.h>

/* What carries bytes is told each once, whatever the pieces: the same events come either way. */
static size_t read_all(const uint8_t *data, size_t size, size_t piece)
{
	LinkReader reader = { 0 };
	size_t sum = 0;
	while (size > 0) {
		size_t n = MIN(piece, size), left = n;
		const uint8_t *in = data, *out = NULL;
		while (left > 0) {
			size_t length = 0;
			LinkEvent event = link_read(&reader, &in, &left, &out, &length);
			if (event == LINK_DATA && (out < data || out + length > data + n))
				abort();
			sum = event == LINK_DATA ? sum + length :
			    event == LINK_MORE	 ? sum :
						   sum * 31 + event;
		}
		data += n;
		size -= n;
	}
	return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (read_all(data, size, 1) != read_all(data, size, size))
		abort();
	return 0;
}
