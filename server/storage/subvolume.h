#pragma once
/*
 * Subvolumes of btrfs by the kernel's ioctls: made, snapshotted and removed together with the
 * subvolumes that a container made inside of them. Paths are trusted; what is below a subvolume is
 * the container's and is only reached with openat2 beneath it, by name and checked by number.
 */
#include "sdk/base/error.h"
#include <stdint.h>

gboolean subvolume_is(const char *path);
/* As text (g_free). */
int subvolume_uuid(const char *path, char **ret_uuid, Error **err);
/* Whether other subvolumes are inside of it. */
int subvolume_has_nested(const char *path, gboolean *ret_nested, Error **err);
/* Those inside, parents before children (SubvolumeInner *). */
typedef struct SubvolumeInner {
	char *path; /* beneath the outermost */
	gboolean read_only;
} SubvolumeInner;
void subvolume_inner_free(void *inner);
int subvolume_list_nested(const char *path, GPtrArray **ret_list, Error **err);
int subvolume_create(const char *path, Error **err);
/* A copy with all inside, of which those are read-only that were; read_only: the outermost. Whole
 * or nothing without nested ones, else see `subvolume_has_nested`. */
int subvolume_snapshot(const char *from, const char *to, gboolean read_only, Error **err);
int subvolume_set_read_only(const char *path, gboolean read_only, Error **err);
/* What a stream said it was: the next one names it as what it goes on from. */
typedef struct SubvolumeReceived {
	uint8_t uuid[16];
	uint64_t generation;
} SubvolumeReceived;
int subvolume_get_received(const char *path, SubvolumeReceived *ret, Error **err);
/* Of a writable one. */
int subvolume_set_received(const char *path, const SubvolumeReceived *received, Error **err);
/* With all inside; success when there is none. A plain directory is walked for subvolumes. */
int subvolume_delete(const char *path, Error **err);
/* New files inside are not copied on write (and not checksummed): for images of disks. */
int subvolume_set_nodatacow(const char *path, Error **err);

/* Quotas. Counting is switched on for the file system by the first limit, for it costs. bytes 0: no
 * limit. */
int subvolume_set_limit(const char *path, int64_t bytes, Error **err);
/* -1 when nothing is counted. `exclusive` goes with the subvolume; total is the limit. */
typedef struct SubvolumeUsage {
	int64_t referenced, exclusive, limit;
} SubvolumeUsage;
int subvolume_usage(const char *path, SubvolumeUsage *ret, Error **err);
/* Before a subvolume goes: kernels before 6.11 leave its group behind. */
void subvolume_forget_group(int fd);

/* The kernel's send stream, since `parent` unless NULL; both read-only. `btrfs receive` reads it.
 */
int subvolume_send(const char *path, const char *parent, int fd, Error **err);
