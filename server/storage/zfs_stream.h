#pragma once
/*
 * The beginning of what `zfs send` writes (OpenZFS, sys/zfs_ioctl.h: dmu_replay_record with
 * drr_begin), which says what `zfs receive` is going to do. Knows bytes alone, and is for streams
 * of strangers: of what the format can say only one snapshot of one dataset is let through.
 */
#include "sdk/base/error.h"
#include <stdint.h>

enum { ZFS_STREAM_HEAD = 312 }; /* bytes */

typedef struct ZfsStream {
	gboolean zvol;
	uint64_t since; /* guid of the snapshot that it goes on from; 0: it makes a dataset */
} ZfsStream;

/* ERROR_INVALID for packages of datasets and properties (`zfs send -R`, `-p`), which have mount
 * points and much else of their own choice; for clones, whose origin is looked for in all of the
 * pool; for encrypted, redacted and resumed streams. */
int zfs_stream_parse(const uint8_t *head, ZfsStream *ret_stream, Error **err);
