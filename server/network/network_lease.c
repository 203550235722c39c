/* Addresses of nics: static entries for dnsmasq, what it gave out, and filters made from both. */
#include "server/network/bridge_config.h"
#include "server/network/dnsmasq.h"
#include "server/network/firewall.h"
#include "server/network/network.h"
#include "server/network/network_private.h"
#include "server/network/subnet.h"
#include "server/network/usage.h"
#include "sdk/base/log.h"
#include <string.h>
#include <sys/socket.h>

/* "PROJECT_NAME", "NAME" in project default: as files and chains of instances are named. */
static char *full_name(const char *project, const char *instance)
{
	return strcmp(project, "default") == 0 ? g_strdup(instance) :
						 g_strdup_printf("%s_%s", project, instance);
}

/* File name of an entry; device names may hold "/", which becomes "-" ("-" becomes "--"). */
static char *entry_name(const NetworkNic *nic)
{
	g_autofree char *full = full_name(nic->project, nic->instance);
	GString *name = g_string_new(full);
	g_string_append_c(name, '.');
	for (const char *c = nic->device; *c; c++) {
		if (*c == '-')
			g_string_append(name, "--");
		else
			g_string_append_c(name, *c == '/' ? '-' : *c);
	}
	return g_string_free(name, FALSE);
}

static const char *real_address(const char *value)
{
	return value && *value && strcmp(value, "none") != 0 ? value : NULL;
}

static int check_family(const Config *config, const char *family, const char *address, Error **err)
{
	Subnet subnet, one;
	g_autofree char *dhcp = g_strdup_printf("%s.dhcp", family);
	const char *cidr = bridge_config_address(config, family);
	if (!address)
		return 0;
	if (!cidr || subnet_parse(cidr, &subnet, NULL) < 0)
		return error_set(err, ERROR_INVALID,
		    "Cannot specify \"%s.address\" when the network has no %s.address", family,
		    family);
	if (config_false(config, dhcp))
		return error_set(err, ERROR_INVALID,
		    "Cannot specify \"%s.address\" when \"%s\" is disabled on the network", family,
		    dhcp);
	if (strcmp(family, "ipv6") == 0 && !config_true(config, "ipv6.dhcp.stateful"))
		return error_set(err, ERROR_INVALID,
		    "Cannot specify \"ipv6.address\" when \"ipv6.dhcp.stateful\" is disabled on the network");
	if (subnet_parse(address, &one, err) < 0)
		return -1;
	g_autofree char *own = subnet_address_text(&subnet);
	if (!subnet_contains(&subnet, &one))
		return error_set(err, ERROR_INVALID,
		    "Device IP address \"%s\" not within network subnet \"%s\"", address, cidr);
	if (strcmp(own, address) == 0)
		return error_set(
		    err, ERROR_INVALID, "IP address \"%s\" is that of the network itself", address);
	return 0;
}

static gboolean is_self(const NetworkUse *use, const NetworkNic *nic)
{
	return strcmp(use->project, nic->project) == 0 &&
	    strcmp(use->instance, nic->instance) == 0 && strcmp(use->device, nic->device) == 0;
}

/* No other instance on this network may hold the address. */
static int check_unique(Network *network, const NetworkNic *nic, Error **err)
{
	const char *ipv4 = real_address(nic->ipv4), *ipv6 = real_address(nic->ipv6);
	g_autoptr(GPtrArray) uses = NULL;
	if (!ipv4 && !ipv6)
		return 0;
	if (network_uses_load(network->daemon->db, &uses, err) < 0)
		return -1;
	for (guint i = 0; i < uses->len; i++) {
		const NetworkUse *use = g_ptr_array_index(uses, i);
		if (!use->instance || is_self(use, nic) ||
		    !network_use_matches(use, network->project, network_name(network)))
			continue;
		const char *const theirs[] = { config_get(use->config, "ipv4.address"),
			config_get(use->config, "ipv6.address") };
		if ((ipv4 && g_strcmp0(theirs[0], ipv4) == 0) ||
		    (ipv6 && g_strcmp0(theirs[1], ipv6) == 0))
			return error_set(err, ERROR_INVALID,
			    "IP address \"%s\" is already defined on instance \"%s\"",
			    ipv4 && g_strcmp0(theirs[0], ipv4) == 0 ? ipv4 : ipv6, use->instance);
	}
	return 0;
}

int network_lease_update(Network *network, const NetworkNic *nic, Error **err)
{
	g_autoptr(Config) config = network_config(network);
	const char *ipv4 = real_address(nic->ipv4), *ipv6 = real_address(nic->ipv6);
	const char *mode = config_get(config, "dns.mode");
	g_autofree char *line = NULL;
	if (check_family(config, "ipv4", ipv4, err) < 0 ||
	    check_family(config, "ipv6", ipv6, err) < 0)
		return -1;
	gboolean named = !mode || strcmp(mode, "managed") == 0;
	DnsmasqHost host = { .hwaddr = nic->hwaddr,
		.ipv4 = ipv4,
		.ipv6 = ipv6,
		.hostname = named ? nic->instance : NULL };
	if (check_unique(network, nic, err) < 0 || dnsmasq_host_line(&host, &line, err) < 0)
		return -1;
	g_autofree char *directory = network_directory(network);
	g_autofree char *name = entry_name(nic);
	g_mutex_lock(&network->daemon->networks->leases);
	int result = dnsmasq_host_set(directory, name, ipv4 || ipv6 || named ? line : NULL, err);
	g_mutex_unlock(&network->daemon->networks->leases);
	return result;
}

void network_lease_remove(Network *network, const NetworkNic *nic)
{
	g_autofree char *directory = network_directory(network);
	g_autofree char *name = entry_name(nic);
	g_mutex_lock(&network->daemon->networks->leases);
	dnsmasq_host_set(directory, name, NULL, NULL);
	g_mutex_unlock(&network->daemon->networks->leases);
}

static void lease_free(NetworkLease *lease)
{
	g_free(lease->project);
	g_free(lease->hostname);
	g_free(lease->hwaddr);
	g_free(lease->address);
	g_free(lease);
}

static void add_lease(GPtrArray *list, const char *project, const char *hostname,
    const char *hwaddr, const char *address, const char *type)
{
	for (guint i = 0; i < list->len; i++)
		if (strcmp(((NetworkLease *)g_ptr_array_index(list, i))->address, address) == 0)
			return;
	NetworkLease *lease = g_new0(NetworkLease, 1);
	lease->project = g_strdup(project);
	lease->hostname = g_strdup(hostname);
	lease->hwaddr = g_strdup(hwaddr ? hwaddr : "");
	lease->address = g_strdup(address);
	lease->type = type;
	g_ptr_array_add(list, lease);
}

static void add_gateways(Network *network, const Config *config, GPtrArray *list)
{
	static const char *const names[] = {"ipv4", "ipv6"};
	g_autofree char *hostname = g_strdup_printf("%s.gw", network_name(network));
	for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
		Subnet subnet;
		const char *cidr = bridge_config_address(config, names[i]);
		if (!cidr || subnet_parse(cidr, &subnet, NULL) < 0)
			continue;
		g_autofree char *address = subnet_address_text(&subnet);
		add_lease(list, "default", hostname, "", address, "gateway");
	}
}

/* Static entries, and the address a guest gives itself from our router advertisements. */
static void add_static(const NetworkUse *use, const Config *config, GPtrArray *list)
{
	Subnet subnet;
	const char *ipv4 = real_address(config_get(use->config, "ipv4.address"));
	const char *ipv6 = real_address(config_get(use->config, "ipv6.address"));
	const char *cidr = bridge_config_address(config, "ipv6");
	if (ipv4)
		add_lease(list, use->project, use->instance, use->hwaddr, ipv4, "static");
	if (ipv6)
		add_lease(list, use->project, use->instance, use->hwaddr, ipv6, "static");
	else if (cidr && use->hwaddr && !config_true(config, "ipv6.dhcp.stateful") &&
	    subnet_parse(cidr, &subnet, NULL) == 0) {
		g_autofree char *own = subnet_eui64_text(&subnet, use->hwaddr);
		if (own)
			add_lease(list, use->project, use->instance, use->hwaddr, own, "dynamic");
	}
}

static const NetworkUse *use_by_mac(const GPtrArray *uses, const char *hwaddr)
{
	for (guint i = 0; i < uses->len; i++) {
		const NetworkUse *use = g_ptr_array_index(uses, i);
		if (use->hwaddr && g_ascii_strcasecmp(use->hwaddr, hwaddr) == 0)
			return use;
	}
	return NULL;
}

static int by_address(gconstpointer a, gconstpointer b)
{
	Subnet x = {0}, y = {0};
	subnet_parse((*(NetworkLease *const *)a)->address, &x, NULL);
	subnet_parse((*(NetworkLease *const *)b)->address, &y, NULL);
	if (x.family != y.family)
		return x.family == AF_INET ? -1 : 1;
	return memcmp(x.address, y.address, sizeof x.address);
}

static void keep_project(GPtrArray *list, const char *project)
{
	if (!project)
		return;
	for (guint i = list->len; i-- > 0;)
		if (strcmp(((NetworkLease *)g_ptr_array_index(list, i))->project, project) != 0)
			g_ptr_array_remove_index(list, i);
}

int network_leases(Network *network, const char *project, GPtrArray **ret_leases, Error **err)
{
	g_autoptr(Config) config = network_config(network);
	g_autofree char *directory = network_directory(network);
	g_autoptr(GPtrArray) uses = NULL, given = NULL;
	if (network_uses_load(network->daemon->db, &uses, err) < 0 ||
	    dnsmasq_leases(directory, &given, err) < 0)
		return -1;
	g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func((GDestroyNotify)lease_free);
	for (guint i = uses->len; i-- > 0;) {
		const NetworkUse *use = g_ptr_array_index(uses, i);
		if (!use->instance ||
		    !network_use_matches(use, network->project, network_name(network)))
			g_ptr_array_remove_index(uses, i);
	}
	add_gateways(network, config, list);
	for (guint i = 0; i < uses->len; i++)
		add_static(g_ptr_array_index(uses, i), config, list);
	for (guint i = 0; i < given->len; i++) {
		const DnsmasqLease *lease = g_ptr_array_index(given, i);
		const NetworkUse *use = use_by_mac(uses, lease->hwaddr);
		add_lease(list, use ? use->project : "default",
		    use ? use->instance : lease->hostname, lease->hwaddr, lease->address,
		    "dynamic");
	}
	keep_project(list, project);
	g_ptr_array_sort(list, by_address);
	*ret_leases = g_steal_pointer(&list);
	return 0;
}

/* The address that DHCP gave to this MAC before; NULL when none. To free. */
static char *leased_address(Network *network, const char *hwaddr, gboolean ipv6)
{
	g_autofree char *directory = network_directory(network);
	g_autoptr(GPtrArray) given = NULL;
	if (dnsmasq_leases(directory, &given, NULL) < 0)
		return NULL;
	for (guint i = 0; i < given->len; i++) {
		const DnsmasqLease *lease = g_ptr_array_index(given, i);
		if (g_ascii_strcasecmp(lease->hwaddr, hwaddr) == 0 &&
		    (strchr(lease->address, ':') != NULL) == ipv6)
			return g_strdup(lease->address);
	}
	return NULL;
}

/* A filtered nic needs one known address: the static one, the one it had, or a free one that is
 * given to it now by a static entry. */
static char *pick_ipv4(Network *network, const NetworkNic *nic, const Config *config)
{
	Subnet subnet;
	const char *cidr = bridge_config_address(config, "ipv4");
	char *had = leased_address(network, nic->hwaddr, FALSE);
	if (had || !cidr || subnet_parse(cidr, &subnet, NULL) < 0 || subnet.prefix > 30)
		return had;
	g_autofree char *directory = network_directory(network);
	g_autoptr(GPtrArray) leases = NULL;
	if (network_leases(network, "default", &leases, NULL) < 0)
		return NULL;
	/* From a place that the MAC decides, so that it is the same one again after a restart. */
	int64_t hosts = ((int64_t)1 << (32 - subnet.prefix)) - 3;
	g_autofree char *hash = g_compute_checksum_for_string(G_CHECKSUM_SHA256, nic->hwaddr, -1);
	hash[12] = '\0';
	int64_t start = (int64_t)(g_ascii_strtoull(hash, NULL, 16) % (guint64)hosts);
	for (int64_t i = 0; i < hosts; i++) {
		g_autofree char *address = subnet_host_text(&subnet, 2 + (start + i) % hosts);
		gboolean taken = FALSE;
		for (guint j = 0; j < leases->len && !taken; j++)
			taken = strcmp(((NetworkLease *)g_ptr_array_index(leases, j))->address,
				    address) == 0;
		if (!taken)
			return g_steal_pointer(&address);
	}
	return NULL;
}

static char *pick_ipv6(Network *network, const NetworkNic *nic, const Config *config)
{
	Subnet subnet;
	const char *cidr = bridge_config_address(config, "ipv6");
	if (!cidr || subnet_parse(cidr, &subnet, NULL) < 0)
		return NULL;
	char *own = subnet_eui64_text(&subnet, nic->hwaddr);
	return own ? own : leased_address(network, nic->hwaddr, TRUE);
}

int network_filter_set(Network *network, const NetworkNic *nic, Error **err)
{
	g_autoptr(Config) config = network ? network_config(network) : config_new();
	g_autofree char *ipv4 = g_strdup(real_address(nic->ipv4)),
			*ipv6 = g_strdup(real_address(nic->ipv6));
	g_autofree char *instance = full_name(nic->project, nic->instance);
	if (nic->ipv4_filtering && !nic->ipv4 && network &&
	    (ipv4 = pick_ipv4(network, nic, config))) {
		NetworkNic fixed = *nic;
		fixed.ipv4 = ipv4;
		if (!config_false(config, "ipv4.dhcp") &&
		    network_lease_update(network, &fixed, err) < 0)
			return -1;
	}
	if (nic->ipv6_filtering && !nic->ipv6 && network)
		ipv6 = pick_ipv6(network, nic, config);
	const char *const ipv4_list[] = {ipv4, NULL};
	/* Neighbour discovery speaks from the link-local address. */
	const char *const ipv6_list[] = {ipv6, ipv6 ? "fe80::/10" : NULL, NULL};
	FirewallFilter filter = { .instance = instance,
		.device = nic->device,
		.host_name = nic->host_name,
		.hwaddr = nic->hwaddr,
		.mac = nic->mac_filtering || nic->ipv4_filtering || nic->ipv6_filtering,
		.ipv4 = nic->ipv4_filtering,
		.ipv6 = nic->ipv6_filtering,
		.ipv4_addresses = ipv4_list,
		.ipv6_addresses = ipv6_list };
	return firewall_filter_apply(&filter, err);
}

void network_filter_remove(const NetworkNic *nic)
{
	g_autoptr(Error) err = NULL;
	g_autofree char *instance = full_name(nic->project, nic->instance);
	if (firewall_filter_remove(instance, nic->device, &err) < 0)
		log_warn("Filter of a nic stays", "instance", instance, "device", nic->device,
		    "err", err->message);
}
