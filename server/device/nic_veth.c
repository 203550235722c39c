/* Nics that are one end of a veth pair, or a tap of a virtual machine: bridged (the host's end is
 * on a bridge), p2p and routed (nic_routed.c). */
#include "server/device/device_private.h"
#include "server/device/nic_private.h"
#include "server/network/firewall.h"
#include "server/network/subnet.h"
#include "server/sys/sysctl.h"
#include "server/sys/tap.h"
#include "sdk/base/log.h"
#include "sdk/base/names.h"
#include "sdk/base/own.h"
#include "sdk/base/units.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

/* Everything about one veth nic that is about to exist or exists. */
typedef struct Veth {
	const DeviceHost *host;
	const char *device;
	const Config *config;
	gboolean bridged, routed; /* neither: p2p */
	char *parent;        /* bridged */
	Network *network;    /* managed ones */
	const char *hwaddr;
	char *host_name;     /* NULL: none yet */
	unsigned mtu;
} Veth;

static void veth_clear(Veth *v)
{
	g_clear_pointer(&v->parent, g_free);
	g_clear_pointer(&v->network, network_unref);
	g_clear_pointer(&v->host_name, g_free);
}

/* ok without a parent when it is only about taking away. */
static int veth_load(
    Veth *v, const DeviceHost *host, const char *device, const Config *config, Error **err)
{
	*v = (Veth){.host = host, .device = device, .config = config};
	v->routed = g_strcmp0(config_get(config, "nictype"), "routed") == 0;
	v->bridged = !v->routed && (config_get(config, "network") || config_get(config, "parent"));
	v->host_name = g_strdup(nic_volatile(host, device, "host_name"));
	if (nic_hwaddr(host, device, config, &v->hwaddr, err) < 0)
		return -1;
	if (v->bridged && nic_parent(host, config, &v->parent, &v->network, err) < 0)
		return -1;
	v->mtu = nic_mtu(config, v->network, v->routed ? config_get(config, "parent") : v->parent);
	return 0;
}

static NetworkNic network_nic(const Veth *v)
{
	return (NetworkNic){ .project = v->host->project,
		.instance = v->host->instance,
		.device = v->device,
		.host_name = v->host_name,
		.hwaddr = v->hwaddr,
		.ipv4 = config_get(v->config, "ipv4.address"),
		.ipv6 = config_get(v->config, "ipv6.address"),
		.mac_filtering = config_true(v->config, "security.mac_filtering"),
		.ipv4_filtering = config_true(v->config, "security.ipv4_filtering"),
		.ipv6_filtering = config_true(v->config, "security.ipv6_filtering") };
}

static gboolean is_filtered(const Config *config)
{
	return config_true(config, "security.mac_filtering") ||
	    config_true(config, "security.ipv4_filtering") ||
	    config_true(config, "security.ipv6_filtering");
}

static int parse_limit(const Config *config, const char *key, uint64_t *ret_bits, Error **err)
{
	int64_t bits = 0;
	const char *value = config_get(config, key);
	if (!value)
		value = config_get(config, "limits.max");
	if (value && units_parse_bits(value, &bits, err) < 0)
		return error_prefix(err, "Invalid value for \"%s\"", key);
	*ret_bits = bits > 0 ? (uint64_t)bits : 0;
	return 0;
}

/* -1: not said. */
static int parse_priority(const Config *config, int64_t *ret_priority, Error **err)
{
	const char *value = config_get(config, "limits.priority");
	*ret_priority = -1;
	if (value && units_parse_int(value, 0, UINT32_MAX, ret_priority, err) < 0)
		return error_prefix(err, "Invalid value for \"limits.priority\"");
	return 0;
}

static int apply_priority(const Veth *v, const Config *old_config, Error **err)
{
	int64_t now, before = -1;
	const DeviceHost *host = v->host;
	if (parse_priority(v->config, &now, err) < 0)
		return -1;
	if (old_config)
		parse_priority(old_config, &before, NULL);
	if (now == before)
		return 0;
	g_autofree char *instance = device_host_file_name(host);
	return firewall_priority(instance, v->host_name, now, err);
}

/* What goes to the container leaves the host through our end: a queue there shapes it. What it
 * sends comes in there, where only dropping is possible. */
static int apply_limits(const Veth *v, const Config *old_config, Error **err)
{
	uint64_t in, out, old_in = 0, old_out = 0;
	if (parse_limit(v->config, "limits.ingress", &in, err) < 0 ||
	    parse_limit(v->config, "limits.egress", &out, err) < 0)
		return -1;
	if (old_config) {
		parse_limit(old_config, "limits.ingress", &old_in, NULL);
		parse_limit(old_config, "limits.egress", &old_out, NULL);
	}
	if (in != old_in && netlink_limit_set(v->host_name, in, err) < 0)
		return -1;
	if (out != old_out && firewall_limit(v->host_name, out, err) < 0)
		return -1;
	return apply_priority(v, old_config, err);
}

static int change_routes(const Veth *v, const Config *old_config, const char *key, Error **err)
{
	const char *link = v->bridged ? v->parent : v->host_name;
	g_autofree char *via = v->routed ? nic_routed_next_hop(v->config, key) : NULL;
	g_auto(GStrv) wanted = subnet_split_list(config_get(v->config, key));
	g_auto(GStrv) old = subnet_split_list(old_config ? config_get(old_config, key) : NULL);
	for (char **cidr = old; *cidr; cidr++) {
		LinkRoute route = {
			.link = link, .cidr = *cidr, .gateway = via, .protocol = RTPROT_BOOT
		};
		if (!g_strv_contains((const char *const *)wanted, *cidr))
			netlink_route_delete(&route, NULL);
	}
	for (char **cidr = wanted; *cidr; cidr++) {
		LinkRoute route = {
			.link = link, .cidr = *cidr, .gateway = via, .protocol = RTPROT_BOOT
		};
		if (netlink_route_add(&route, err) < 0)
			return -1;
	}
	return 0;
}

static int apply_routes(const Veth *v, const Config *old_config, Error **err)
{
	if (change_routes(v, old_config, "ipv4.routes", err) < 0)
		return -1;
	return change_routes(v, old_config, "ipv6.routes", err);
}

/* The bridge speaks for the host; our end of the pair must not answer router advertisements. */
static void disable_host_ipv6(const Veth *v)
{
	if (v->bridged && sysctl_set("1", "net/ipv6/conf/%s/disable_ipv6", v->host_name) < 0 &&
	    errno != ENOENT)
		log_debug("IPv6 stays on for a veth", "interface", v->host_name, "err",
		    g_strerror(errno));
}

static int apply_network(const Veth *v, Error **err)
{
	NetworkNic nic = network_nic(v);
	if (v->network && network_lease_update(v->network, &nic, err) < 0)
		return -1;
	return v->bridged && is_filtered(v->config) ? network_filter_set(v->network, &nic, err) : 0;
}

static void fill_near(const Veth *v, LinkChange *near)
{
	const char *queue = config_get(v->config, "queue.tx.length");
	*near = LINK_CHANGE_NONE;
	near->mtu = v->mtu;
	near->up = 1;
	if (v->bridged)
		near->master = v->parent;
	if (v->bridged && config_true(v->config, "security.port_isolation"))
		near->isolated = 1;
	if (queue)
		near->tx_queue = (int)strtoul(queue, NULL, 10);
}

/* One that would not go keeps its note: the next start takes it away first. */
static void remove_link(const Veth *v)
{
	g_autoptr(Error) error = NULL;
	uint64_t out = 0;
	if (parse_limit(v->config, "limits.egress", &out, NULL) == 0 && out)
		firewall_limit(v->host_name, 0, NULL);
	if (config_get(v->config, "limits.priority")) {
		g_autoptr(Config) none = config_new();
		Veth without = *v;
		without.config = none;
		apply_priority(&without, v->config, NULL);
	}
	if (netlink_delete(v->host_name, &error) < 0 && error->kind != ERROR_NOT_FOUND)
		log_warn(
		    "Network interface stays", "interface", v->host_name, "err", error->message);
	else
		nic_volatile_set(v->host, v->device, "host_name", NULL, NULL);
}

static void take_down(const Veth *v)
{
	NetworkNic nic = network_nic(v);
	if (v->bridged && is_filtered(v->config))
		network_filter_remove(&nic);
	if (v->host_name)
		remove_link(v);
	nic_routed_down(v->host, v->device);
}

/* A virtual machine opens the tap by its name: there is no far end. */
static int make_tap(const Veth *v, const LinkChange *near, Error **err)
{
	if (tap_create(v->host_name, err) < 0)
		return -1;
	if (netlink_change(v->host_name, near, err) == 0)
		return 0;
	netlink_delete(v->host_name, NULL);
	return -1;
}

/* pid 0: the far end stays in the host's namespace under the name `peer`. Undoes itself. */
static int make_pair(Veth *v, const char *peer, pid_t pid, Error **err)
{
	LinkChange near, far = LINK_CHANGE_NONE;
	const char *wanted = config_get(v->config, "host_name");
	/* What an earlier life left behind, after a crash. */
	if (v->host_name)
		netlink_delete(v->host_name, NULL);
	nic_routed_down(v->host, v->device);
	g_free(v->host_name);
	gboolean machine = device_host_is_machine(v->host);
	v->host_name = wanted ? g_strdup(wanted) : nic_random_name(machine ? "tap" : "veth");
	far.address = v->hwaddr;
	far.mtu = v->mtu;
	far.netns_pid = pid;
	if (config_get(v->config, "queue.tx.length"))
		far.tx_queue = (int)strtoul(config_get(v->config, "queue.tx.length"), NULL, 10);
	fill_near(v, &near);
	if (nic_volatile_set(v->host, v->device, "host_name", v->host_name, err) < 0 ||
	    (v->routed && nic_routed_note(v->host, v->device, v->config, err) < 0) ||
	    v->host->volatile_sync(v->host, err) < 0)
		return -1;
	/* Deletion must never hit an interface that was there before us. */
	if (machine ? make_tap(v, &near, err) < 0 :
		      netlink_create_veth(v->host_name, peer, &near, &far, err) < 0) {
		nic_volatile_set(v->host, v->device, "host_name", NULL, NULL);
		return -1;
	}
	disable_host_ipv6(v);
	if ((v->routed && nic_routed_up(v->config, v->host_name, err) < 0) ||
	    apply_limits(v, NULL, err) < 0 || apply_routes(v, NULL, err) < 0 ||
	    apply_network(v, err) < 0) {
		take_down(v);
		return -1;
	}
	return 0;
}

static int start(
    const DeviceHost *host, const char *name, const Config *config, char **ret_link, Error **err)
{
	Veth v;
	g_autofree char *peer = nic_random_name("veth");
	int result = veth_load(&v, host, name, config, err);
	if (result == 0)
		result = make_pair(&v, peer, 0, err);
	if (result == 0)
		*ret_link = device_host_is_machine(host) ? g_strdup(v.host_name) :
							   g_steal_pointer(&peer);
	veth_clear(&v);
	return result;
}

static void stop(const DeviceHost *host, const char *name, const Config *config)
{
	Veth v;
	/* A missing parent must not keep the rest from going. */
	veth_load(&v, host, name, config, NULL);
	take_down(&v);
	if (v.bridged && v.parent) {
		g_autoptr(Config) none = config_new();
		Veth without = v;
		without.config = none;
		apply_routes(&without, config, NULL);
	}
	veth_clear(&v);
}

static int attach(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	Veth v;
	const char *inside;
	int result = veth_load(&v, host, name, config, err);
	if (result == 0)
		result = nic_inside_name(host, name, config, &inside, err);
	if (result == 0)
		result = make_pair(&v, inside, host->init_pid, err);
	if (result == 0 && v.routed && nic_routed_inside(config, inside, host->init_pid, err) < 0) {
		take_down(&v);
		result = -1;
	}
	veth_clear(&v);
	return result;
}

/* One end gone is both gone. */
static int detach(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	stop(host, name, config);
	return 0;
}

static int update(const DeviceHost *host, const char *name, const Config *old_config,
    const Config *config, Error **err)
{
	Veth v;
	int result = veth_load(&v, host, name, config, err);
	if (result == 0 && v.host_name) {
		NetworkNic nic = network_nic(&v);
		if (v.bridged && is_filtered(old_config) && !is_filtered(config))
			network_filter_remove(&nic);
		result = apply_limits(&v, old_config, err);
		if (result == 0)
			result = apply_routes(&v, old_config, err);
	}
	if (result == 0)
		result = apply_network(&v, err);
	veth_clear(&v);
	return result;
}

static int check_limits(const Config *config, Error **err)
{
	uint64_t bits;
	int64_t priority;
	if (config_get(config, "limits.max") &&
	    (config_get(config, "limits.ingress") || config_get(config, "limits.egress")))
		return error_set(err, ERROR_INVALID,
		    "\"limits.max\" cannot be used together with \"limits.ingress\" or \"limits.egress\"");
	if (parse_priority(config, &priority, err) < 0 ||
	    parse_limit(config, "limits.ingress", &bits, err) < 0)
		return -1;
	return parse_limit(config, "limits.egress", &bits, err);
}

static int check_host_name(const Config *config, Error **err)
{
	const char *host_name = config_get(config, "host_name");
	if (host_name && name_check_interface(host_name, err) < 0)
		return error_prefix(err, "Invalid value for \"host_name\"");
	return 0;
}

int nic_validate_p2p(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	return check_host_name(config, err) < 0 ? -1 : check_limits(config, err);
}

static int check_filtering(const Config *config, Error **err)
{
	static const char *const families[] = {"ipv4", "ipv6"};
	for (size_t i = 0; i < G_N_ELEMENTS(families); i++) {
		g_autofree char *filter = g_strdup_printf("security.%s_filtering", families[i]);
		g_autofree char *address = g_strdup_printf("%s.address", families[i]);
		if (config_true(config, filter) && !config_get(config, "network") &&
		    !config_get(config, address))
			return error_set(err, ERROR_INVALID,
			    "\"%s\" on an unmanaged parent needs \"%s\" to be set", filter,
			    address);
		if (g_strcmp0(config_get(config, address), "none") == 0 &&
		    !config_true(config, filter))
			return error_set(err, ERROR_INVALID,
			    "\"%s\" can only be \"none\" with \"%s\"", address, filter);
	}
	return 0;
}

static int validate_bridged(
    const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	static const char *const unbuilt[] = { "vlan", "vlan.tagged", "ipv4.routes.external",
		"ipv6.routes.external", "security.acls" };
	g_autofree char *parent = NULL;
	g_autoptr(Network) network = NULL;
	for (size_t i = 0; i < G_N_ELEMENTS(unbuilt); i++)
		if (config_get(config, unbuilt[i]))
			return error_set(err, ERROR_UNSUPPORTED,
			    "\"%s\" of nics is not built into this server", unbuilt[i]);
	if (!config_get(config, "network") && !config_get(config, "parent"))
		return error_set(err, ERROR_INVALID, "Missing \"parent\" or \"network\" property");
	if (nic_validate_p2p(host, name, config, err) < 0 || check_filtering(config, err) < 0)
		return -1;
	/* A parent may come later; a managed network must exist. */
	if (!device_host_serves(host) || !config_get(config, "network"))
		return 0;
	return nic_parent(host, config, &parent, &network, err);
}

static const char *const p2p_live[] = { "limits.ingress", "limits.egress", "limits.max",
	"limits.priority", "ipv4.routes", "ipv6.routes", NULL };
static const char *const bridged_live[] = { "limits.ingress", "limits.egress", "limits.max",
	"limits.priority", "ipv4.routes", "ipv6.routes", "ipv4.address", "ipv6.address",
	"security.mac_filtering", "security.ipv4_filtering", "security.ipv6_filtering", NULL };

const NicKind nic_bridged = { "bridged", validate_bridged, start, stop, attach, detach,
	bridged_live, update, .direct = FALSE };
const NicKind nic_p2p = { "p2p", nic_validate_p2p, start, stop, attach, detach, p2p_live, update,
	.direct = FALSE };
const NicKind nic_routed = { "routed", nic_routed_validate, start, stop, attach, detach, p2p_live,
	update, .direct = FALSE, .inside = nic_routed_settings };
