#pragma once
/*
 * Folders of the host that virtual machines see, by virtiofs: one virtiofsd for each, started in a
 * mount namespace of its own that shows it the folder (helper/spawner/share.c). It outlives the
 * server and ends with QEMU, which is its only client. Only for server/device/disk*.c.
 */
#include "server/device/device.h"

/* What a virtual machine gets of one: the socket, and where it mounts it (taken). */
DevicePart *share_part(const DeviceHost *host, const char *name, char *target);
/* Whether the guest's ids are others than the files' (mount->shift). */
gboolean share_has_map(const DeviceHost *host, const DeviceMount *mount);
/* Of a folder, found as for a container. */
int share_start(const DeviceHost *host, const char *name, const DeviceMount *mount, Error **err);
/* Ends it and takes its files away; what holds the folder's volume is gone when this returns. Also
 * of one that was never there. */
void share_stop(const DeviceHost *host, const char *name);
