#pragma once
/*
 * The guest API: HTTP/1.1 at /dev/incus/sock inside an instance, for the instance's own root: its
 * configuration (user.*, cloud-init.*), devices, what changes of them, and whether it is ready.
 *
 * Containers have the folder INCUS_DIR/guestapi at /dev/incus: one socket for all of them, whose
 * clients are known by their PID namespace. In a virtual machine incus-agent has the socket, and
 * each connection to it comes through the agent's channel (server/guest). Both are then served
 * alike, a thread each, with limits: the other end is hostile.
 */
#include "server/instance/instance.h"

struct GuestApi; /* Daemon.guest_api */

/* Before instances are found, which may ask at once; stop after they are gone. */
int guest_api_start(Daemon *d, Error **err);
void guest_api_stop(Daemon *d);
/* The containers' socket, once there are instances. Ending it ends all connections. */
int guest_api_listen(Daemon *d, Error **err);
void guest_api_hang_up(Daemon *d);

/* Serves a connected socket (taken) of the guest's root, until either side ends it. Blocks. */
void guest_api_serve(Instance *i, int fd);
/* Tells those who listen inside what of the expanded configuration has become another. */
void guest_api_tell_change(Instance *i, const Config *old_config, const Devices *old_devices);
/* A run begins: it has not said yet that it is ready. */
void guest_api_forget_ready(Instance *i);
gboolean guest_api_is_ready(Instance *i);
