#pragma once
/*
 * The folder of a saved state as a stream of bytes: each file a line "NAME SIZE" and its bytes, and
 * a line "." at the end. A state is flat: plain files, whose names CRIU and the spawner choose.
 */
#include "sdk/base/error.h"
#include <stdint.h>

/* Bytes that state_stream_send() will write, at most. */
int state_stream_size(int folder, uint64_t *ret_bytes, Error **err);
int state_stream_send(int folder, int fd, Error **err);
/* Into an empty folder. ERROR_INVALID for what no state has, ERROR_TOO_LARGE for more than `limit`
 * bytes. */
int state_stream_receive(int folder, int fd, uint64_t limit, Error **err);
