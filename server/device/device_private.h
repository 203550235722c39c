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
