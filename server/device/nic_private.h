#pragma once
/* Inside of nics: what the kinds share. Only for server/device/nic*.c. */
#include "server/device/device.h"
#include "server/network/network.h"
#include "server/sys/netlink.h"

/* One way a nic can be (nictype). start makes the interface that the container will take; it then
 * is in the host's namespace under the name put into *ret_link. attach makes it inside at once. Of
 * a virtual machine start alone is asked: for a tap interface, or with `direct` for the parent of a
 * macvtap in that mode. */
typedef struct NicKind {
	const char *nictype;
	/* Demands beyond the key table; host may be NULL. */
	int (*validate)(
	    const DeviceHost *host, const char *name, const Config *config, Error **err);
	int (*start)(const DeviceHost *host, const char *name, const Config *config,
	    char **ret_link, Error **err);
	void (*stop)(const DeviceHost *host, const char *name, const Config *config);
	int (*attach)(const DeviceHost *host, const char *name, const Config *config, Error **err);
	int (*detach)(const DeviceHost *host, const char *name, const Config *config, Error **err);
	/* Keys that change on a running nic; NULL-terminated. */
	const char *const *live_keys;
	int (*update)(const DeviceHost *host, const char *name, const Config *old_config,
	    const Config *config, Error **err);
	const char *direct; /* "bridge" or "passthrough"; NULL: a tap of our own */
	/* What liblxc is to do with the interface inside, as lxc.net.N; may be NULL. */
	void (*inside)(const Config *config, DeviceStart *out, unsigned n);
} NicKind;

extern const NicKind nic_bridged, nic_p2p, nic_routed, nic_macvlan, nic_physical;
int nic_validate_p2p(
    const DeviceHost *host, const char *name, const Config *config, Error **err);

/* nic_routed.c: what routed nics have beyond p2p ones. */
int nic_routed_validate(
    const DeviceHost *host, const char *name, const Config *config, Error **err);
/* Notes for which addresses the parent will speak, before it does. */
int nic_routed_note(const DeviceHost *host, const char *name, const Config *config, Error **err);
/* The host's end is there: addresses, routes, the parent speaks for the instance. */
int nic_routed_up(const Config *config, const char *host_name, Error **err);
/* What does not go with the host's end, once that has gone: whatever the configuration is by now, for
 * the server may have been killed in between. Without a note nothing. */
void nic_routed_down(const DeviceHost *host, const char *name);
/* Of an interface that came into a running container. */
int nic_routed_inside(const Config *config, const char *name, pid_t pid, Error **err);
void nic_routed_settings(const Config *config, DeviceStart *out, unsigned n);
/* What "ipv4.routes" or "ipv6.routes" lead to: the nic's first address (g_free); NULL: none. */
char *nic_routed_next_hop(const Config *config, const char *key);

/* "volatile.NAME.KEY". */
const char *nic_volatile(const DeviceHost *host, const char *name, const char *key);
int nic_volatile_set(
    const DeviceHost *host, const char *name, const char *key, const char *value, Error **err);
/* The configured MAC, else the remembered one, else a new one that is remembered. */
int nic_hwaddr(const DeviceHost *host, const char *name, const Config *config,
    const char **ret_hwaddr, Error **err);
/* The name inside the container: configured, remembered, or the first free ethN. */
int nic_inside_name(const DeviceHost *host, const char *name, const Config *config,
    const char **ret_name, Error **err);
/* PREFIX and eight random hexadecimal digits. */
char *nic_random_name(const char *prefix);
/* Interface name that `network` or `parent` stand for; *ret_network stays NULL for unmanaged ones.
 */
int nic_parent(const DeviceHost *host, const Config *config, char **ret_parent,
    Network **ret_network, Error **err);
/* Configured, of the network, of the parent interface; 0: the kernel's. */
unsigned nic_mtu(const Config *config, Network *network, const char *parent);
/* Runs fn on a thread of its own inside the network namespace of a process. */
int nic_run_inside(pid_t pid, int (*fn)(void *data, Error **err), void *data, Error **err);
