#pragma once
/*
 * Volumes whose content is one image of a disk (`block`) or of a CD (`iso`): a sparse file in the
 * volume's directory, or the device of drivers that have one. They grow and never shrink.
 */
#include "server/storage/volume.h"

/* "filesystem", "block", "iso". */
const char *volume_content_name(VolumeContent content);
/* "" is a file system; ERROR_INVALID "Invalid content type". */
int volume_content_parse(const char *name, VolumeContent *ret_content, Error **err);

/* What its content consists of: of a virtual machine both. */
gboolean volume_has_tree(const Volume *volume);
gboolean volume_has_disk(const Volume *volume);
/* Its disk is a device beside what the directory shows. */
gboolean volume_has_device(const Pool *pool, const Volume *volume);
/* The file or device (g_free). */
char *volume_block_path(Pool *pool, const Volume *volume, VolumePlace place);
/* The file within a volume's directory, of drivers that keep files (g_free). */
char *volume_block_file(const char *directory, VolumeContent content);
/* For those who open it by its name: a stream of the driver's that a stranger made may have put a
 * link to a file of the host there (ERROR_INVALID). */
int volume_block_trust(const char *path, Error **err);
/* Bytes; -1 when it cannot be opened. */
int64_t volume_block_size(const char *path);
/* Bytes of the content at `path`, which the volume, a snapshot or a copy of it has there: a device
 * holds an ISO file with what fills up its last extent, so that the volume's row says it. */
int volume_block_length(
    Pool *pool, const Volume *volume, const char *path, int64_t *ret_bytes, Error **err);
/* Bytes that a disk is to have: config's size, else 10 GiB. */
int volume_block_wanted(const Config *config, int64_t *ret_bytes, Error **err);
/* Of a volume that volume_begin() has just made: config's size, else 10 GiB. */
int volume_block_create(Pool *pool, const Volume *volume, const Config *config, Error **err);
/* The same with the content of a file, which gives the size. */
int volume_block_fill(Pool *pool, const Volume *volume, int fd, Error **err);
/* Of an unfinished volume with content: config's size, which may not be smaller, else at least 10
 * GiB. */
int volume_block_fit(Pool *pool, const Volume *volume, const Config *config, Error **err);
/* ERROR_INVALID for a smaller size than it has. */
int volume_block_grow(Pool *pool, const Volume *volume, int64_t bytes, Error **err);
/* Both volumes are mounted. A file is made or resized as needed; a device is as large as the
 * source, at least. Only what differs is written, so holes stay holes. */
int volume_block_copy(const char *from, const char *to, Error **err);
/* The same from an open file or device, of which all is read. */
int volume_block_write(int in, const char *to, Error **err);
int volume_block_write_fd(int in, int out, Error **err);
/* A disk of that size, whatever is on it: a file is made or gets it, a device has to have it. */
int volume_block_make(const char *path, uint64_t bytes, Error **err);
/* The first bytes of the disk into a pipe. */
typedef struct BlockSending {
	int64_t bytes;
	gboolean (*cancelled)(void *data);
	void *data;
} BlockSending;
int volume_block_send(const char *path, const BlockSending *sending, int out, Error **err);
/* The disk becomes what is read from a pipe; a file is made and gets that size, a device has to have
 * it. Only what differs is written. More than `limit` bytes (0: none) are ERROR_TOO_LARGE. */
int volume_block_receive(int in, const char *path, uint64_t limit, Error **err);
