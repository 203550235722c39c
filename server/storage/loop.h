#pragma once
/*
 * Regular files as block devices, for pools that have no device of their own:
 * INCUS_DIR/disks/POOL.img. A file must never be shown by two loop devices at once (two file system
 * instances would write to it), so attaching always looks for the device that shows it already: one
 * outlives a killed server.
 */
#include "sdk/base/error.h"
#include <stdint.h>

/* What a pool gets when nobody says: a fifth of the free space, from 5 to 30 GiB, in whole GiB. */
int64_t loop_default_size(uint64_t free_bytes);
/* A new sparse file, readable by root only. ERROR_EXISTS. */
int loop_file_create(const char *file, int64_t bytes, Error **err);

typedef enum LoopLife {
	LOOP_UNTIL_UNUSED, /* it goes with its last mount */
	LOOP_UNTIL_DETACHED,
} LoopLife;
/* *ret_device (g_free) is the device that shows the file. The fd returned keeps it while nobody
 * else does. */
int loop_attach(const char *file, LoopLife life, char **ret_device, Error **err);
/* The device that shows the file, which the fd returned keeps; -1: none does. */
int loop_find(const char *file, char **ret_device);
/* Success when no device shows the file. */
int loop_detach(const char *file, Error **err);
/* Makes the file longer, and its device if it has one. */
int loop_grow(const char *file, int64_t bytes, Error **err);
