#pragma once
/*
 * Where a pool has its data, as its `source` says, for the drivers that have a choice: a loop file
 * of its own, a block device, a directory, or the name of something that the driver's tools know.
 */
#include "server/storage/driver.h"

typedef enum SourceKind { SOURCE_LOOP, SOURCE_DEVICE, SOURCE_DIRECTORY, SOURCE_NAME } SourceKind;
SourceKind source_kind(const DriverPool *pool);

/* For pool_prepare(): checks `source` and `size` and fills in what a loop file needs (at least
 * `minimum` bytes). A device must be blank, or source.wipe allows to overwrite it. */
int source_prepare(DriverPool *pool, int64_t minimum, Error **err);
/* For pool_create(): makes the loop file, or wipes the device if that was asked for. */
int source_create(DriverPool *pool, Error **err);
/* Once a file system or label is on the device: `source` becomes its name by UUID, where udev gives
 * one, for /dev/sdb may be another disk tomorrow. */
void source_settle(DriverPool *pool);
/* Its block device (g_free): that of the loop file, attached for as long as it is in use or the fd
 * is open, or the device itself. ERROR_NOT_FOUND when it is gone. */
int source_open(const DriverPool *pool, char **ret_device, Error **err);
/* For pool_update(): a larger loop file. *ret_grown tells whether. ERROR_INVALID for anything else.
 */
int source_grow(const DriverPool *pool, const Config *before, gboolean *ret_grown, Error **err);
