#pragma once
/*
 * INCUS_DIR/storage-pools as a mount whose unmounts reach everybody who has a copy of it. Monitors
 * of containers and libvirtd live in mount namespaces of their own, and would otherwise hold every
 * pool's file system that was mounted when they started: its device could not be used again.
 */
#include "server/daemon.h"

/* Before anybody makes such a namespace. Where it cannot be, the log says so. */
int pool_folder_share(Daemon *d, Error **err);
/* While anything is mounted there it stays, for the next start. */
void pool_folder_release(Daemon *d);
