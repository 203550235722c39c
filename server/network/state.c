#include "server/network/state.h"
#include <string.h>
#include <sys/socket.h>

const char *network_interface_type(const Link *link)
{
	static const char *const own_kinds[] = {"bridge", "vlan", "bond", NULL};
	if (link->flags & IFF_LOOPBACK)
		return "loopback";
	if (g_strv_contains(own_kinds, link->kind))
		return link->kind;
	return link->has_device ? "physical" : "unknown";
}

gboolean network_interface_shown(const Link *link)
{
	return strcmp(link->kind, "veth") != 0;
}

static void fill_addresses(const Link *link, Arena *arena, Pb__NetworkState *out)
{
	out->addresses = arena_alloc(arena, (link->n_addresses + 1) * sizeof *out->addresses);
	for (unsigned i = 0; i < link->n_addresses; i++) {
		const LinkAddress *a = &link->addresses[i];
		Pb__NetworkStateAddress *item = arena_message(
		    arena, Pb__NetworkStateAddress, pb__network_state_address);
		item->family = a->family == AF_INET ? (char *)"inet" : (char *)"inet6";
		item->address = arena_strdup(arena, a->text);
		item->netmask = arena_printf(arena, "%d", a->prefix);
		item->scope = arena_strdup(arena, a->scope);
		out->addresses[out->n_addresses++] = item;
	}
}

static void fill_counters(const Link *link, Arena *arena, Pb__NetworkState *out)
{
	out->counters = arena_message(arena, Pb__NetworkStateCounters, pb__network_state_counters);
	out->counters->bytes_received = (int64_t)link->counters.rx_bytes;
	out->counters->bytes_sent = (int64_t)link->counters.tx_bytes;
	out->counters->packets_received = (int64_t)link->counters.rx_packets;
	out->counters->packets_sent = (int64_t)link->counters.tx_packets;
}

/* Names of the links whose master is `master`. */
static void fill_ports(
    const LinkList *list, int master, Arena *arena, size_t *ret_n, char ***ret_names)
{
	size_t n = 0;
	char **names = arena_alloc(arena, (list->n_links + 1) * sizeof *names);
	for (unsigned i = 0; i < list->n_links; i++)
		if (list->links[i].master == master)
			names[n++] = arena_strdup(arena, list->links[i].name);
	*ret_n = n;
	*ret_names = names;
}

static void fill_bridge(const LinkList *list, const Link *link, Arena *arena, Pb__NetworkState *out)
{
	Pb__NetworkStateBridge *b = arena_message(
	    arena, Pb__NetworkStateBridge, pb__network_state_bridge);
	b->id = arena_strdup(arena, link->bridge_id);
	b->stp = link->stp;
	b->forward_delay = link->forward_delay;
	b->vlan_default = link->vlan_default;
	b->vlan_filtering = link->vlan_filtering;
	fill_ports(list, link->index, arena, &b->n_upper_devices, &b->upper_devices);
	out->bridge = b;
}

static const char *name_at(const char *const *names, size_t n, unsigned at)
{
	return at < n ? names[at] : "unknown";
}

static void fill_bond(const LinkList *list, const Link *link, Arena *arena, Pb__NetworkState *out)
{
	/* Positions are the kernel's numbers (linux/if_bonding.h). */
	static const char *const modes[] = { "balance-rr", "active-backup", "balance-xor",
		"broadcast", "802.3ad", "balance-tlb", "balance-alb" };
	static const char *const policies[] = { "layer2", "layer3+4", "layer2+3", "encap2+3",
		"encap3+4", "vlan+srcmac" };
	Pb__NetworkStateBond *b = arena_message(
	    arena, Pb__NetworkStateBond, pb__network_state_bond);
	b->mode = arena_strdup(arena, name_at(modes, G_N_ELEMENTS(modes), link->bond_mode));
	b->transmit_policy = arena_strdup(
	    arena, name_at(policies, G_N_ELEMENTS(policies), link->bond_transmit_policy));
	b->up_delay = link->bond_up_delay;
	b->down_delay = link->bond_down_delay;
	b->mii_frequency = link->bond_mii_frequency;
	b->mii_state = link->bond_mii_up ? (char *)"up" : (char *)"down";
	fill_ports(list, link->index, arena, &b->n_lower_devices, &b->lower_devices);
	out->bond = b;
}

static void fill_vlan(const LinkList *list, const Link *link, Arena *arena, Pb__NetworkState *out)
{
	const Link *lower = link_list_index(list, link->parent);
	out->vlan = arena_message(arena, Pb__NetworkStateVLAN, pb__network_state_vlan);
	out->vlan->lower_device = arena_strdup(arena, lower ? lower->name : "");
	out->vlan->vid = link->vlan_id;
}

int network_state_render(const char *name, Arena *arena, Pb__NetworkState *out, Error **err)
{
	g_autoptr(LinkList) list = NULL;
	if (netlink_list(-1, &list, err) < 0)
		return -1;
	const Link *link = link_list_find(list, name);
	if (!link)
		return error_set(err, ERROR_NOT_FOUND, "Network interface \"%s\" not found", name);
	out->hwaddr = arena_strdup(arena, link->address);
	out->mtu = link->mtu;
	out->state = link->flags & IFF_UP ? (char *)"up" : (char *)"down";
	out->type = arena_strdup(arena, link_type(link));
	fill_addresses(link, arena, out);
	fill_counters(link, arena, out);
	if (strcmp(link->kind, "bridge") == 0)
		fill_bridge(list, link, arena, out);
	else if (strcmp(link->kind, "bond") == 0)
		fill_bond(list, link, arena, out);
	else if (strcmp(link->kind, "vlan") == 0)
		fill_vlan(list, link, arena, out);
	return 0;
}
