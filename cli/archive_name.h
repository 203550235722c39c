#pragma once
/* How a file is called by what is in it. */
#include <stddef.h>
#include <stdint.h>

/* ".tar.gz", ".squashfs", ...; "" when its first bytes (512 are enough) say nothing. */
const char *archive_extension(const uint8_t *data, size_t length);
