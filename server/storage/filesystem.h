#pragma once
/*
 * File systems on block devices and where they are mounted: made, recognised, mounted, grown. For
 * pools on a device or loop file, and for volumes that are block devices.
 */
#include "sdk/base/error.h"
#include <stdint.h>

/* Whether the kernel has it (its module is loaded if need be). ERROR_UNSUPPORTED. */
int filesystem_supported(const char *type, Error **err);
/* What a device or file holds ("ext4", "LVM2_member", ...; g_free); NULL when it is blank. */
int filesystem_probe(const char *device, char **ret_type, Error **err);
/* The same for a new pool: ERROR_INVALID unless it is blank. */
int filesystem_check_blank(const char *device, Error **err);
/* Takes away every signature. ERROR_BUSY while it is mounted, in whatever namespace. */
int filesystem_wipe(const char *device, Error **err);
/* "ext4", "xfs" or "btrfs": others are ERROR_INVALID. Over whatever is there. label may be NULL.
 * zeroed: what was never written reads as zeroes, as on thin volumes; tables of inodes are then not
 * written, nor take room. */
int filesystem_make(
    const char *device, const char *type, const char *label, gboolean zeroed, Error **err);
/* What a volume is to be when it is first mounted at `path`: empty but for its content (ext4 makes a
 * folder), and closed to the host's users; `entered`: not to those of containers, who know a name
 * in it. */
int filesystem_open_volume(const char *path, gboolean entered, Error **err);
/* The file system, mounted at `path`, fills its grown device. */
int filesystem_grow(const char *device, const char *path, const char *type, Error **err);
/* ext4 only, not mounted; others are ERROR_INVALID. */
int filesystem_shrink(const char *device, const char *type, int64_t bytes, Error **err);

/* "noatime,compress=zstd": what mount(2) wants as flags, and the rest (g_free). text may be NULL.
 */
void filesystem_options(const char *text, unsigned long *ret_flags, char **ret_data);
int filesystem_mount(
    const char *device, const char *path, const char *type, const char *options, Error **err);
int filesystem_remount(const char *path, const char *options, Error **err);
/* A directory at another place, once: success when it is there. */
int filesystem_bind(const char *source, const char *path, Error **err);
/* Success when nothing is mounted there; ERROR_BUSY. */
int filesystem_unmount(const char *path, Error **err);
gboolean filesystem_is_mounted(const char *path);
/* What was written is on the device that it is mounted from, as whoever makes a snapshot of that
 * device needs it: device mapper freezes ext4 and xfs, but no btrfs, and zvols nothing. Success
 * when nothing is mounted there. */
int filesystem_flush(const char *path, Error **err);
