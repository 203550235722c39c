#pragma once
/*
 * The memory of a virtual machine on its way to disk and back: zstd, by as many threads as there
 * are CPUs.
 */
#include "sdk/base/error.h"

/* All of `in`, from its start, packed into `out`. */
int state_pack(int in, int out, Error **err);
/* The other way round, into a pipe or file; what is not packed is passed on as it is. A reader that
 * goes is an error (EPIPE). */
int state_unpack(int in, int out, Error **err);
/* What comes, until the end, as it is. */
int state_copy(int in, int out, Error **err);
