#pragma once
/*
 * LVM through its command-line tools, which report in JSON. Knows volume groups and logical volumes
 * by name, and nothing of pools; driver_lvm.c gives the names. No shell: arguments are a vector.
 */
#include "server/storage/program.h"
#include <stdint.h>

/* Runs a tool: `lvm_run(&err, "lvcreate", "-y", ..., NULL)`. What it says is the error's message.
 */
int lvm_run(Error **err, const char *tool, ...) G_GNUC_NULL_TERMINATED;
/* The same with program_words(). */
int lvm_run_words(GPtrArray *words, Error **err);
/* "2.03.16(2) (2022-05-18) / 1.02.185 (2022-05-18) / 4.47.0" (g_free): tools, library, driver.
 * ERROR_UNSUPPORTED without the tools or the kernel's device-mapper. */
int lvm_version(char **ret_version, Error **err);

typedef struct LvmGroup {
	int64_t bytes, free;
	int volumes;
	char *tags; /* separated by commas */
} LvmGroup;
void lvm_group_clear(LvmGroup *group);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LvmGroup, lvm_group_clear)
/* ERROR_NOT_FOUND. ERROR_INVALID for what cannot be a name. */
int lvm_group_find(const char *name, LvmGroup *ret_group, Error **err);
/* Its devices (char *, g_free). */
int lvm_group_devices(const char *name, GPtrArray **ret_devices, Error **err);

typedef struct LvmVolume {
	char *name, *tags;
	int64_t bytes, extent; /* what it has, and in pieces of what */
	double used; /* percent of a thin volume or pool that has data; -1 for others */
	gboolean origin; /* of thick snapshots, which follow what is written to it */
} LvmVolume;
void lvm_volume_free(LvmVolume *volume);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LvmVolume, lvm_volume_free)
/* LvmVolume *, oldest first. Empty for a group that is not there. */
int lvm_volume_list(const char *group, GPtrArray **ret_volumes, Error **err);
/* ERROR_NOT_FOUND. */
int lvm_volume_find(const char *group, const char *name, LvmVolume **ret_volume, Error **err);
/* From a list that is at most a second old, unless a tool ran here since. */
gboolean lvm_volume_exists(const char *group, const char *name);
/* /dev/GROUP/NAME (g_free); there while it is active. */
char *lvm_volume_device(const char *group, const char *name);
