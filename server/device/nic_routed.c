/*
 * Routed nics: a veth pair (or a tap) without a bridge. The host has a route to each address of the
 * instance and, where a parent is named, answers for them on its network; inside, the default route
 * leads to an address that is the same on every host's end.
 */
#include "sdk/base/names.h"
#include "server/device/device_private.h"
#include "server/device/nic_private.h"
#include "server/network/probe.h"
#include "server/network/subnet.h"
#include "server/sys/sysctl.h"
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

typedef struct Family {
	const char *name;
	int bits;
	const char *host_address; /* unless it is configured */
	const char *everywhere;	  /* the default route */
	/* Without these the parent does not answer for others. */
	const char *needed[2];
} Family;

static const Family families[] = {
	{ "ipv4", 32, "169.254.0.1", "0.0.0.0/0", { "forwarding" } },
	{ "ipv6", 128, "fe80::1", "::/0", { "forwarding", "proxy_ndp" } },
};

static const char *get(const Config *config, const Family *f, const char *key)
{
	g_autofree char *name = g_strdup_printf("%s.%s", f->name, key);
	return config_get(config, name);
}

static char **addresses(const Config *config, const Family *f)
{
	return subnet_split_list(get(config, f, "address"));
}

static const char *host_address(const Config *config, const Family *f)
{
	const char *set = get(config, f, "host_address");
	return set && *set ? set : f->host_address;
}

/* What the default route inside leads to; NULL: there is none. */
static const char *gateway(const Config *config, const Family *f)
{
	const char *set = get(config, f, "gateway");
	if (!get(config, f, "address") || g_strcmp0(set, "none") == 0)
		return NULL;
	return !set || !*set || strcmp(set, "auto") == 0 ? host_address(config, f) : set;
}

static char *whole(const char *address, const Family *f)
{
	return g_strdup_printf("%s/%d", address, f->bits);
}

char *nic_routed_next_hop(const Config *config, const char *key)
{
	for (gsize n = 0; n < G_N_ELEMENTS(families); n++) {
		g_auto(GStrv) list = addresses(config, &families[n]);
		if (g_str_has_prefix(key, families[n].name) && *list)
			return g_strdup(*list);
	}
	return NULL;
}

/* ---- validation ---- */

static int check_gateway(const Config *config, const Family *f, Error **err)
{
	const char *set = get(config, f, "gateway");
	g_autoptr(Error) why = NULL;
	if (!set || !*set || strcmp(set, "auto") == 0 || strcmp(set, "none") == 0)
		return 0;
	if ((f->bits == 32 ? name_check_ipv4(set, &why) : name_check_ipv6(set, &why)) == 0)
		return 0;
	return error_set(err, ERROR_INVALID,
	    "Invalid value for \"%s.gateway\": \"auto\", \"none\" or an address expected", f->name);
}

/* Two default routes would be one too many. */
static int check_other_gateways(
    const DeviceHost *host, const char *self, const Config *config, const Family *f, Error **err)
{
	GHashTableIter iter;
	void *name, *other;
	if (!host || !host->devices || !gateway(config, f))
		return 0;
	g_hash_table_iter_init(&iter, (GHashTable *)host->devices);
	while (g_hash_table_iter_next(&iter, &name, &other))
		if (strcmp(name, self) != 0 &&
		    g_strcmp0(config_get(other, "nictype"), "routed") == 0 && gateway(other, f))
			return error_set(err, ERROR_INVALID,
			    "Nic \"%s\" has an \"%s.gateway\" already: set it to \"none\" on one of them",
			    (char *)name, f->name);
	return 0;
}

int nic_routed_validate(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	static const char *const unbuilt[] = { "vlan", "gvrp" };
	for (gsize n = 0; n < G_N_ELEMENTS(unbuilt); n++)
		if (config_get(config, unbuilt[n]))
			return error_set(err, ERROR_UNSUPPORTED,
			    "\"%s\" of nics is not built into this server", unbuilt[n]);
	for (gsize n = 0; n < G_N_ELEMENTS(families); n++)
		if (check_gateway(config, &families[n], err) < 0 ||
		    check_other_gateways(host, name, config, &families[n], err) < 0)
			return -1;
	return nic_validate_p2p(host, name, config, err);
}

/* ---- the host's side ---- */

/* That the parent forwards is the administrator's to decide. */
static int check_parent(const char *parent, const Family *f, Error **err)
{
	for (gsize n = 0; n < G_N_ELEMENTS(f->needed) && f->needed[n]; n++)
		if (!sysctl_is("1", "net/%s/conf/%s/%s", f->name, parent, f->needed[n]))
			return error_set(err, ERROR_INVALID,
			    "Routed mode requires sysctl net.%s.conf.%s.%s=1", f->name, parent,
			    f->needed[n]);
	return 0;
}

static int probe(
    const char *parent, const Config *config, const Family *f, char *const *list, Error **err)
{
	g_autofree char *taken = NULL;
	g_autofree char *wanted = g_strdup_printf("%s.neighbor_probe", f->name);
	if (!parent || config_false(config, wanted))
		return 0;
	if (probe_addresses(parent, list, &taken, err) < 0)
		return -1;
	return taken ?
	    error_set(err, ERROR_INVALID,
		"IP address \"%s\" is in use on the parent's network \"%s\"", taken, parent) :
	    0;
}

static int is_routed(
    const GPtrArray *routes, const char *address, gboolean *ret_routed, Error **err)
{
	Subnet subnet;
	if (subnet_parse(address, &subnet, err) < 0)
		return -1;
	g_autofree char *own = subnet_network_text(&subnet); /* as the kernel writes it */
	*ret_routed = g_ptr_array_find_with_equal_func((GPtrArray *)routes, own, g_str_equal, NULL);
	return 0;
}

/* The kernel would take the route away from the other one without a word. */
static int check_routes(char *const *list, const Family *f, Error **err)
{
	gboolean routed;
	g_autoptr(GPtrArray) routes = NULL;
	if (netlink_route_list(f->bits == 32 ? AF_INET : AF_INET6, &routes, err) < 0)
		return -1;
	for (char *const *one = list; *one; one++) {
		if (is_routed(routes, *one, &routed, err) < 0)
			return -1;
		if (routed)
			return error_set(err, ERROR_INVALID,
			    "IP address \"%s\" is routed to another interface of this host already",
			    *one);
	}
	return 0;
}

static int add_address(
    const char *address, const Config *config, const Family *f, const char *host_name, Error **err)
{
	const char *table = get(config, f, "host_table"), *parent = config_get(config, "parent");
	g_autofree char *cidr = whole(address, f);
	LinkRoute route = { .link = host_name, .cidr = cidr, .protocol = RTPROT_BOOT };
	if (netlink_route_add(&route, err) < 0)
		return -1;
	route.table = table ? (unsigned)strtoul(table, NULL, 10) : 0;
	if (route.table && netlink_route_add(&route, err) < 0)
		return -1;
	return parent ? netlink_neighbor_proxy(parent, address, TRUE, err) : 0;
}

static int family_up(const Config *config, const Family *f, const char *host_name, Error **err)
{
	const char *parent = config_get(config, "parent");
	g_auto(GStrv) list = addresses(config, f);
	g_autofree char *own = whole(host_address(config, f), f);
	if (!*list)
		return 0;
	if ((parent && check_parent(parent, f, err) < 0) || check_routes(list, f, err) < 0 ||
	    probe(parent, config, f, list, err) < 0)
		return -1;
	if (sysctl_set("1", "net/%s/conf/%s/forwarding", f->name, host_name) < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot let \"%s\" forward %s", host_name, f->name);
	if (gateway(config, f) && netlink_address_add(host_name, own, IFA_F_NODAD, err) < 0)
		return -1;
	for (char **one = list; *one; one++)
		if (add_address(*one, config, f, host_name, err) < 0)
			return -1;
	return 0;
}

int nic_routed_up(const Config *config, const char *host_name, Error **err)
{
	const char *parent = config_get(config, "parent");
	if (parent && !netlink_exists(parent))
		return error_set(err, ERROR_INVALID, "Parent device \"%s\" doesn't exist", parent);
	for (gsize n = 0; n < G_N_ELEMENTS(families); n++)
		if (family_up(config, &families[n], host_name, err) < 0)
			return -1;
	return 0;
}

static const char noted_parent[] = "last_state.parent",
		  noted_addresses[] = "last_state.ip_addresses";

int nic_routed_note(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	const char *parent = config_get(config, "parent");
	g_autoptr(GString) all = g_string_new(NULL);
	for (gsize n = 0; parent && n < G_N_ELEMENTS(families); n++) {
		g_auto(GStrv) list = addresses(config, &families[n]);
		for (char **one = list; *one; one++)
			g_string_append_printf(all, "%s%s", all->len ? "," : "", *one);
	}
	return nic_volatile_set(host, name, noted_parent, all->len ? parent : NULL, err) < 0 ?
	    -1 :
	    nic_volatile_set(host, name, noted_addresses, all->len ? all->str : NULL, err);
}

/* Another instance may have the address by now. */
static gboolean is_others(const char *address)
{
	gboolean routed = TRUE;
	g_autoptr(GPtrArray) routes = NULL;
	return netlink_route_list(strchr(address, ':') ? AF_INET6 : AF_INET, &routes, NULL) < 0 ||
	    is_routed(routes, address, &routed, NULL) < 0 || routed;
}

void nic_routed_down(const DeviceHost *host, const char *name)
{
	const char *parent = nic_volatile(host, name, noted_parent);
	g_auto(GStrv) list = subnet_split_list(nic_volatile(host, name, noted_addresses));
	if (!parent)
		return;
	for (char **one = list; *one; one++)
		if (!is_others(*one))
			netlink_neighbor_proxy(parent, *one, FALSE, NULL);
	nic_volatile_set(host, name, noted_parent, NULL, NULL);
	nic_volatile_set(host, name, noted_addresses, NULL, NULL);
}

/* ---- inside ---- */

void nic_routed_settings(const Config *config, DeviceStart *out, unsigned n)
{
	for (gsize k = 0; k < G_N_ELEMENTS(families); k++) {
		const Family *f = &families[k];
		g_auto(GStrv) list = addresses(config, f);
		g_autofree char *address = g_strdup_printf("lxc.net.%u.%s.address", n, f->name);
		g_autofree char *leads = g_strdup_printf("lxc.net.%u.%s.gateway", n, f->name);
		for (char **one = list; *one; one++)
			device_start_config(out, address, "%s/%d", *one, f->bits);
		if (gateway(config, f))
			device_start_config(out, leads, "%s", gateway(config, f));
	}
}

typedef struct Inside {
	const Config *config;
	const char *name;
} Inside;

static int family_inside(const Inside *inside, const Family *f, Error **err)
{
	const char *leads = gateway(inside->config, f);
	g_auto(GStrv) list = addresses(inside->config, f);
	for (char **one = list; *one; one++) {
		g_autofree char *cidr = whole(*one, f);
		if (netlink_address_add(inside->name, cidr, IFA_F_NODAD, err) < 0)
			return -1;
	}
	if (!leads)
		return 0;
	g_autofree char *neighbor = whole(leads, f);
	LinkRoute to_it = { .link = inside->name, .cidr = neighbor, .protocol = RTPROT_BOOT };
	LinkRoute through_it = { .link = inside->name,
		.cidr = f->everywhere,
		.gateway = leads,
		.protocol = RTPROT_BOOT };
	return netlink_route_add(&to_it, err) < 0 ? -1 : netlink_route_add(&through_it, err);
}

static int set_inside(void *data, Error **err)
{
	const Inside *inside = data;
	LinkChange change = LINK_CHANGE_NONE;
	change.up = 1;
	if (netlink_change(inside->name, &change, err) < 0)
		return -1;
	for (gsize n = 0; n < G_N_ELEMENTS(families); n++)
		if (family_inside(inside, &families[n], err) < 0)
			return -1;
	return 0;
}

int nic_routed_inside(const Config *config, const char *name, pid_t pid, Error **err)
{
	Inside inside = { .config = config, .name = name };
	return nic_run_inside(pid, set_inside, &inside, err);
}
