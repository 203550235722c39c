#pragma once
/*
 * Instances and profiles whose disk devices name a custom volume: whether one runs, and how they
 * follow when the volume gets another name or pool.
 */
#include "server/instance/instance.h"
#include "server/storage/custom_copy.h"

/* ERROR_INVALID `message` while an instance that has the volume runs, also since before this
 * daemon. */
int volume_users_check(Daemon *d, const char *pool, const char *project, const char *name,
    const char *message, Error **err);

/* The volume is the root of an instance, and has changed: backup.yaml says so. Others: nothing. */
void volume_root_changed(Daemon *d, const Volume *volume);

/* custom_move() of what `move` says, with the devices that name the volume. ERROR_INVALID while an
 * instance that has it runs, and, into another project, while any device names it; ERROR_BUSY while
 * an instance that has it is busy with something else. */
int volume_move_used(const CustomCopy *move, Error **err);
