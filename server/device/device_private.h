#pragma once
/* What types of devices share. Only for server/device. */
#include "server/device/device.h"
#include "sdk/base/log.h"

/* "NAME", or "PROJECT_NAME" outside of the project "default": the instance's in names of files and
 * chains. */
char *device_host_file_name(const DeviceHost *host);

/* Files that a device needs while its instance runs: "KIND.DEVICE" in a folder of the instance's
 * below "devices". `part` may hold slashes. */
char *device_file_path(const DeviceHost *host, const char *kind, const char *part);
/* The same, with the folder made. */
int device_file_make(
    const DeviceHost *host, const char *kind, const char *part, char **ret_path, Error **err);
/* And the folder with the last one. Missing is no failure. */
void device_file_remove(const char *path);

/* unix.c: "uid", "gid" and "mode" are of nodes, which containers alone have. */
int device_check_owner_keys(const DeviceHost *host, const Config *config, Error **err);
/* unix.c: a device node with the owner and mode that a device's configuration gives it inside
 * (0660), made on the host at `path`, with its folder. */
int unix_node_make(
    const DeviceHost *host, const Config *config, const char *path, dev_t device, Error **err);
DeviceMount *unix_node_mount(const char *node, const char *target);
/* "c 189:2 rwm" (g_free). */
char *unix_node_rule(const Config *config, dev_t device);
