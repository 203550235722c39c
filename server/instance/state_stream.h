#pragma once
/*
 * The folder of a saved state as a stream of bytes: each file a line "NAME SIZE" and its bytes, and
 * a line "." at the end. A name may come again with bytes that follow those. A state is flat: plain
 * files, whose names CRIU and the spawner choose.
 */
#include "sdk/base/error.h"
#include <stdint.h>

/* Bytes that state_stream_send() will write, at most. */
int state_stream_size(int folder, uint64_t *ret_bytes, Error **err);
int state_stream_send(int folder, int fd, Error **err);
/* The same while the state is still being written: memory goes as it comes. wait() lets a while
 * pass and answers 1 once all is there, 0 while it is not, -1. */
int state_stream_follow(
    int folder, int fd, int (*wait)(void *data, Error **err), void *data, Error **err);
/* Into an empty folder. ERROR_INVALID for what no state has, ERROR_TOO_LARGE for more than `limit`
 * bytes (0: there is none). */
int state_stream_receive(int folder, int fd, uint64_t limit, Error **err);
