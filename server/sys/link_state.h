#pragma once
/* An interface as the state of an instance shows it: on the host, and by the agent in a guest. */
#include "sdk/base/arena.h"
#include "server/sys/netlink.h"
#include "incus/v1/instance.pb-c.h"

/* In the arena; host_name: of its other end, "". */
Pb__InstanceStateNetwork *link_state(const Link *link, const char *host_name, Arena *arena);
