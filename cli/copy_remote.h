#pragma once
/*
 * What copies between servers share, of instances and of volumes.
 */
#include "cli/command.h"
#include <incus/migration.h>

/* Of --mode. */
int copy_mode(Cli *cli, incus_copy_mode *ret, Error **err);
/* An incus_copy_progress: data is a Progress. */
void copy_show(const Pb__Operation *operation, void *data);
