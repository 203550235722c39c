#include "server/network/firewall.h"
#include "server/network/subnet.h"
#include "sdk/base/names.h"
#include <nftables/libnftables.h>
#include <string.h>
#include <sys/socket.h>

/* libnftables keeps global state (its parser and interface cache): one run at a time. */
static GMutex run_lock;

static int run(const char *rules, Error **err)
{
	g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&run_lock);
	struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT);
	if (!nft)
		return error_set(err, ERROR_INTERNAL, "Failed to prepare nftables");
	nft_ctx_buffer_output(nft);
	nft_ctx_buffer_error(nft);
	int failed = nft_run_cmd_from_buffer(nft, rules);
	int result = 0;
	if (failed) {
		const char *words = nft_ctx_get_error_buffer(nft);
		g_auto(GStrv) lines = g_strsplit(words ? words : "", "\n", 2);
		result = error_set(err, ERROR_INTERNAL, "Failed to set firewall rules: %s",
		    lines[0] && *lines[0] ? lines[0] : "nftables is missing in this kernel");
	}
	nft_ctx_free(nft);
	return result;
}

/* Declares a chain that is empty afterwards, whatever was there. `hook` NULL only empties it. */
static void reset_chain(GString *s, const char *family, const char *chain, const char *hook)
{
	g_string_append_printf(
	    s, "add chain %s incus %s { %s; policy accept; }\n", family, chain, hook);
	g_string_append_printf(s, "flush chain %s incus %s\n", family, chain);
}

static void drop_chain(GString *s, const char *family, const char *chain, const char *hook)
{
	reset_chain(s, family, chain, hook);
	g_string_append_printf(s, "delete chain %s incus %s\n", family, chain);
}

typedef struct Hook {
	const char *prefix, *hook;
} Hook;

static const Hook network_hooks[] = {
    {"in", "type filter hook input priority 0"},
    {"out", "type filter hook output priority 0"},
    {"fwd", "type filter hook forward priority 0"},
    {"pstrt", "type nat hook postrouting priority 99"},
    {"pstrt-after", "type nat hook postrouting priority 101"},
};

static void rule(GString *s, const char *chain, const char *bridge, const char *format, ...)
    G_GNUC_PRINTF(4, 5);

static void rule(GString *s, const char *chain, const char *bridge, const char *format, ...)
{
	va_list list;
	g_string_append_printf(s, "add rule inet incus %s.%s ", chain, bridge);
	va_start(list, format);
	g_string_append_vprintf(s, format, list);
	va_end(list);
	g_string_append_c(s, '\n');
}

/* One address family of a network: its words in nft and its keys in the configuration. */
typedef struct Family {
	const char *key;       /* "ipv4" */
	const char *nfproto;   /* meta nfproto value */
	const char *ip;        /* expression prefix */
	const char *icmp;      /* what must pass for the protocol to work, both ways */
	const char *dhcp_in, *dhcp_out;
} Family;

static const Family families[] = {
	{ "ipv4", "ipv4", "ip",
	    "icmp type { destination-unreachable, time-exceeded, parameter-problem, echo-request }",
	    "udp dport 67", "udp sport 67" },
	{ "ipv6", "ipv6", "ip6",
	    "icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem, "
	    "echo-request, nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, "
	    "mld2-listener-report }",
	    "udp dport 547", "udp sport 547" },
};

static const char *family_get(const Config *config, const Family *family, const char *key)
{
	g_autofree char *full = g_strdup_printf("%s.%s", family->key, key);
	return config_get(config, full);
}

static gboolean family_off(const Config *config, const Family *family, const char *key)
{
	g_autofree char *full = g_strdup_printf("%s.%s", family->key, key);
	return config_false(config, full);
}

static void service_rules(
    GString *s, const char *bridge, const Config *config, const Family *family)
{
	const char *nf = family->nfproto;
	rule(s, "in", bridge, "iifname \"%s\" meta nfproto %s tcp dport 53 accept", bridge, nf);
	rule(s, "in", bridge, "iifname \"%s\" meta nfproto %s udp dport 53 accept", bridge, nf);
	rule(s, "out", bridge, "oifname \"%s\" meta nfproto %s tcp sport 53 accept", bridge, nf);
	rule(s, "out", bridge, "oifname \"%s\" meta nfproto %s udp sport 53 accept", bridge, nf);
	rule(s, "in", bridge, "iifname \"%s\" %s accept", bridge, family->icmp);
	rule(s, "out", bridge, "oifname \"%s\" %s accept", bridge, family->icmp);
	if (family_off(config, family, "dhcp"))
		return;
	rule(s, "in", bridge, "iifname \"%s\" meta nfproto %s %s accept", bridge, nf,
	    family->dhcp_in);
	rule(s, "out", bridge, "oifname \"%s\" meta nfproto %s %s accept", bridge, nf,
	    family->dhcp_out);
}

/* Nobody outside may claim to be of this network, and nobody inside may be 127.0.0.1 or the like.
 */
static void spoof_rules(GString *s, const char *bridge, const Family *family, const char *network)
{
	rule(s, "fwd", bridge, "iifname != \"%s\" oifname \"%s\" %s saddr %s drop", bridge, bridge,
	    family->ip, network);
	rule(s, "in", bridge, "iifname \"%s\" %s saddr %s drop", bridge, family->ip,
	    strcmp(family->key, "ipv4") == 0 ? "127.0.0.0/8" : "::1");
}

static void forward_rules(
    GString *s, const char *bridge, const Config *config, const Family *family)
{
	const char *verdict = family_off(config, family, "routing") ? "reject" : "accept";
	rule(s, "fwd", bridge, "meta nfproto %s oifname \"%s\" %s", family->nfproto, bridge,
	    verdict);
	rule(s, "fwd", bridge, "meta nfproto %s iifname \"%s\" %s", family->nfproto, bridge,
	    verdict);
}

static void nat_rule(
    GString *s, const char *bridge, const Config *config, const Family *family, const char *network)
{
	const char *address = family_get(config, family, "nat.address");
	const char *chain = g_strcmp0(family_get(config, family, "nat.order"), "after") == 0 ?
	    "pstrt-after" :
	    "pstrt";
	g_autofree char *target = address && *address ?
	    g_strdup_printf("snat %s to %s", family->ip, address) :
	    g_strdup("masquerade");
	rule(s, chain, bridge, "%s saddr %s %s daddr != %s %s", family->ip, network, family->ip,
	    network, target);
}

static void family_rules(GString *s, const char *bridge, const Config *config, const Family *family)
{
	Subnet subnet;
	const char *cidr = family_get(config, family, "address");
	g_autofree char *nat = g_strdup_printf("%s.nat", family->key);
	if (!cidr || strcmp(cidr, "none") == 0 || subnet_parse(cidr, &subnet, NULL) < 0)
		return;
	g_autofree char *network = subnet_network_text(&subnet);
	if (!family_off(config, family, "firewall")) {
		spoof_rules(s, bridge, family, network);
		service_rules(s, bridge, config, family);
		forward_rules(s, bridge, config, family);
	}
	if (config_true(config, nat))
		nat_rule(s, bridge, config, family, network);
}

char *firewall_network_rules(const char *bridge, const Config *config)
{
	GString *s = g_string_new("add table inet incus\n");
	for (size_t i = 0; i < G_N_ELEMENTS(network_hooks); i++) {
		g_autofree char *chain = g_strdup_printf("%s.%s", network_hooks[i].prefix, bridge);
		reset_chain(s, "inet", chain, network_hooks[i].hook);
	}
	for (size_t i = 0; i < G_N_ELEMENTS(families); i++)
		family_rules(s, bridge, config, &families[i]);
	return g_string_free(s, FALSE);
}

int firewall_network_apply(const char *bridge, const Config *config, Error **err)
{
	g_autofree char *rules = firewall_network_rules(bridge, config);
	return run(rules, err);
}

int firewall_network_remove(const char *bridge, Error **err)
{
	g_autoptr(GString) s = g_string_new("add table inet incus\n");
	for (size_t i = 0; i < G_N_ELEMENTS(network_hooks); i++) {
		g_autofree char *chain = g_strdup_printf("%s.%s", network_hooks[i].prefix, bridge);
		drop_chain(s, "inet", chain, network_hooks[i].hook);
	}
	return run(s->str, err);
}

/* Chain names allow letters, digits and "/_.-"; what else a project's name may hold is written in
 * hexadecimal, so that it cannot end the word. */
static char *filter_chain(const char *direction, const char *instance, const char *device)
{
	GString *s = g_string_new(direction);
	const char *const parts[] = {instance, device};
	for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
		g_string_append_c(s, '.');
		for (const char *c = parts[i]; *c; c++) {
			if (g_ascii_isalnum(*c) || strchr("/_.-", *c))
				g_string_append_c(s, *c);
			else
				g_string_append_printf(s, "_x%02x", (uint8_t)*c);
		}
	}
	return g_string_free(s, FALSE);
}

static const Hook filter_hooks[] = {
    {"in", "type filter hook input priority 0"},
    {"fwd", "type filter hook forward priority 0"},
};

static char *address_set(const char *const *addresses)
{
	g_autofree char *joined = g_strjoinv(", ", (char **)addresses);
	return g_strdup_printf("{ %s }", joined);
}

static void mac_rules(GString *s, const char *head, const FirewallFilter *f)
{
	/* ARP and neighbour advertisements name a MAC once more in their body. */
	g_autofree char *hex = g_strdup(f->hwaddr);
	char *out = hex;
	for (const char *in = f->hwaddr; *in; in++)
		if (*in != ':')
			*out++ = *in;
	*out = '\0';
	g_string_append_printf(s, "%s ether saddr != %s drop\n", head, f->hwaddr);
	g_string_append_printf(s, "%s arp saddr ether != %s drop\n", head, f->hwaddr);
	g_string_append_printf(
	    s, "%s icmpv6 type nd-neighbor-advert @nh,528,48 != 0x%s drop\n", head, hex);
}

static void ipv4_rules(GString *s, const char *head, const FirewallFilter *f)
{
	if (!f->ipv4_addresses || !*f->ipv4_addresses) {
		g_string_append_printf(
		    s, "%s ether type arp drop\n%s ether type ip drop\n", head, head);
		return;
	}
	g_autofree char *set = address_set(f->ipv4_addresses);
	/* A client without address yet asks by DHCP from 0.0.0.0. */
	g_string_append_printf(s, "%s ip saddr 0.0.0.0 udp dport 67 accept\n", head);
	g_string_append_printf(s, "%s arp saddr ip != %s drop\n", head, set);
	g_string_append_printf(s, "%s ip saddr != %s drop\n", head, set);
}

static void ipv6_rules(GString *s, const char *head, const FirewallFilter *f)
{
	/* A guest is no router. */
	g_string_append_printf(s, "%s icmpv6 type nd-router-advert drop\n", head);
	if (!f->ipv6_addresses || !*f->ipv6_addresses) {
		g_string_append_printf(s, "%s ether type ip6 drop\n", head);
		return;
	}
	g_autofree char *set = address_set(f->ipv6_addresses);
	/* Duplicate address detection and router solicitation come from :: */
	g_string_append_printf(s,
	    "%s ip6 saddr :: icmpv6 type { nd-neighbor-solicit, nd-router-solicit, "
	    "mld2-listener-report } accept\n",
	    head);
	g_string_append_printf(s, "%s ip6 saddr != %s drop\n", head, set);
}

static void direction_rules(GString *s, const char *direction, const FirewallFilter *f)
{
	g_autofree char *chain = filter_chain(direction, f->instance, f->device);
	g_autofree char *head = g_strdup_printf(
	    "add rule bridge incus %s iifname \"%s\"", chain, f->host_name);
	if (f->mac)
		mac_rules(s, head, f);
	if (f->ipv4)
		ipv4_rules(s, head, f);
	if (f->ipv6)
		ipv6_rules(s, head, f);
	/* Filtering by address lets nothing else through: no other protocol can carry a spoofed
	 * one. */
	if (f->ipv4 && f->ipv6)
		g_string_append_printf(s, "%s ether type != { arp, ip, ip6 } drop\n", head);
}

char *firewall_filter_rules(const FirewallFilter *filter)
{
	GString *s = g_string_new("add table bridge incus\n");
	for (size_t i = 0; i < G_N_ELEMENTS(filter_hooks); i++) {
		g_autofree char *chain = filter_chain(
		    filter_hooks[i].prefix, filter->instance, filter->device);
		reset_chain(s, "bridge", chain, filter_hooks[i].hook);
		direction_rules(s, filter_hooks[i].prefix, filter);
	}
	return g_string_free(s, FALSE);
}

int firewall_filter_apply(const FirewallFilter *filter, Error **err)
{
	if (name_check_interface(filter->host_name, err) < 0 ||
	    name_check_mac(filter->hwaddr, err) < 0)
		return -1;
	g_autofree char *rules = firewall_filter_rules(filter);
	return run(rules, err);
}

int firewall_filter_remove(const char *instance, const char *device, Error **err)
{
	g_autoptr(GString) s = g_string_new("add table bridge incus\n");
	for (size_t i = 0; i < G_N_ELEMENTS(filter_hooks); i++) {
		g_autofree char *chain = filter_chain(filter_hooks[i].prefix, instance, device);
		drop_chain(s, "bridge", chain, filter_hooks[i].hook);
	}
	return run(s->str, err);
}

int firewall_limit(const char *host_name, uint64_t bits_per_second, Error **err)
{
	if (name_check_interface(host_name, err) < 0)
		return -1;
	g_autofree char *hook = g_strdup_printf(
	    "type filter hook ingress device \"%s\" priority -500", host_name);
	g_autofree char *chain = g_strdup_printf("limit.%s", host_name);
	g_autoptr(GString) s = g_string_new("add table netdev incus\n");
	uint64_t rate = MAX(bits_per_second / 8, 1);
	if (!bits_per_second) {
		drop_chain(s, "netdev", chain, hook);
		return run(s->str, err);
	}
	reset_chain(s, "netdev", chain, hook);
	g_string_append_printf(s, "add rule netdev incus %s limit rate over %" G_GUINT64_FORMAT
				  " bytes/second burst %" G_GUINT64_FORMAT " bytes drop\n",
	    chain, rate, CLAMP(rate / 10, 16 * 1600, 64u << 20));
	return run(s->str, err);
}

int firewall_priority(const char *instance, const char *host_name, int64_t priority, Error **err)
{
	if (name_check_interface(host_name, err) < 0)
		return -1;
	g_autofree char *hook = g_strdup_printf(
	    "type filter hook egress device \"%s\" priority 0", host_name);
	g_autofree char *chain = filter_chain("egress.netprio", instance, host_name);
	g_autoptr(GString) s = g_string_new("add table netdev incus\n");
	if (priority < 0) {
		drop_chain(s, "netdev", chain, hook);
		return run(s->str, err);
	}
	reset_chain(s, "netdev", chain, hook);
	g_string_append_printf(s, "add rule netdev incus %s meta priority set %x:%x\n", chain,
	    (unsigned)(priority >> 16) & 0xffff, (unsigned)priority & 0xffff);
	return run(s->str, err);
}

/* ---- what is forwarded to an instance ---- */

static const Hook nat_hooks[] = {
	{ "prert", "type nat hook prerouting priority -100" },
	{ "out", "type nat hook output priority -100" },
	{ "pstrt", "type nat hook postrouting priority 100" },
};

static void nat_rules(GString *s, char *const *chains, const FirewallNat *nat)
{
	const char *ip = nat->ipv6 ? "ip6" : "ip", *open = nat->ipv6 ? "[" : "",
		   *close = nat->ipv6 ? "]" : "";
	for (int i = 0; i < 2; i++)
		g_string_append_printf(s,
		    "add rule inet incus %s %s daddr %s %s dport %u dnat %s to %s%s%s:%u\n",
		    chains[i], ip, nat->listen, nat->protocol, nat->listen_port, ip, open,
		    nat->connect, close, nat->connect_port);
	/* One that calls itself by the address outside must see its answers come from there. */
	g_string_append_printf(s,
	    "add rule inet incus %s %s saddr %s %s daddr %s %s dport %u masquerade\n", chains[2],
	    ip, nat->connect, ip, nat->connect, nat->protocol, nat->connect_port);
}

static int nat_run(const char *instance, const char *device, const FirewallNat *rules, guint n,
    gboolean drop, Error **err)
{
	g_autoptr(GString) s = g_string_new("add table inet incus\n");
	char *chains[G_N_ELEMENTS(nat_hooks)];
	for (size_t i = 0; i < G_N_ELEMENTS(nat_hooks); i++) {
		g_autofree char *prefix = g_strconcat("proxy-", nat_hooks[i].prefix, NULL);
		chains[i] = filter_chain(prefix, instance, device);
		(drop ? drop_chain : reset_chain)(s, "inet", chains[i], nat_hooks[i].hook);
	}
	for (guint i = 0; i < n; i++)
		nat_rules(s, chains, &rules[i]);
	for (size_t i = 0; i < G_N_ELEMENTS(nat_hooks); i++)
		g_free(chains[i]);
	return run(s->str, err);
}

int firewall_nat_apply(const char *instance, const char *device, const FirewallNat *rules, guint n,
    Error **err)
{
	for (guint i = 0; i < n; i++)
		if (name_check_ip(rules[i].listen, err) < 0 ||
		    name_check_ip(rules[i].connect, err) < 0)
			return -1;
	return nat_run(instance, device, rules, n, FALSE, err);
}

int firewall_nat_remove(const char *instance, const char *device, Error **err)
{
	return nat_run(instance, device, NULL, 0, TRUE, err);
}
