#pragma once
/*
 * ZFS through `zfs` and `zpool`, in their scripted output (-Hp). Knows datasets and pools by name,
 * and nothing of storage pools; driver_zfs.c gives the names. No shell: arguments are a vector.
 */
#include "sdk/base/error.h"
#include <stdint.h>

/* What changes something: `zfs_run(&err, "zfs", "destroy", name, NULL)`. */
int zfs_run(Error **err, const char *tool, ...) G_GNUC_NULL_TERMINATED;
int zfs_run_vector(const char *const *argv, Error **err);
/* `zfs destroy`, how "-r", "-d" or NULL. udev may be looking at a zvol or its snapshot that has
 * just come or changed its name: that is over soon, and tried again. */
int zfs_remove(const char *how, const char *name, Error **err);
/* Its standard input or output is a stream; 0: none. */
int zfs_stream(const char *const *argv, int input, int output, Error **err);
/* Reads all names below `root` at once, for who will ask for most of them now (a start): the
 * answers that follow are of that, until something is changed here, or for some seconds. */
int zfs_look(const char *root, Error **err);
/* What the last look saw with this in its name (g_strfreev). */
char **zfs_seen(const char *part);
/* The kernel module's version (g_free). ERROR_UNSUPPORTED, saying what is missing. */
int zfs_version(char **ret_version, Error **err);

/* ERROR_INVALID for what cannot name a dataset (pool/a/b), or looks like an option. */
int zfs_name_check(const char *name, Error **err);
/* A dataset, volume or snapshot. */
gboolean zfs_exists(const char *name);
gboolean zfs_pool_exists(const char *name);
/* The value of a property, numbers exactly (g_free); "-" is the tools' word for none. Of several
 * ("a,b") a line each. */
int zfs_get(const char *name, const char *property, char **ret_value, Error **err);
/* Whether the dataset itself, not one above it, has this value. */
gboolean zfs_is_set(const char *name, const char *property, const char *value);
/* What is right below: datasets and volumes, or snapshots (their names after the @), oldest first.
 * char *, to free. Empty when `name` is not there. */
int zfs_children(const char *name, GPtrArray *ret_names, Error **err);
int zfs_snapshots(const char *name, GPtrArray *ret_names, Error **err);
/* /dev/zvol/NAME (g_free), once udev has made it. */
int zfs_device(const char *name, char **ret_device, Error **err);
