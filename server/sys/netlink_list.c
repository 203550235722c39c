/* Listing: link, address and route dumps turned into plain structs. */
#include "server/sys/netlink.h"
#include "server/sys/netlink_wire.h"
#include "sdk/base/own.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

typedef struct OpenJob {
	int netns_fd, fd, errno_value;
} OpenJob;

/* Only this short-lived thread changes its namespace; a netlink socket stays in the one it was born
 * in. */
static void *open_in_namespace(void *data)
{
	OpenJob *job = data;
	if (setns(job->netns_fd, CLONE_NEWNET) < 0 || (job->fd = nl_socket()) < 0)
		job->errno_value = errno;
	return NULL;
}

int netlink_open(int netns_fd, Error **err)
{
	OpenJob job = {.netns_fd = netns_fd, .fd = -1};
	if (netns_fd < 0) {
		job.fd = nl_socket();
		job.errno_value = errno;
	} else {
		pthread_t thread;
		int failed = pthread_create(&thread, NULL, open_in_namespace, &job);
		if (failed)
			return error_errno(err, ERROR_INTERNAL, failed, "Failed to start a thread");
		pthread_join(thread, NULL);
	}
	if (job.fd < 0)
		return error_errno(
		    err, ERROR_INTERNAL, job.errno_value, "Failed to open a netlink socket");
	return job.fd;
}

static void format_address(char *ret_text, size_t size, const struct rtattr *address)
{
	*ret_text = '\0';
	if (!address)
		return;
	const uint8_t *bytes = RTA_DATA(address);
	size_t used = 0;
	for (size_t i = 0; i < RTA_PAYLOAD(address) && used + 3 < size; i++)
		used += snprintf(ret_text + used, size - used, i ? ":%02x" : "%02x", bytes[i]);
}

static void read_bridge(Link *link, const struct rtattr *data)
{
	const struct rtattr *table[IFLA_BR_MAX + 1] = {0};
	nl_parse_nested(table, IFLA_BR_MAX, data);
	const struct rtattr *id = table[IFLA_BR_BRIDGE_ID];
	if (id && RTA_PAYLOAD(id) >= sizeof(struct ifla_bridge_id)) {
		const struct ifla_bridge_id *b = RTA_DATA(id);
		snprintf(link->bridge_id, sizeof link->bridge_id,
		    "%02x%02x.%02x%02x%02x%02x%02x%02x", b->prio[0], b->prio[1], b->addr[0],
		    b->addr[1], b->addr[2], b->addr[3], b->addr[4], b->addr[5]);
	}
	link->forward_delay = nl_u32(table[IFLA_BR_FORWARD_DELAY]);
	link->vlan_default = nl_u16(table[IFLA_BR_VLAN_DEFAULT_PVID]);
	link->vlan_filtering = nl_u8(table[IFLA_BR_VLAN_FILTERING]) != 0;
	link->stp = nl_u32(table[IFLA_BR_STP_STATE]) != 0;
}

static void read_bond(Link *link, const struct rtattr *data)
{
	const struct rtattr *table[IFLA_BOND_MAX + 1] = {0};
	nl_parse_nested(table, IFLA_BOND_MAX, data);
	link->bond_mode = nl_u8(table[IFLA_BOND_MODE]);
	link->bond_transmit_policy = nl_u8(table[IFLA_BOND_XMIT_HASH_POLICY]);
	link->bond_up_delay = nl_u32(table[IFLA_BOND_UPDELAY]);
	link->bond_down_delay = nl_u32(table[IFLA_BOND_DOWNDELAY]);
	link->bond_mii_frequency = nl_u32(table[IFLA_BOND_MIIMON]);
	link->bond_mii_up = (link->flags & IFF_RUNNING) != 0;
}

static void read_kind(Link *link, const struct rtattr *info)
{
	const struct rtattr *table[IFLA_INFO_DATA + 1] = {0};
	nl_parse_nested(table, IFLA_INFO_DATA, info);
	if (table[IFLA_INFO_KIND])
		g_strlcpy(link->kind, RTA_DATA(table[IFLA_INFO_KIND]), sizeof link->kind);
	const struct rtattr *data = table[IFLA_INFO_DATA];
	if (strcmp(link->kind, "bridge") == 0) {
		read_bridge(link, data);
	} else if (strcmp(link->kind, "bond") == 0) {
		read_bond(link, data);
	} else if (strcmp(link->kind, "vlan") == 0) {
		const struct rtattr *vlan[IFLA_VLAN_MAX + 1] = {0};
		nl_parse_nested(vlan, IFLA_VLAN_MAX, data);
		link->vlan_id = nl_u16(vlan[IFLA_VLAN_ID]);
	}
}

static void read_counters(LinkCounters *counters, const struct rtattr *attribute)
{
	struct rtnl_link_stats64 s = {0};
	if (attribute)
		memcpy(&s, RTA_DATA(attribute), MIN(sizeof s, RTA_PAYLOAD(attribute)));
	*counters = (LinkCounters){.rx_bytes = s.rx_bytes,
	    .rx_packets = s.rx_packets,
	    .rx_errors = s.rx_errors,
	    .rx_dropped = s.rx_dropped,
	    .tx_bytes = s.tx_bytes,
	    .tx_packets = s.tx_packets,
	    .tx_errors = s.tx_errors,
	    .tx_dropped = s.tx_dropped};
}

static void read_link(const struct nlmsghdr *h, Link *link)
{
	const struct ifinfomsg *info = NLMSG_DATA(h);
	const struct rtattr *table[IFLA_MAX + 1] = {0};
	nl_parse(table, IFLA_MAX, IFLA_RTA(info), h->nlmsg_len - NLMSG_LENGTH(sizeof *info));
	*link =
	    (Link){.index = info->ifi_index, .arp_type = info->ifi_type, .flags = info->ifi_flags};
	if (table[IFLA_IFNAME])
		g_strlcpy(link->name, RTA_DATA(table[IFLA_IFNAME]), sizeof link->name);
	format_address(link->address, sizeof link->address, table[IFLA_ADDRESS]);
	link->mtu = nl_u32(table[IFLA_MTU]);
	link->master = (int)nl_u32(table[IFLA_MASTER]);
	link->parent = (int)nl_u32(table[IFLA_LINK]);
	link->parent_netns = table[IFLA_LINK_NETNSID] ? (int)nl_u32(table[IFLA_LINK_NETNSID]) : -1;
	link->has_device = table[IFLA_PARENT_DEV_NAME] != NULL;
	read_counters(&link->counters, table[IFLA_STATS64]);
	read_kind(link, table[IFLA_LINKINFO]);
}

static void add_link(const struct nlmsghdr *h, void *data)
{
	if (h->nlmsg_type != RTM_NEWLINK)
		return;
	Link link;
	read_link(h, &link);
	g_array_append_val((GArray *)data, link);
}

typedef struct AddressRow {
	int link;
	LinkAddress address;
} AddressRow;

static const char *scope_name(unsigned scope)
{
	switch (scope) {
	case RT_SCOPE_HOST:
		return "local";
	case RT_SCOPE_LINK:
		return "link";
	case RT_SCOPE_UNIVERSE:
		return "global";
	default:
		return "unknown";
	}
}

static void add_address(const struct nlmsghdr *h, void *data)
{
	if (h->nlmsg_type != RTM_NEWADDR)
		return;
	const struct ifaddrmsg *info = NLMSG_DATA(h);
	const struct rtattr *table[IFA_MAX + 1] = {0};
	nl_parse(table, IFA_MAX, IFA_RTA(info), h->nlmsg_len - NLMSG_LENGTH(sizeof *info));
	/* IFA_LOCAL is ours on a point-to-point link, where IFA_ADDRESS is the other end. */
	const struct rtattr *local = table[IFA_LOCAL] ? table[IFA_LOCAL] : table[IFA_ADDRESS];
	size_t size = info->ifa_family == AF_INET ? 4 : 16;
	if (!local || RTA_PAYLOAD(local) < size)
		return;
	AddressRow row = {.link = (int)info->ifa_index};
	row.address.family = info->ifa_family;
	row.address.prefix = info->ifa_prefixlen;
	row.address.scope = scope_name(info->ifa_scope);
	row.address.tentative = (info->ifa_flags & IFA_F_TENTATIVE) != 0;
	memcpy(row.address.bytes, RTA_DATA(local), size);
	inet_ntop(info->ifa_family, row.address.bytes, row.address.text, sizeof row.address.text);
	g_array_append_val((GArray *)data, row);
}

static int by_index(gconstpointer a, gconstpointer b)
{
	return ((const Link *)a)->index - ((const Link *)b)->index;
}

static int by_link(gconstpointer a, gconstpointer b)
{
	return ((const AddressRow *)a)->link - ((const AddressRow *)b)->link;
}

/* Both arrays are ordered by link: one pass gives every link its run of addresses. */
static void share_addresses(GArray *links, GArray *rows)
{
	guint at = 0;
	for (guint i = 0; i < links->len; i++) {
		Link *link = &g_array_index(links, Link, i);
		while (at < rows->len && g_array_index(rows, AddressRow, at).link < link->index)
			at++;
		guint end = at;
		while (end < rows->len && g_array_index(rows, AddressRow, end).link == link->index)
			end++;
		link->n_addresses = end - at;
		link->addresses = end > at ? g_new(LinkAddress, end - at) : NULL;
		for (guint j = 0; at < end; at++, j++)
			link->addresses[j] = g_array_index(rows, AddressRow, at).address;
	}
}

int netlink_list(int socket_fd, LinkList **ret_list, Error **err)
{
	g_autoptr(GArray) links = g_array_new(FALSE, FALSE, sizeof(Link));
	g_autoptr(GArray) rows = g_array_new(FALSE, FALSE, sizeof(AddressRow));
	NlMessage m;
	nl_begin(&m, RTM_GETLINK, 0, sizeof(struct ifinfomsg));
	int failed = nl_dump(socket_fd, &m, add_link, links);
	if (!failed) {
		nl_begin(&m, RTM_GETADDR, 0, sizeof(struct ifaddrmsg));
		failed = nl_dump(socket_fd, &m, add_address, rows);
	}
	if (failed)
		return error_errno(
		    err, ERROR_INTERNAL, -failed, "Failed to list network interfaces");
	/* Stable by construction of the dump: addresses keep the kernel's order within a link. */
	g_array_sort(links, by_index);
	g_array_sort(rows, by_link);
	share_addresses(links, rows);
	LinkList *list = g_new(LinkList, 1);
	list->n_links = links->len;
	list->links = (Link *)(void *)g_array_free(g_steal_pointer(&links), FALSE);
	*ret_list = list;
	return 0;
}

void link_list_free(LinkList *list)
{
	if (!list)
		return;
	for (unsigned i = 0; i < list->n_links; i++)
		g_free(list->links[i].addresses);
	g_free(list->links);
	g_free(list);
}

const Link *link_list_find(const LinkList *list, const char *name)
{
	for (unsigned i = 0; i < list->n_links; i++)
		if (strcmp(list->links[i].name, name) == 0)
			return &list->links[i];
	return NULL;
}

const Link *link_list_index(const LinkList *list, int index)
{
	for (unsigned i = 0; i < list->n_links; i++)
		if (list->links[i].index == index)
			return &list->links[i];
	return NULL;
}

const char *link_type(const Link *link)
{
	if (link->flags & IFF_LOOPBACK)
		return "loopback";
	if (link->flags & IFF_POINTOPOINT)
		return "point-to-point";
	return link->flags & IFF_BROADCAST ? "broadcast" : "unknown";
}

static void keep_link(const struct nlmsghdr *h, void *data)
{
	if (h->nlmsg_type == RTM_NEWLINK)
		read_link(h, data);
}

int netlink_get(const char *name, Link *ret_link, Error **err)
{
	if (!*name || strlen(name) >= IFNAMSIZ)
		return error_set(err, ERROR_NOT_FOUND, "Network interface \"%s\" not found", name);
	NlMessage m;
	nl_begin(&m, RTM_GETLINK, 0, sizeof(struct ifinfomsg));
	nl_put_text(&m, IFLA_IFNAME, name);
	Link link = {0};
	int failed = nl_ask(-1, &m, keep_link, &link);
	if (failed == -ENODEV)
		return error_set(err, ERROR_NOT_FOUND, "Network interface \"%s\" not found", name);
	if (failed)
		return error_errno(err, ERROR_INTERNAL, -failed,
		    "Failed to look at network interface \"%s\"", name);
	*ret_link = link;
	return 0;
}

gboolean netlink_exists(const char *name)
{
	return if_nametoindex(name) != 0;
}

typedef struct RouteList {
	int family;
	GPtrArray *cidrs;
} RouteList;

static void add_route(const struct nlmsghdr *h, void *data)
{
	RouteList *list = data;
	const struct rtmsg *info = NLMSG_DATA(h);
	if (h->nlmsg_type != RTM_NEWROUTE || info->rtm_family != list->family ||
	    info->rtm_table != RT_TABLE_MAIN || info->rtm_dst_len == 0)
		return;
	const struct rtattr *table[RTA_MAX + 1] = {0};
	nl_parse(table, RTA_MAX, RTM_RTA(info), h->nlmsg_len - NLMSG_LENGTH(sizeof *info));
	size_t size = list->family == AF_INET ? 4 : 16;
	char text[INET6_ADDRSTRLEN];
	if (!table[RTA_DST] || RTA_PAYLOAD(table[RTA_DST]) < size ||
	    !inet_ntop(list->family, RTA_DATA(table[RTA_DST]), text, sizeof text))
		return;
	g_ptr_array_add(list->cidrs, g_strdup_printf("%s/%u", text, info->rtm_dst_len));
}

int netlink_route_list(int family, GPtrArray **ret_cidrs, Error **err)
{
	RouteList list = {.family = family, .cidrs = g_ptr_array_new_with_free_func(g_free)};
	NlMessage m;
	struct rtmsg *body = nl_begin(&m, RTM_GETROUTE, 0, sizeof *body);
	body->rtm_family = family;
	int failed = nl_dump(-1, &m, add_route, &list);
	if (failed) {
		g_ptr_array_unref(list.cidrs);
		return error_errno(err, ERROR_INTERNAL, -failed, "Failed to list routes");
	}
	*ret_cidrs = list.cidrs;
	return 0;
}
