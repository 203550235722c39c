#pragma once
/*
 * What copies between servers share, of instances and of volumes.
 */
#include "cli/command.h"
#include <incus/migration.h>

/* Of --mode. */
int copy_mode(Cli *cli, incus_copy_mode *ret, Error **err);
/* An incus_operation_progress that stops after Ctrl+C: data is a Progress. */
int copy_show(const Pb__Operation *operation, void *data);
