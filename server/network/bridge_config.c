#include "server/network/bridge_config.h"
#include "server/network/subnet.h"
#include "sdk/base/names.h"
#include "sdk/base/units.h"
#include "server/key/key.h"
#include <string.h>
#include <sys/socket.h>

typedef int (*Check)(const char *value, Error **err);

static int check_bool(const char *value, Error **err)
{
	static const char *const words[] = {"true", "false", "1", "0", "yes", "no", "on", "off"};
	for (size_t i = 0; i < G_N_ELEMENTS(words); i++)
		if (g_ascii_strcasecmp(value, words[i]) == 0)
			return 0;
	return error_set(err, ERROR_INVALID, "Invalid value for a boolean \"%s\"", value);
}

static int check_word(const char *value, const char *const *words, Error **err)
{
	if (g_strv_contains(words, value))
		return 0;
	g_autofree char *list = g_strjoinv(", ", (char **)words);
	return error_set(err, ERROR_INVALID, "Invalid value \"%s\" (not one of %s)", value, list);
}

static int check_order(const char *value, Error **err)
{
	static const char *const words[] = {"before", "after", NULL};
	return check_word(value, words, err);
}

static int check_dns_mode(const char *value, Error **err)
{
	static const char *const words[] = {"none", "managed", "dynamic", NULL};
	return check_word(value, words, err);
}

static int check_driver(const char *value, Error **err)
{
	static const char *const words[] = {"native", "openvswitch", NULL};
	if (check_word(value, words, err) < 0)
		return -1;
	if (strcmp(value, "native") != 0)
		return error_set(
		    err, ERROR_UNSUPPORTED, "Open vSwitch bridges are not built into this server");
	return 0;
}

static int check_mtu(const char *value, Error **err)
{
	int64_t mtu;
	return units_parse_int(value, 68, 65535, &mtu, err);
}

/* The bridge's own address is one of the subnet, and the subnet has room for guests. */
static int check_address(const char *value, int family, Error **err)
{
	Subnet subnet;
	if (strcmp(value, "none") == 0 || strcmp(value, "auto") == 0)
		return 0;
	if (!strchr(value, '/') || subnet_parse(value, &subnet, NULL) < 0 ||
	    subnet.family != family)
		return error_set(err, ERROR_INVALID,
		    "Not an %s address with a prefix length: \"%s\"",
		    family == AF_INET ? "IPv4" : "IPv6", value);
	g_autofree char *network = subnet_network_text(&subnet);
	if (strcmp(network, value) == 0 && subnet.prefix < subnet_size(&subnet) * 8 - 1)
		return error_set(
		    err, ERROR_INVALID, "Not a usable address but a whole subnet: \"%s\"", value);
	return 0;
}

static int check_ipv4_address(const char *value, Error **err)
{
	return check_address(value, AF_INET, err);
}

static int check_ipv6_address(const char *value, Error **err)
{
	return check_address(value, AF_INET6, err);
}

static int check_list(const char *value, Check each, Error **err)
{
	g_auto(GStrv) words = subnet_split_list(value);
	if (!*words)
		return error_set(err, ERROR_INVALID, "The list is empty");
	for (char **word = words; *word; word++)
		if (each(*word, err) < 0)
			return -1;
	return 0;
}

static int check_ipv4_ranges(const char *value, Error **err)
{
	return check_list(value, name_check_ipv4_range, err);
}

static int check_ipv6_ranges(const char *value, Error **err)
{
	return check_list(value, name_check_ipv6_range, err);
}

static int check_ipv4_routes(const char *value, Error **err)
{
	return check_list(value, name_check_ipv4_network, err);
}

static int check_ipv6_routes(const char *value, Error **err)
{
	return check_list(value, name_check_ipv6_network, err);
}

static int check_interfaces(const char *value, Error **err)
{
	return check_list(value, name_check_interface, err);
}

/* Dot-separated labels: letters, digits, dashes. */
static int check_domain(const char *value, Error **err)
{
	g_auto(GStrv) labels = g_strsplit(value, ".", -1);
	for (char **label = labels; *label; label++) {
		size_t good = strspn(
		    *label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_");
		if (good == 0 || good > 63 || (*label)[good] || (*label)[0] == '-')
			return error_set(err, ERROR_INVALID, "Not a domain name: \"%s\"", value);
	}
	return 0;
}

static int check_search(const char *value, Error **err)
{
	return check_list(value, check_domain, err);
}

/* dnsmasq's lease time: a number with an optional unit, or "infinite". */
static int check_expiry(const char *value, Error **err)
{
	size_t digits = strspn(value, "0123456789");
	const char *unit = value + digits;
	if (strcmp(value, "infinite") == 0 ||
	    (digits > 0 && digits < 10 && (!*unit || (strchr("smhdw", *unit) && !unit[1]))))
		return 0;
	return error_set(err, ERROR_INVALID,
	    "Not a lease time (like \"30m\", \"1h\", \"infinite\"): \"%s\"", value);
}

/* Lines are wanted here; other control characters are not. */
static int check_raw(const char *value, Error **err)
{
	for (const char *c = value; *c; c++)
		if (((uint8_t)*c < ' ' && !strchr("\n\t", *c)) || *c == 127)
			return error_set(err, ERROR_INVALID, "Control characters are not allowed");
	return 0;
}

static int refuse_later(const char *value, Error **err)
{
	return error_set(err, ERROR_UNSUPPORTED, "This feature is not built into this server");
}

typedef struct Option {
	const char *name; /* ends with '.' or '*': a prefix */
	Check check;
} Option;

static const Option options[] = {
    {"bridge.driver", check_driver},
    {"bridge.external_interfaces", check_interfaces},
    {"bridge.hwaddr", name_check_mac},
    {"bridge.mtu", check_mtu},
    {"bgp.", refuse_later},
    {"dns.domain", check_domain},
    {"dns.mode", check_dns_mode},
    {"dns.search", check_search},
    {"dns.zone.", refuse_later},
    {"ipv4.address", check_ipv4_address},
    {"ipv4.dhcp", check_bool},
    {"ipv4.dhcp.expiry", check_expiry},
    {"ipv4.dhcp.gateway", name_check_ipv4},
    {"ipv4.dhcp.ranges", check_ipv4_ranges},
    {"ipv4.firewall", check_bool},
    {"ipv4.nat", check_bool},
    {"ipv4.nat.address", name_check_ipv4},
    {"ipv4.nat.order", check_order},
    {"ipv4.ovn.ranges", refuse_later},
    {"ipv4.routes", check_ipv4_routes},
    {"ipv4.routing", check_bool},
    {"ipv6.address", check_ipv6_address},
    {"ipv6.dhcp", check_bool},
    {"ipv6.dhcp.expiry", check_expiry},
    {"ipv6.dhcp.ranges", check_ipv6_ranges},
    {"ipv6.dhcp.stateful", check_bool},
    {"ipv6.firewall", check_bool},
    {"ipv6.nat", check_bool},
    {"ipv6.nat.address", name_check_ipv6},
    {"ipv6.nat.order", check_order},
    {"ipv6.ovn.ranges", refuse_later},
    {"ipv6.routes", check_ipv6_routes},
    {"ipv6.routing", check_bool},
    {"raw.dnsmasq", check_raw},
    {"security.acls", refuse_later},
    {"security.acls.", refuse_later},
    {"tunnel.", refuse_later},
    {"user.", name_check_text},
    {"volatile.bridge.hwaddr", name_check_mac},
};

static const Option *find_option(const char *name)
{
	for (size_t i = 0; i < G_N_ELEMENTS(options); i++) {
		const char *known = options[i].name;
		size_t length = strlen(known);
		gboolean prefix = known[length - 1] == '.';
		if (prefix ? strncmp(name, known, length) == 0 && name[length] :
			     strcmp(name, known) == 0)
			return &options[i];
	}
	return NULL;
}

static int check_key(const char *name, const char *value, Error **err)
{
	const Option *option = find_option(name);
	if (!option) /* the rows of server/key know what was removed, and what to use instead */
		return key_check(KEY_NETWORK, "bridge", name, value, err) < 0 ? -1 :
		    error_set(err, ERROR_INVALID, "Invalid option for network: \"%s\"", name);
	if (!*value)
		return 0;
	if (option->check(value, err) < 0)
		return error_prefix(err, "Invalid value for network option \"%s\"", name);
	return 0;
}

const char *bridge_config_address(const Config *config, const char *family)
{
	g_autofree char *key = g_strdup_printf("%s.address", family);
	const char *value = config_get(config, key);
	return value && *value && strcmp(value, "none") != 0 ? value : NULL;
}

unsigned bridge_config_mtu(const Config *config)
{
	int64_t mtu = 0;
	const char *value = config_get(config, "bridge.mtu");
	if (value)
		units_parse_int(value, 68, 65535, &mtu, NULL);
	return (unsigned)mtu;
}

static int check_inside(const Subnet *subnet, const char *key, const char *address, Error **err)
{
	Subnet one;
	if (subnet_parse(address, &one, err) < 0)
		return -1;
	if (subnet_contains(subnet, &one))
		return 0;
	g_autofree char *network = subnet_network_text(subnet);
	return error_set(err, ERROR_INVALID,
	    "Invalid value for network option \"%s\": %s is not in %s", key, address, network);
}

/* Both ends of every range are addresses of the subnet. */
static int check_ranges_inside(const Config *config, const char *family, Error **err)
{
	Subnet subnet;
	g_autofree char *key = g_strdup_printf("%s.dhcp.ranges", family);
	const char *cidr = bridge_config_address(config, family);
	g_auto(GStrv) ranges = subnet_split_list(config_get(config, key));
	if (!*ranges || !cidr || strcmp(cidr, "auto") == 0)
		return 0;
	if (subnet_parse(cidr, &subnet, err) < 0)
		return -1;
	for (char **range = ranges; *range; range++) {
		g_auto(GStrv) ends = g_strsplit(*range, "-", 2);
		for (char **end = ends; *end; end++)
			if (check_inside(&subnet, key, g_strstrip(*end), err) < 0)
				return -1;
	}
	return 0;
}

/* Router advertisements carry /64 prefixes only; others need addresses handed out. */
static int check_ipv6_prefix(const Config *config, Error **err)
{
	Subnet subnet;
	const char *cidr = bridge_config_address(config, "ipv6");
	if (!cidr || strcmp(cidr, "auto") == 0 || subnet_parse(cidr, &subnet, NULL) < 0)
		return 0;
	if (subnet.prefix > 64 && !config_true(config, "ipv6.dhcp.stateful") &&
	    !config_false(config, "ipv6.dhcp"))
		return error_set(err, ERROR_INVALID,
		    "IPv6 subnet \"%s\" is smaller than /64: set \"ipv6.dhcp.stateful\" to true or \"ipv6.dhcp\" to false",
		    cidr);
	return 0;
}

int bridge_config_check(const Config *config, Error **err)
{
	guint n;
	g_autofree const char **names = config_sorted_keys(config, &n);
	for (guint i = 0; i < n; i++)
		if (check_key(names[i], config_get(config, names[i]), err) < 0)
			return -1;
	if (check_ranges_inside(config, "ipv4", err) < 0 ||
	    check_ranges_inside(config, "ipv6", err) < 0)
		return -1;
	if (bridge_config_mtu(config) && bridge_config_mtu(config) < 1280 &&
	    bridge_config_address(config, "ipv6"))
		return error_set(
		    err, ERROR_INVALID, "IPv6 needs a \"bridge.mtu\" of at least 1280");
	return check_ipv6_prefix(config, err);
}

static void family_defaults(
    Config *config, const char *address_key, const char *nat_key, gboolean available)
{
	if (!config_get(config, address_key))
		config_set(config, address_key, available ? "auto" : "none");
	if (g_strcmp0(config_get(config, address_key), "auto") == 0 && !config_get(config, nat_key))
		config_set(config, nat_key, "true");
}

void bridge_config_defaults(Config *config, gboolean have_ipv6)
{
	family_defaults(config, "ipv4.address", "ipv4.nat", TRUE);
	family_defaults(config, "ipv6.address", "ipv6.nat", have_ipv6);
}

int bridge_config_resolve(Config *config, const GPtrArray *taken, Error **err)
{
	g_autofree char *ipv4 = NULL, *ipv6 = NULL;
	if (g_strcmp0(config_get(config, "ipv4.address"), "auto") == 0) {
		if (subnet_pick_ipv4(taken, &ipv4, err) < 0)
			return -1;
		config_set(config, "ipv4.address", ipv4);
	}
	if (g_strcmp0(config_get(config, "ipv6.address"), "auto") == 0) {
		if (subnet_pick_ipv6(taken, &ipv6, err) < 0)
			return -1;
		config_set(config, "ipv6.address", ipv6);
	}
	return 0;
}
