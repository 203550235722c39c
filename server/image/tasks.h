#pragma once
/*
 * What the daemon does with images by itself: it brings those with auto_update up to date every
 * images.auto_update_interval hours, and drops cached ones that nobody has used for
 * images.remote_cache_expiry days. Both keys are the project's, else the server's; 0 is never.
 */
#include "server/daemon.h"

int image_tasks_start(Daemon *d, Error **err);
