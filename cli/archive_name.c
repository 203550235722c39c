#include "cli/archive_name.h"
#include <glib.h>
#include <string.h>

const char *archive_extension(const uint8_t *data, size_t length)
{
	static const struct {
		size_t offset;
		const char *magic;
		size_t length;
		const char *extension;
	} kinds[] = { { 0, "\x1f\x8b", 2, ".tar.gz" }, { 0, "BZh", 3, ".tar.bz2" },
		{ 0, "\xfd" "7zXZ", 5, ".tar.xz" }, { 0, "\x28\xb5\x2f\xfd", 4, ".tar.zst" },
		{ 0, "\x5d\x00\x00", 3, ".tar.lzma" }, { 0, "hsqs", 4, ".squashfs" },
		{ 0, "QFI\xfb", 4, ".qcow2" }, { 257, "ustar", 5, ".tar" } };
	for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++)
		if (length >= kinds[i].offset + kinds[i].length &&
		    memcmp(data + kinds[i].offset, kinds[i].magic, kinds[i].length) == 0)
			return kinds[i].extension;
	return "";
}
