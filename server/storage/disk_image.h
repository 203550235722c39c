#pragma once
/*
 * Images of disks that strangers made: raw, or qcow2, which qemu-img turns into raw in a jail
 * (server/helper/disk). What would make it read other files of the host is refused before.
 */
#include "sdk/base/error.h"
#include <stdint.h>

typedef struct DiskImage {
	gboolean qcow2;
	int64_t size; /* bytes of the disk */
} DiskImage;

/* ERROR_INVALID says what is wrong: a backing file, an external data file, encryption, a size that
 * no disk has. */
int disk_image_check(int fd, DiskImage *ret_image, Error **err);
/* The same, and it is refused unless it is raw: for disks that come where nobody converts them. */
int disk_image_check_raw(int fd, Error **err);
/* Makes the raw disk `target` from the image. cancelled may be NULL. */
int disk_image_write(
    int fd, const char *target, gboolean (*cancelled)(void *data), void *data, Error **err);
/* The raw disk as qcow2, without what reads as zeroes: an open file without a name, below `folder`.
 */
int disk_image_pack(const char *disk, const char *folder, gboolean (*cancelled)(void *data),
    void *data, int *ret_fd, Error **err);
