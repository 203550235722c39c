#pragma once
/*
 * Snapshots that come and go by themselves, of instances and of custom volumes: snapshots.schedule
 * and snapshots.expiry.
 */
#include "server/daemon.h"

int snapshot_tasks_start(Daemon *d, Error **err);
