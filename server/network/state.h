#pragma once
/* Interfaces of the host as the API shows them: kinds, addresses, counters. */
#include "incus/v1/network.pb-c.h"
#include "sdk/base/arena.h"
#include "server/sys/netlink.h"

/* "loopback", "bridge", "vlan", "bond", "physical", "unknown". */
const char *network_interface_type(const Link *link);
/* FALSE for the ends of veth pairs, which are instances' and many. */
gboolean network_interface_shown(const Link *link);
/* ERROR_NOT_FOUND when there is no such interface. */
int network_state_render(const char *name, Arena *arena, Pb__NetworkState *out, Error **err);
