#include "server/network/bridge.h"
#include "server/network/bridge_config.h"
#include "server/network/dnsmasq.h"
#include "server/network/firewall.h"
#include "server/network/subnet.h"
#include "server/sys/netlink.h"
#include "server/sys/sysctl.h"
#include "sdk/base/file.h"
#include "sdk/base/log.h"
#include "sdk/base/own.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

gboolean bridge_have_ipv6(void)
{
	return access("/proc/sys/net/ipv6/conf/all/forwarding", F_OK) == 0;
}

/* Kernel settings are best effort: a host that forbids them still gets its bridge, and a warning.
 */
static void set_kernel(const char *network, const char *value, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

static void set_kernel(const char *network, const char *value, const char *format, ...)
{
	va_list list;
	va_start(list, format);
	g_autofree char *name = g_strdup_vprintf(format, list);
	va_end(list);
	if (sysctl_set(value, "net/%s", name) < 0)
		log_warn("Kernel setting could not be changed", "network", network, "setting", name,
		    "value", value, "err", g_strerror(errno));
}

static int apply_link(const BridgeSetup *setup, Error **err)
{
	Link link;
	const char *hwaddr = config_get(setup->config, "bridge.hwaddr");
	LinkChange change = LINK_CHANGE_NONE;
	unsigned mtu = bridge_config_mtu(setup->config);
	change.address = hwaddr ? hwaddr : setup->hwaddr;
	change.mtu = mtu ? mtu : 1500;
	change.up = 1;
	if (!netlink_exists(setup->name))
		return netlink_create_bridge(setup->name, &change, err);
	if (netlink_get(setup->name, &link, err) < 0)
		return -1;
	if (strcmp(link.kind, "bridge") != 0)
		return error_set(err, ERROR_INVALID,
		    "Network interface \"%s\" exists already and is no bridge", setup->name);
	if (link.mtu == change.mtu)
		change.mtu = 0;
	if (change.address && g_ascii_strcasecmp(link.address, change.address) == 0)
		change.address = NULL;
	if ((link.flags & IFF_UP) && !change.mtu && !change.address)
		return 0;
	return netlink_change(setup->name, &change, err);
}

static void apply_kernel(const BridgeSetup *setup)
{
	const char *name = setup->name;
	gboolean ipv4 = bridge_config_address(setup->config, "ipv4") != NULL;
	gboolean ipv6 = bridge_config_address(setup->config, "ipv6") != NULL;
	if (ipv4 && !config_false(setup->config, "ipv4.routing"))
		set_kernel(name, "1", "ipv4/ip_forward");
	if (!bridge_have_ipv6())
		return;
	set_kernel(name, ipv6 ? "0" : "1", "ipv6/conf/%s/disable_ipv6", name);
	if (!ipv6)
		return;
	set_kernel(name, "0", "ipv6/conf/%s/accept_ra", name);
	set_kernel(name, "0", "ipv6/conf/%s/autoconf", name);
	set_kernel(name, "0", "ipv6/conf/%s/accept_dad", name);
	if (!config_false(setup->config, "ipv6.routing"))
		set_kernel(name, "1", "ipv6/conf/all/forwarding");
}

/* Addresses of the bridge that the configuration does not have go, missing ones come. */
static int apply_addresses(const BridgeSetup *setup, Error **err)
{
	const char *const wanted[] = {bridge_config_address(setup->config, "ipv4"),
	    bridge_have_ipv6() ? bridge_config_address(setup->config, "ipv6") : NULL};
	gboolean present[G_N_ELEMENTS(wanted)] = {FALSE};
	g_autoptr(LinkList) list = NULL;
	if (netlink_list(-1, &list, err) < 0)
		return -1;
	const Link *link = link_list_find(list, setup->name);
	for (unsigned i = 0; link && i < link->n_addresses; i++) {
		const LinkAddress *a = &link->addresses[i];
		g_autofree char *cidr = g_strdup_printf("%s/%d", a->text, a->prefix);
		gboolean keep = strcmp(a->scope, "global") != 0;
		for (size_t j = 0; j < G_N_ELEMENTS(wanted); j++)
			if (g_strcmp0(wanted[j], cidr) == 0)
				keep = present[j] = TRUE;
		if (!keep && netlink_address_delete(setup->name, cidr, err) < 0)
			return -1;
	}
	for (size_t j = 0; j < G_N_ELEMENTS(wanted); j++)
		if (wanted[j] && !present[j] &&
		    netlink_address_add(setup->name, wanted[j], j ? IFA_F_NODAD : 0, err) < 0)
			return -1;
	return 0;
}

static int apply_routes(const BridgeSetup *setup, const char *key, Error **err)
{
	g_auto(GStrv) wanted = subnet_split_list(config_get(setup->config, key));
	g_auto(GStrv)
	    old = subnet_split_list(setup->old_config ? config_get(setup->old_config, key) : NULL);
	for (char **cidr = old; *cidr; cidr++) {
		LinkRoute route = {.link = setup->name, .cidr = *cidr, .protocol = RTPROT_STATIC};
		if (!g_strv_contains((const char *const *)wanted, *cidr) &&
		    netlink_route_delete(&route, err) < 0)
			return -1;
	}
	for (char **cidr = wanted; *cidr; cidr++) {
		LinkRoute route = {.link = setup->name, .cidr = *cidr, .protocol = RTPROT_STATIC};
		if (netlink_route_add(&route, err) < 0)
			return -1;
	}
	return 0;
}

static int attach_external(
    const BridgeSetup *setup, const LinkList *list, const char *name, Error **err)
{
	const Link *link = link_list_find(list, name);
	const Link *bridge = link_list_find(list, setup->name);
	LinkChange change = LINK_CHANGE_NONE;
	if (!link) {
		log_warn(
		    "External interface is missing", "network", setup->name, "interface", name);
		return 0;
	}
	if (bridge && link->master == bridge->index)
		return 0;
	for (unsigned i = 0; i < link->n_addresses; i++)
		if (strcmp(link->addresses[i].scope, "global") == 0)
			return error_set(err, ERROR_INVALID,
			    "Network interface \"%s\" has addresses; only unconfigured interfaces can be bridged",
			    name);
	change.master = setup->name;
	change.up = 1;
	return netlink_change(name, &change, err);
}

static int apply_external(const BridgeSetup *setup, Error **err)
{
	const char *key = "bridge.external_interfaces";
	g_auto(GStrv) wanted = subnet_split_list(config_get(setup->config, key));
	g_auto(GStrv)
	    old = subnet_split_list(setup->old_config ? config_get(setup->old_config, key) : NULL);
	if (!*wanted && !*old)
		return 0;
	g_autoptr(LinkList) list = NULL;
	if (netlink_list(-1, &list, err) < 0)
		return -1;
	for (char **name = old; *name; name++) {
		LinkChange release = LINK_CHANGE_NONE;
		release.master = "";
		if (!g_strv_contains((const char *const *)wanted, *name) &&
		    link_list_find(list, *name))
			netlink_change(*name, &release, NULL);
	}
	for (char **name = wanted; *name; name++)
		if (attach_external(setup, list, *name, err) < 0)
			return -1;
	return 0;
}

/* What dnsmasq and the firewall should see: without IPv6 where the kernel has none. */
static Config *effective_config(const BridgeSetup *setup)
{
	Config *config = config_copy(setup->config);
	if (!bridge_have_ipv6() && bridge_config_address(config, "ipv6")) {
		log_warn(
		    "This kernel has no IPv6; the network goes without", "network", setup->name);
		config_set(config, "ipv6.address", "none");
	}
	return config;
}

static int apply_services(const BridgeSetup *setup, Error **err)
{
	g_autoptr(Config) config = effective_config(setup);
	const char *user = dnsmasq_user(setup->directory);
	DnsmasqSetup dnsmasq = {
		.bridge = setup->name, .directory = setup->directory, .config = config, .user = user
	};
	if (firewall_network_apply(setup->name, config, err) < 0)
		return -1;
	return dnsmasq_apply(&dnsmasq, err);
}

int bridge_apply(const BridgeSetup *setup, Error **err)
{
	if (file_mkdir_all(setup->directory, 0711, err) < 0 || apply_link(setup, err) < 0)
		return error_prefix(err, "Network \"%s\"", setup->name);
	apply_kernel(setup);
	if (apply_addresses(setup, err) < 0 || apply_routes(setup, "ipv4.routes", err) < 0 ||
	    (bridge_have_ipv6() && apply_routes(setup, "ipv6.routes", err) < 0) ||
	    apply_external(setup, err) < 0 || apply_services(setup, err) < 0)
		return error_prefix(err, "Network \"%s\"", setup->name);
	return 0;
}

void bridge_remove(const BridgeSetup *setup)
{
	g_autoptr(Error) rules = NULL, link = NULL;
	g_auto(GStrv)
	    external = subnet_split_list(config_get(setup->config, "bridge.external_interfaces"));
	dnsmasq_stop(setup->directory);
	if (firewall_network_remove(setup->name, &rules) < 0)
		log_warn("Firewall rules stay", "network", setup->name, "err", rules->message);
	for (char **name = external; *name; name++) {
		LinkChange release = LINK_CHANGE_NONE;
		release.master = "";
		netlink_change(*name, &release, NULL);
	}
	if (netlink_delete(setup->name, &link) < 0 && link->kind != ERROR_NOT_FOUND)
		log_warn("Bridge stays", "network", setup->name, "err", link->message);
}
