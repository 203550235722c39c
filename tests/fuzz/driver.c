/* Without libFuzzer: runs a corpus through a target, whole, cut short, and with single bytes
 * changed. */
#include "tests/fuzz/fuzz.h"
#include "sdk/base/own.h"
#include <stdlib.h>
#include <string.h>

enum { WHOLE_MAX = 4096 }; /* longer inputs are only run whole: cuts are quadratic */

/* On the heap in its exact size, so that the sanitizer sees reads beyond the end. */
static void run(const char *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	memcpy(copy, data, size);
	LLVMFuzzerTestOneInput(copy, size);
	free(copy);
}

static void run_variants(char *data, size_t size)
{
	static const char changes[] = {'\0', '\xff', '"', '{', '\n', '%', ':'};

	run(data, size);
	for (size_t i = 0; size <= WHOLE_MAX && i < size; i++) {
		char before = data[i];
		run(data, i);
		data[i] = changes[i % sizeof(changes)];
		run(data, size);
		data[i] = before;
	}
}

int main(int argc, char **argv)
{
	const char *name;
	unsigned n = 0;

	for (int i = 1; i < argc; i++) {
		g_autoptr(GDir) dir = g_dir_open(argv[i], 0, NULL);
		while (dir && (name = g_dir_read_name(dir))) {
			g_autofree char *path = g_build_filename(argv[i], name, NULL);
			g_autofree char *data = NULL;
			gsize size;
			if (!g_file_get_contents(path, &data, &size, NULL))
				return 1;
			run_variants(data, size);
			n++;
		}
	}
	printf("%u inputs\n", n);
	return n ? 0 : 1;
}
