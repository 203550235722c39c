#pragma once
/* Disks of virtual machines. Only for server/device/disk*.c. */
#include "server/device/device.h"
#include "server/storage/pool.h"

gboolean disk_is_root(const Config *config);
/* Whether the server makes what is on it (server/device/drive.h). */
gboolean disk_is_drive(const Config *config);
/* Whether its source must be there ("required", "optional"). */
gboolean disk_required(const Config *config);
/* A custom volume that a virtual machine can have: as a folder, or as a disk. */
int disk_part_check(
    Pool *pool, const char *project, const char *volume, gboolean folder, Error **err);
/* The disk, mounted and counted as disk_stop() expects; NULL without error when its source is
 * missing and may be. */
int disk_part_start(const DeviceHost *host, const char *name, const Config *config,
    DevicePart **ret_part, Error **err);
