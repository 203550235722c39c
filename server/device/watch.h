#pragma once
/*
 * Waits for files of the host's that devices are made of (required=false) to come and go. One
 * thread, started with the first path, inotify on each path's folder, or on what there is of it. Of
 * a path that is a folder, what is in it and in the folders in it counts.
 */
#include "server/device/device.h"

/* What is told of a change, on the thread; it takes the instance's lock. */
typedef void (*DeviceChanged)(
    Daemon *daemon, const char *project, const char *instance, const char *device);
/* Before the first instance is there, and after the last one's devices: nothing is told then. */
void device_watch_open(Daemon *daemon, DeviceChanged changed);
void device_watch_close(void);

/* Again for the same device: changes the path. */
void device_watch_add(const DeviceHost *host, const char *device, const char *path);
/* Missing is no failure. */
void device_watch_remove(const DeviceHost *host, const char *device);
