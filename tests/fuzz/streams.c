/* Product documents of image servers: what is taken from one names files below the server and real
 * hashes. */
#include "tests/fuzz/fuzz.h"
#include "sdk/base/streams.h"
#include <stdlib.h>
#include <string.h>

static void check_file(const StreamsFile *file)
{
	if (file->path &&
	    (*file->path == '/' || strstr(file->path, "..") || strchr(file->path, '\n')))
		abort();
	if (file->path && strlen(file->sha256) != 64)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_autoptr(Streams) streams = NULL;
	g_autoptr(Error) err = NULL;
	Fetch server = {.url = "https://images.example"};
	Pb__Image *const *images;
	const Pb__Image *found;
	StreamsFile metadata, rootfs;
	size_t n;

	if (streams_open(&server, &streams, NULL) < 0)
		abort();
	if (streams_parse(streams, (const char *)data, size, &err) < 0)
		return 0;
	if (streams_images(streams, &images, &n, NULL) < 0)
		abort();
	for (size_t i = 0; i < n; i++) {
		if (strlen(images[i]->fingerprint) != 64 || images[i]->size < 0)
			abort();
		if (streams_files(streams, images[i]->fingerprint, &metadata, &rootfs, NULL) == 0) {
			check_file(&metadata);
			check_file(&rootfs);
		}
		for (size_t k = 0; k < images[i]->n_aliases; k++)
			streams_alias(streams, images[i]->aliases[k]->name, images[i]->architecture,
			    NULL, &found, NULL);
	}
	return 0;
}
