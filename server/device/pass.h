#pragma once
/*
 * Devices whose type says which units of the host's hardware (hardware.h) they mean: puts these into
 * an instance that starts or runs, and takes them out. What is in is a list in a file, for units
 * come and go. Only for server/device.
 */
#include "server/device/device.h"

/* What a device means now; the array is the caller's (g_ptr_array_unref). None is a failure where
 * one is required. */
typedef int (*PassFind)(const DeviceHost *host, const char *name, const Config *config,
    GPtrArray **ret_units, Error **err);

int pass_start(const DeviceHost *host, const char *name, const Config *config, PassFind find,
    DeviceStart *out, Error **err);
/* Into one that runs: what is meant and not in it, and out what is in it and not meant. Undone when
 * it fails. */
int pass_update(const DeviceHost *host, const char *name, const Config *config, PassFind find,
    Error **err);
/* Everything, of one that runs. */
int pass_detach(const DeviceHost *host, const char *name, const Config *config, Error **err);
/* Of one that does not. */
void pass_stop(const DeviceHost *host, const char *name);
