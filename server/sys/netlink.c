/* Making, changing and deleting links, addresses, routes and rate limits. */
#include "server/sys/netlink.h"
#include "server/sys/netlink_wire.h"
#include "sdk/base/own.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/pkt_sched.h>
#include <linux/veth.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Turns the kernel's answer into an error that begins with `what` "name". */
static int fail(Error **err, int failed, char *text, const char *what, const char *name)
{
	g_autofree char *words = text;
	ErrorKind kind = failed == -ENODEV   ? ERROR_NOT_FOUND
			 : failed == -EEXIST ? ERROR_EXISTS
					     : ERROR_INTERNAL;
	if (words && *words)
		return error_set(
		    err, kind, "%s \"%s\": %s (%s)", what, name, g_strerror(-failed), words);
	return error_errno(err, kind, -failed, "%s \"%s\"", what, name);
}

static int check_name(const char *name, Error **err)
{
	size_t length = strlen(name);
	if (length == 0 || length >= IFNAMSIZ)
		return error_set(err, ERROR_INVALID,
		    "Network interface name \"%s\" must have 1 to %d characters", name,
		    IFNAMSIZ - 1);
	return 0;
}

static int parse_mac(const char *text, uint8_t *ret_bytes, Error **err)
{
	unsigned b[6];
	int used = 0;
	if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5],
		&used) != 6 ||
	    text[used])
		return error_set(err, ERROR_INVALID, "\"%s\" is not a MAC address", text);
	for (int i = 0; i < 6; i++)
		ret_bytes[i] = b[i];
	return 0;
}

static int put_master(NlMessage *m, const char *master, Error **err)
{
	unsigned index = *master ? if_nametoindex(master) : 0;
	if (*master && !index)
		return error_set(
		    err, ERROR_NOT_FOUND, "Network interface \"%s\" not found", master);
	nl_put_u32(m, IFLA_MASTER, index);
	return 0;
}

/* Everything of `change` that one link message carries (port isolation and up do not go here). */
static int put_change(NlMessage *m, const LinkChange *change, Error **err)
{
	if (change->address) {
		uint8_t mac[6];
		if (parse_mac(change->address, mac, err) < 0)
			return -1;
		nl_put(m, IFLA_ADDRESS, mac, sizeof mac);
	}
	if (change->mtu)
		nl_put_u32(m, IFLA_MTU, change->mtu);
	if (change->tx_queue >= 0)
		nl_put_u32(m, IFLA_TXQLEN, (uint32_t)change->tx_queue);
	if (change->netns_fd >= 0)
		nl_put_u32(m, IFLA_NET_NS_FD, (uint32_t)change->netns_fd);
	else if (change->netns_pid)
		nl_put_u32(m, IFLA_NET_NS_PID, (uint32_t)change->netns_pid);
	return change->master ? put_master(m, change->master, err) : 0;
}

static void set_up(struct ifinfomsg *body, const LinkChange *change)
{
	if (change->up < 0)
		return;
	body->ifi_change |= IFF_UP;
	if (change->up)
		body->ifi_flags |= IFF_UP;
}

static int change_isolation(const char *name, gboolean isolated, Error **err)
{
	NlMessage m;
	char *text;
	struct ifinfomsg *body = nl_begin(&m, RTM_SETLINK, 0, sizeof *body);
	body->ifi_family = AF_BRIDGE;
	body->ifi_index = (int)if_nametoindex(name);
	struct rtattr *port = nl_nest(&m, IFLA_PROTINFO);
	nl_put_u8(&m, IFLA_BRPORT_ISOLATED, isolated);
	nl_nest_end(&m, port);
	int failed = nl_talk(-1, &m, &text);
	return failed ? fail(err, failed, text, "Failed to isolate bridge port", name) : 0;
}

/* Starts RTM_NEWLINK for a link that must not exist yet. */
static int begin_create(NlMessage *m, const char *name, const LinkChange *change, Error **err)
{
	if (check_name(name, err) < 0)
		return -1;
	struct ifinfomsg *body = nl_begin(m, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof *body);
	set_up(body, change);
	nl_put_text(m, IFLA_IFNAME, name);
	return put_change(m, change, err);
}

static int finish_create(NlMessage *m, const char *name, const LinkChange *change, Error **err)
{
	char *text;
	int failed = nl_talk(-1, m, &text);
	if (failed)
		return fail(err, failed, text, "Failed to create network interface", name);
	if (change->isolated >= 0 && change_isolation(name, change->isolated, err) < 0) {
		netlink_delete(name, NULL);
		return -1;
	}
	return 0;
}

static int create_plain(const char *kind, const char *name, const LinkChange *change, Error **err)
{
	const LinkChange none = LINK_CHANGE_NONE;
	NlMessage m;
	if (!change)
		change = &none;
	if (begin_create(&m, name, change, err) < 0)
		return -1;
	struct rtattr *info = nl_nest(&m, IFLA_LINKINFO);
	nl_put_text(&m, IFLA_INFO_KIND, kind);
	nl_nest_end(&m, info);
	return finish_create(&m, name, change, err);
}

int netlink_create_bridge(const char *name, const LinkChange *change, Error **err)
{
	return create_plain("bridge", name, change, err);
}

int netlink_create_dummy(const char *name, const LinkChange *change, Error **err)
{
	return create_plain("dummy", name, change, err);
}

int netlink_create_veth(const char *name, const char *peer, const LinkChange *change,
    const LinkChange *peer_change, Error **err)
{
	const LinkChange none = LINK_CHANGE_NONE;
	NlMessage m;
	change = change ? change : &none;
	peer_change = peer_change ? peer_change : &none;
	if (check_name(peer, err) < 0 || begin_create(&m, name, change, err) < 0)
		return -1;
	struct rtattr *info = nl_nest(&m, IFLA_LINKINFO);
	nl_put_text(&m, IFLA_INFO_KIND, "veth");
	struct rtattr *data = nl_nest(&m, IFLA_INFO_DATA);
	struct rtattr *far = nl_nest(&m, VETH_INFO_PEER);
	nl_put_raw(&m, sizeof(struct ifinfomsg));
	nl_put_text(&m, IFLA_IFNAME, peer);
	LinkChange far_change = *peer_change;
	far_change.master = NULL;
	if (put_change(&m, &far_change, err) < 0)
		return -1;
	nl_nest_end(&m, far);
	nl_nest_end(&m, data);
	nl_nest_end(&m, info);
	return finish_create(&m, name, change, err);
}

/* A link on top of `parent`, its kind's data filled by the caller between begin and end. */
static int begin_stacked(
    NlMessage *m, const char *name, const char *parent, const LinkChange *change, Error **err)
{
	unsigned index = if_nametoindex(parent);
	if (!index)
		return error_set(err, ERROR_NOT_FOUND, "Parent interface \"%s\" not found", parent);
	if (begin_create(m, name, change, err) < 0)
		return -1;
	nl_put_u32(m, IFLA_LINK, index);
	return 0;
}

int netlink_create_macvlan(
    const char *name, const char *parent, const LinkChange *change, Error **err)
{
	const LinkChange none = LINK_CHANGE_NONE;
	NlMessage m;
	change = change ? change : &none;
	if (begin_stacked(&m, name, parent, change, err) < 0)
		return -1;
	struct rtattr *info = nl_nest(&m, IFLA_LINKINFO);
	nl_put_text(&m, IFLA_INFO_KIND, "macvlan");
	struct rtattr *data = nl_nest(&m, IFLA_INFO_DATA);
	nl_put_u32(&m, IFLA_MACVLAN_MODE, MACVLAN_MODE_BRIDGE);
	nl_nest_end(&m, data);
	nl_nest_end(&m, info);
	return finish_create(&m, name, change, err);
}

int netlink_create_vlan(
    const char *name, const char *parent, unsigned id, const LinkChange *change, Error **err)
{
	const LinkChange none = LINK_CHANGE_NONE;
	NlMessage m;
	change = change ? change : &none;
	if (begin_stacked(&m, name, parent, change, err) < 0)
		return -1;
	struct rtattr *info = nl_nest(&m, IFLA_LINKINFO);
	nl_put_text(&m, IFLA_INFO_KIND, "vlan");
	struct rtattr *data = nl_nest(&m, IFLA_INFO_DATA);
	uint16_t vlan_id = id;
	nl_put(&m, IFLA_VLAN_ID, &vlan_id, sizeof vlan_id);
	nl_nest_end(&m, data);
	nl_nest_end(&m, info);
	return finish_create(&m, name, change, err);
}

/* Addressed by index, so that a rename within the same message is not ambiguous. */
static int change_link(const char *name, const LinkChange *change, gboolean with_up, Error **err)
{
	NlMessage m;
	char *text;
	unsigned index = if_nametoindex(name);
	if (!index)
		return error_set(err, ERROR_NOT_FOUND, "Network interface \"%s\" not found", name);
	struct ifinfomsg *body = nl_begin(&m, RTM_NEWLINK, 0, sizeof *body);
	body->ifi_index = (int)index;
	if (with_up)
		set_up(body, change);
	if (put_change(&m, change, err) < 0)
		return -1;
	if (change->name) {
		if (check_name(change->name, err) < 0)
			return -1;
		nl_put_text(&m, IFLA_IFNAME, change->name);
	}
	int failed = nl_talk(-1, &m, &text);
	return failed ? fail(err, failed, text, "Failed to change network interface", name) : 0;
}

int netlink_change(const char *name, const LinkChange *change, Error **err)
{
	Link link;
	LinkChange wanted = *change;
	gboolean moves = change->netns_fd >= 0 || change->netns_pid;
	/* Most kernels in use refuse to rename a link that is up. */
	if (change->name && !moves) {
		if (netlink_get(name, &link, err) < 0)
			return -1;
		if (link.flags & IFF_UP) {
			LinkChange down = LINK_CHANGE_NONE;
			down.up = 0;
			if (change_link(name, &down, TRUE, err) < 0)
				return -1;
			if (wanted.up < 0)
				wanted.up = 1;
		}
	}
	if (change_link(name, &wanted, TRUE, err) < 0)
		return -1;
	if (change->isolated >= 0)
		return change_isolation(change->name ? change->name : name, change->isolated, err);
	return 0;
}

int netlink_delete(const char *name, Error **err)
{
	NlMessage m;
	char *text;
	unsigned index = if_nametoindex(name);
	if (!index)
		return error_set(err, ERROR_NOT_FOUND, "Network interface \"%s\" not found", name);
	struct ifinfomsg *body = nl_begin(&m, RTM_DELLINK, 0, sizeof *body);
	body->ifi_index = (int)index;
	int failed = nl_talk(-1, &m, &text);
	return failed ? fail(err, failed, text, "Failed to delete network interface", name) : 0;
}

typedef struct Cidr {
	int family;
	uint8_t bytes[16];
	size_t size;
	unsigned prefix;
} Cidr;

static int parse_address(const char *text, Cidr *ret, Error **err)
{
	ret->family = strchr(text, ':') ? AF_INET6 : AF_INET;
	ret->size = ret->family == AF_INET ? 4 : 16;
	ret->prefix = ret->size * 8;
	if (inet_pton(ret->family, text, ret->bytes) != 1)
		return error_set(err, ERROR_INVALID, "\"%s\" is not an IP address", text);
	return 0;
}

/* Without "/N" it is a single address. */
static int parse_cidr(const char *cidr, Cidr *ret, Error **err)
{
	const char *slash = strchr(cidr, '/');
	g_autofree char *address = slash ? g_strndup(cidr, slash - cidr) : g_strdup(cidr);
	if (parse_address(address, ret, err) < 0)
		return -1;
	if (!slash)
		return 0;
	char *end;
	unsigned long prefix = strtoul(slash + 1, &end, 10);
	if (!g_ascii_isdigit(slash[1]) || *end || prefix > ret->size * 8)
		return error_set(
		    err, ERROR_INVALID, "\"%s\" is not an address with a prefix length", cidr);
	ret->prefix = prefix;
	return 0;
}

static int link_index(const char *link, unsigned *ret_index, Error **err)
{
	*ret_index = if_nametoindex(link);
	return *ret_index
		   ? 0
		   : error_set(err, ERROR_NOT_FOUND, "Network interface \"%s\" not found", link);
}

static int begin_address(
    NlMessage *m, uint16_t type, uint16_t flags, const char *link, const Cidr *cidr, Error **err)
{
	unsigned index;
	if (link_index(link, &index, err) < 0)
		return -1;
	struct ifaddrmsg *body = nl_begin(m, type, flags, sizeof *body);
	body->ifa_family = cidr->family;
	body->ifa_prefixlen = cidr->prefix;
	body->ifa_index = index;
	nl_put(m, IFA_LOCAL, cidr->bytes, cidr->size);
	nl_put(m, IFA_ADDRESS, cidr->bytes, cidr->size);
	return 0;
}

int netlink_address_add(const char *link, const char *cidr_text, unsigned flags, Error **err)
{
	NlMessage m;
	Cidr cidr;
	char *text;
	if (parse_cidr(cidr_text, &cidr, err) < 0 ||
	    begin_address(&m, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, link, &cidr, err) < 0)
		return -1;
	if (cidr.family == AF_INET && cidr.prefix < 31) {
		uint8_t broadcast[4];
		for (unsigned i = 0; i < 32; i += 8) {
			unsigned host = cidr.prefix <= i       ? 0xff
					: cidr.prefix >= i + 8 ? 0
							       : 0xffu >> (cidr.prefix - i);
			broadcast[i / 8] = cidr.bytes[i / 8] | host;
		}
		nl_put(&m, IFA_BROADCAST, broadcast, sizeof broadcast);
	}
	nl_put_u32(&m, IFA_FLAGS, flags);
	int failed = nl_talk(-1, &m, &text);
	if (failed == -EEXIST) {
		g_free(text);
		return 0;
	}
	return failed
		   ? fail(err, failed, text, "Failed to add an address to network interface", link)
		   : 0;
}

int netlink_address_delete(const char *link, const char *cidr_text, Error **err)
{
	NlMessage m;
	Cidr cidr;
	char *text;
	if (parse_cidr(cidr_text, &cidr, err) < 0 ||
	    begin_address(&m, RTM_DELADDR, 0, link, &cidr, err) < 0)
		return -1;
	int failed = nl_talk(-1, &m, &text);
	if (failed == -EADDRNOTAVAIL) {
		g_free(text);
		return 0;
	}
	return failed ? fail(err, failed, text,
			    "Failed to remove an address from network interface", link)
		      : 0;
}

int netlink_address_flush(const char *link, int family, Error **err)
{
	g_autoptr(LinkList) list = NULL;
	if (netlink_list(-1, &list, err) < 0)
		return -1;
	const Link *found = link_list_find(list, link);
	if (!found)
		return error_set(err, ERROR_NOT_FOUND, "Network interface \"%s\" not found", link);
	for (unsigned i = 0; i < found->n_addresses; i++) {
		const LinkAddress *a = &found->addresses[i];
		if ((family != AF_UNSPEC && a->family != family) || strcmp(a->scope, "global") != 0)
			continue;
		g_autofree char *cidr = g_strdup_printf("%s/%d", a->text, a->prefix);
		if (netlink_address_delete(link, cidr, err) < 0)
			return -1;
	}
	return 0;
}

static int put_route_address(NlMessage *m, uint16_t type, const char *text, int family, Error **err)
{
	Cidr address;
	if (!text)
		return 0;
	if (parse_address(text, &address, err) < 0)
		return -1;
	if (address.family != family)
		return error_set(
		    err, ERROR_INVALID, "\"%s\" is of another address family than the route", text);
	nl_put(m, type, address.bytes, address.size);
	return 0;
}

static int build_route(
    NlMessage *m, uint16_t type, uint16_t flags, const LinkRoute *route, Error **err)
{
	Cidr cidr;
	unsigned index;
	if (parse_cidr(route->cidr, &cidr, err) < 0 || link_index(route->link, &index, err) < 0)
		return -1;
	unsigned table = route->table ? route->table : RT_TABLE_MAIN;
	struct rtmsg *body = nl_begin(m, type, flags, sizeof *body);
	body->rtm_family = cidr.family;
	body->rtm_dst_len = cidr.prefix;
	body->rtm_table = table < 256 ? table : RT_TABLE_UNSPEC;
	body->rtm_protocol = route->protocol ? route->protocol : RTPROT_STATIC;
	body->rtm_scope =
	    route->gateway || cidr.family == AF_INET6 ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
	body->rtm_type = RTN_UNICAST;
	nl_put_u32(m, RTA_TABLE, table);
	if (cidr.prefix)
		nl_put(m, RTA_DST, cidr.bytes, cidr.size);
	nl_put_u32(m, RTA_OIF, index);
	if (put_route_address(m, RTA_GATEWAY, route->gateway, cidr.family, err) < 0)
		return -1;
	return put_route_address(m, RTA_PREFSRC, route->source, cidr.family, err);
}

int netlink_route_add(const LinkRoute *route, Error **err)
{
	NlMessage m;
	char *text;
	if (build_route(&m, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, route, err) < 0)
		return -1;
	int failed = nl_talk(-1, &m, &text);
	if (!failed)
		return 0;
	fail(err, failed, text, "Failed to add a route through network interface", route->link);
	return error_prefix(err, "Route \"%s\"", route->cidr);
}

int netlink_route_delete(const LinkRoute *route, Error **err)
{
	NlMessage m;
	char *text;
	if (build_route(&m, RTM_DELROUTE, 0, route, err) < 0)
		return -1;
	int failed = nl_talk(-1, &m, &text);
	if (failed == -ESRCH) {
		g_free(text);
		return 0;
	}
	return failed ? fail(err, failed, text,
			    "Failed to remove a route through network interface", route->link)
		      : 0;
}

int netlink_neighbor_proxy(const char *link, const char *address, gboolean add, Error **err)
{
	NlMessage m;
	Cidr cidr;
	unsigned index;
	char *text;
	if (parse_address(address, &cidr, err) < 0 || link_index(link, &index, err) < 0)
		return -1;
	struct ndmsg *body = nl_begin(&m, add ? RTM_NEWNEIGH : RTM_DELNEIGH,
	    add ? NLM_F_CREATE | NLM_F_REPLACE : 0, sizeof(*body));
	body->ndm_family = cidr.family;
	body->ndm_ifindex = (int)index;
	body->ndm_flags = NTF_PROXY;
	nl_put(&m, NDA_DST, cidr.bytes, cidr.size);
	int failed = nl_talk(-1, &m, &text);
	if (!failed)
		return 0;
	if (!add && (failed == -ENOENT || failed == -ESRCH)) {
		g_free(text);
		return 0;
	}
	return fail(err, failed, text, "Failed to change the neighbors of network interface", link);
}

/* ---- rate limits: one HTB class, 1:10, that everything falls into ---- */

enum { LIMIT_QDISC = 1 << 16, LIMIT_CLASS = LIMIT_QDISC | 0x10 };

/* A tenth of a second of traffic may burst, at least sixteen full frames; in the kernel's ticks of
 * 64 ns. */
static uint32_t burst_ticks(uint64_t bytes_per_second)
{
	double burst = CLAMP(bytes_per_second / 10, 16 * 1600, 64u << 20);
	double ticks = burst * 1e9 / 64 / (double)bytes_per_second;
	return ticks < UINT32_MAX ? (uint32_t)ticks : UINT32_MAX;
}

static void put_class(NlMessage *m, uint64_t bytes_per_second)
{
	struct tc_htb_opt class = { .buffer = burst_ticks(bytes_per_second),
		.cbuffer = burst_ticks(bytes_per_second),
		.quantum = (uint32_t)CLAMP(bytes_per_second / 10, 1600, 60000) };
	class.rate.rate = MIN(bytes_per_second, UINT32_MAX);
	/* Tells the kernel to compute packet times itself instead of wanting tc's table. */
	class.rate.linklayer = TC_LINKLAYER_ETHERNET;
	class.ceil = class.rate;
	struct rtattr *options = nl_nest(m, TCA_OPTIONS);
	nl_put(m, TCA_HTB_PARMS, &class, sizeof class);
	if (bytes_per_second > UINT32_MAX) {
		nl_put(m, TCA_HTB_RATE64, &bytes_per_second, sizeof bytes_per_second);
		nl_put(m, TCA_HTB_CEIL64, &bytes_per_second, sizeof bytes_per_second);
	}
	nl_nest_end(m, options);
}

static struct tcmsg *begin_limit(NlMessage *m, uint16_t type, unsigned index)
{
	struct tcmsg *body = nl_begin(m, type,
	    type == RTM_NEWQDISC || type == RTM_NEWTCLASS ? NLM_F_CREATE | NLM_F_EXCL : 0,
	    sizeof *body);
	body->tcm_ifindex = (int)index;
	body->tcm_parent = TC_H_ROOT;
	nl_put_text(m, TCA_KIND, "htb");
	return body;
}

static int delete_limit(const char *link, unsigned index, Error **err)
{
	NlMessage m;
	char *text;
	begin_limit(&m, RTM_DELQDISC, index);
	int failed = nl_talk(-1, &m, &text);
	if (failed && failed != -ENOENT && failed != -EINVAL)
		return fail(
		    err, failed, text, "Failed to free the rate of network interface", link);
	g_free(text);
	return 0;
}

static int add_limit(const char *link, unsigned index, uint64_t bytes_per_second, Error **err)
{
	NlMessage m;
	char *text;
	struct tc_htb_glob root = { .version = 3, .rate2quantum = 10, .defcls = 0x10 };
	begin_limit(&m, RTM_NEWQDISC, index)->tcm_handle = LIMIT_QDISC;
	struct rtattr *options = nl_nest(&m, TCA_OPTIONS);
	nl_put(&m, TCA_HTB_INIT, &root, sizeof root);
	nl_nest_end(&m, options);
	int failed = nl_talk(-1, &m, &text);
	if (!failed) {
		struct tcmsg *body = begin_limit(&m, RTM_NEWTCLASS, index);
		body->tcm_parent = LIMIT_QDISC;
		body->tcm_handle = LIMIT_CLASS;
		put_class(&m, bytes_per_second);
		g_free(text);
		failed = nl_talk(-1, &m, &text);
	}
	if (!failed)
		return 0;
	delete_limit(link, index, NULL);
	return fail(err, failed, text, "Failed to limit the rate of network interface", link);
}

int netlink_limit_set(const char *link, uint64_t bits_per_second, Error **err)
{
	unsigned index;
	if (link_index(link, &index, err) < 0 || delete_limit(link, index, err) < 0)
		return -1;
	return bits_per_second ? add_limit(link, index, MAX(bits_per_second / 8, 1), err) : 0;
}
