/* dnsmasq's words: command line, host entries and lease file. Nothing here touches the host. */
#include "server/network/dnsmasq.h"
#include "server/network/subnet.h"
#include "sdk/base/names.h"
#include <string.h>
#include <sys/socket.h>

static const char *address_of(const Config *config, const char *key)
{
	const char *value = config_get(config, key);
	return value && *value && strcmp(value, "none") != 0 ? value : NULL;
}

gboolean dnsmasq_wanted(const Config *config)
{
	return address_of(config, "ipv4.address") || address_of(config, "ipv6.address");
}

static void add(GPtrArray *argv, const char *format, ...) G_GNUC_PRINTF(2, 3);

static void add(GPtrArray *argv, const char *format, ...)
{
	va_list list;
	va_start(list, format);
	g_ptr_array_add(argv, g_strdup_vprintf(format, list));
	va_end(list);
}

static const char *get_or(const Config *config, const char *key, const char *otherwise)
{
	const char *value = config_get(config, key);
	return value && *value ? value : otherwise;
}

/* "10.0.0.2-10.0.0.9" becomes "10.0.0.2,10.0.0.9" with the tail appended. */
static void add_ranges(GPtrArray *argv, const char *ranges, const char *tail)
{
	g_auto(GStrv) list = subnet_split_list(ranges);
	for (char **range = list; *range; range++)
		add(argv, "--dhcp-range=%s%s", g_strdelimit(*range, "-", ','), tail);
}

static void add_dhcp4_options(GPtrArray *argv, const Config *config)
{
	const char *gateway = config_get(config, "ipv4.dhcp.gateway");
	const char *mtu = get_or(config, "bridge.mtu", "1500");
	const char *search = config_get(config, "dns.search");
	if (gateway)
		add(argv, "--dhcp-option-force=3,%s", gateway);
	if (strcmp(mtu, "1500") != 0)
		add(argv, "--dhcp-option-force=26,%s", mtu);
	if (search) {
		g_auto(GStrv) list = subnet_split_list(search);
		g_autofree char *joined = g_strjoinv(",", list);
		add(argv, "--dhcp-option-force=119,%s", joined);
	}
}

static void add_ipv4(GPtrArray *argv, const Config *config)
{
	Subnet subnet;
	const char *cidr = address_of(config, "ipv4.address");
	if (!cidr || subnet_parse(cidr, &subnet, NULL) < 0)
		return;
	g_autofree char *address = subnet_address_text(&subnet);
	add(argv, "--listen-address=%s", address);
	if (config_false(config, "ipv4.dhcp"))
		return;
	add_dhcp4_options(argv, config);
	g_autofree char *tail = g_strdup_printf(",%s", get_or(config, "ipv4.dhcp.expiry", "1h"));
	const char *ranges = config_get(config, "ipv4.dhcp.ranges");
	if (ranges) {
		add_ranges(argv, ranges, tail);
		return;
	}
	g_autofree char *first = subnet_host_text(&subnet, subnet.prefix < 31 ? 2 : 0);
	g_autofree char *last = subnet_host_text(&subnet, subnet.prefix < 31 ? -2 : -1);
	add(argv, "--dhcp-range=%s,%s%s", first, last, tail);
}

static void add_ipv6_range(
    GPtrArray *argv, const Config *config, const Subnet *subnet, const char *bridge)
{
	if (config_false(config, "ipv6.dhcp")) {
		add(argv, "--dhcp-range=::,constructor:%s,ra-only", bridge);
		return;
	}
	if (!config_true(config, "ipv6.dhcp.stateful")) {
		add(argv, "--dhcp-range=::,constructor:%s,ra-stateless,ra-names", bridge);
		return;
	}
	const char *expiry = get_or(config, "ipv6.dhcp.expiry", "1h");
	const char *ranges = config_get(config, "ipv6.dhcp.ranges");
	g_autofree char *tail = g_strdup_printf(",%u,%s", subnet->prefix, expiry);
	if (ranges) {
		add_ranges(argv, ranges, tail);
		return;
	}
	g_autofree char *first = subnet_host_text(subnet, 2);
	g_autofree char *last = subnet_host_text(subnet, -1);
	add(argv, "--dhcp-range=%s,%s%s", first, last, tail);
}

static void add_ipv6(GPtrArray *argv, const Config *config, const char *bridge)
{
	Subnet subnet;
	const char *cidr = address_of(config, "ipv6.address");
	if (!cidr || subnet_parse(cidr, &subnet, NULL) < 0)
		return;
	g_autofree char *address = subnet_address_text(&subnet);
	add(argv, "--listen-address=%s", address);
	add(argv, "--enable-ra");
	add_ipv6_range(argv, config, &subnet, bridge);
	if (config_get(config, "bridge.mtu"))
		add(argv, "--ra-param=%s,mtu:%s,0,0", bridge, config_get(config, "bridge.mtu"));
}

static void add_dns(GPtrArray *argv, const Config *config, const char *bridge)
{
	const char *mode = get_or(config, "dns.mode", "managed");
	const char *domain = get_or(config, "dns.domain", "incus");
	if (strcmp(mode, "none") == 0)
		return;
	add(argv, "--domain=%s", domain);
	add(argv, "--local=/%s/", domain);
	add(argv, "--interface-name=_gateway.%s,%s", domain, bridge);
	/* Names are ours to give: a guest cannot take another's by asking for it. */
	if (strcmp(mode, "managed") == 0)
		add(argv, "--dhcp-ignore-names=tag:!known");
}

GPtrArray *dnsmasq_command(const DnsmasqSetup *setup)
{
	GPtrArray *argv = g_ptr_array_new_with_free_func(g_free);
	const Config *config = setup->config;
	add(argv, "dnsmasq");
	/* Without it dnsmasq would read the host's own configuration. */
	if (config_get(config, "raw.dnsmasq"))
		add(argv, "--conf-file=%s/dnsmasq.raw", setup->directory);
	else
		add(argv, "--conf-file=/dev/null");
	add(argv, "--interface=%s", setup->bridge);
	add(argv, "--except-interface=lo");
	add(argv, "--bind-interfaces");
	add(argv, "--strict-order");
	add(argv, "--no-hosts");
	add(argv, "--no-ping");
	add(argv, "--quiet-dhcp");
	add(argv, "--quiet-dhcp6");
	add(argv, "--quiet-ra");
	add(argv, "--dhcp-authoritative");
	add(argv, "--dhcp-no-override");
	add(argv, "--dhcp-rapid-commit");
	add(argv, "--pid-file=%s/dnsmasq.pid", setup->directory);
	add(argv, "--dhcp-leasefile=%s/dnsmasq.leases", setup->directory);
	add(argv, "--dhcp-hostsfile=%s/dnsmasq.hosts", setup->directory);
	add_ipv4(argv, config);
	add_ipv6(argv, config, setup->bridge);
	add_dns(argv, config, setup->bridge);
	add(argv, "--user=%s", setup->user ? setup->user : "root");
	if (setup->group)
		add(argv, "--group=%s", setup->group);
	g_ptr_array_add(argv, NULL);
	return argv;
}

int dnsmasq_host_line(const DnsmasqHost *host, char **ret_line, Error **err)
{
	if (name_check_mac(host->hwaddr, err) < 0 ||
	    (host->ipv4 && name_check_ipv4(host->ipv4, err) < 0) ||
	    (host->ipv6 && name_check_ipv6(host->ipv6, err) < 0) ||
	    (host->hostname && name_check_hostname(host->hostname, err) < 0))
		return -1;
	GString *line = g_string_new(host->hwaddr);
	if (host->ipv4)
		g_string_append_printf(line, ",%s", host->ipv4);
	if (host->ipv6)
		g_string_append_printf(line, ",[%s]", host->ipv6);
	if (host->hostname)
		g_string_append_printf(line, ",%s", host->hostname);
	g_string_append_c(line, '\n');
	*ret_line = g_string_free(line, FALSE);
	return 0;
}

void dnsmasq_lease_free(DnsmasqLease *lease)
{
	if (!lease)
		return;
	g_free(lease->hostname);
	g_free(lease->hwaddr);
	g_free(lease->address);
	g_free(lease);
}

/* IPv4 lines carry the MAC. IPv6 lines carry the client's DUID, which ends with the MAC in the two
 * kinds (1: link-layer plus time, 3: link-layer; RFC 8415 section 11) that hold one. */
static char *lease_mac(char **fields)
{
	if (strchr(fields[1], ':'))
		return g_ascii_strdown(fields[1], -1);
	const char *duid = fields[4];
	size_t length = strlen(duid);
	gboolean holds_mac = g_str_has_prefix(duid, "00:01:") || g_str_has_prefix(duid, "00:03:");
	return holds_mac && length > 17 ? g_ascii_strdown(duid + length - 17, -1) : g_strdup("");
}

GPtrArray *dnsmasq_leases_parse(const char *text)
{
	GPtrArray *leases = g_ptr_array_new_with_free_func((GDestroyNotify)dnsmasq_lease_free);
	g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
	for (char **line = lines; *line; line++) {
		/* expiry, MAC or IAID, address, name or "*", client id; "duid ..." is the server's
		 * own. */
		g_auto(GStrv) fields = g_strsplit(*line, " ", -1);
		if (g_strv_length(fields) < 5 || name_check_ip(fields[2], NULL) < 0)
			continue;
		DnsmasqLease *lease = g_new0(DnsmasqLease, 1);
		lease->hwaddr = lease_mac(fields);
		lease->address = g_strdup(fields[2]);
		lease->hostname = g_strdup(strcmp(fields[3], "*") == 0 ? "" : fields[3]);
		g_ptr_array_add(leases, lease);
	}
	return leases;
}
