#pragma once
/*
 * The header of a qcow2 image: how large its disk is, and whether it stands alone. For who is about
 * to give the image to qemu-img, which would open other files of the host where it does not.
 */
#include "sdk/base/error.h"
#include <stdint.h>

enum { QCOW2_HEADER = 80 };

/* Whether these bytes are the beginning of one; short files are filled up with zeros. */
gboolean qcow2_is(const uint8_t header[QCOW2_HEADER]);
/* ERROR_INVALID with the reason (no capital letter: it stands behind the caller's words) for
 * versions, sizes and features that are not taken: encryption, backing and external data files. */
int qcow2_check(const uint8_t header[QCOW2_HEADER], int64_t *ret_size, Error **err);
