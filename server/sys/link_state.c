#include "server/sys/link_state.h"
#include <net/if.h>
#include <sys/socket.h>

Pb__InstanceStateNetwork *link_state(const Link *link, const char *host_name, Arena *arena)
{
	Pb__InstanceStateNetwork *n = arena_message(
	    arena, Pb__InstanceStateNetwork, pb__instance_state_network);
	n->addresses = arena_alloc(arena, (link->n_addresses + 1) * sizeof(void *));
	for (unsigned k = 0; k < link->n_addresses; k++) {
		const LinkAddress *a = &link->addresses[k];
		Pb__InstanceStateNetworkAddress *out = arena_message(
		    arena, Pb__InstanceStateNetworkAddress, pb__instance_state_network_address);
		out->family = (char *)(a->family == AF_INET ? "inet" : "inet6");
		out->address = arena_strdup(arena, a->text);
		out->netmask = arena_printf(arena, "%d", a->prefix);
		out->scope = (char *)a->scope;
		n->addresses[n->n_addresses++] = out;
	}
	Pb__InstanceStateNetworkCounters *c = arena_message(
	    arena, Pb__InstanceStateNetworkCounters, pb__instance_state_network_counters);
	c->bytes_received = (int64_t)link->counters.rx_bytes;
	c->bytes_sent = (int64_t)link->counters.tx_bytes;
	c->packets_received = (int64_t)link->counters.rx_packets;
	c->packets_sent = (int64_t)link->counters.tx_packets;
	c->errors_received = (int64_t)link->counters.rx_errors;
	c->errors_sent = (int64_t)link->counters.tx_errors;
	c->packets_dropped_inbound = (int64_t)link->counters.rx_dropped;
	c->packets_dropped_outbound = (int64_t)link->counters.tx_dropped;
	n->counters = c;
	n->hwaddr = arena_strdup(
	    arena, link->arp_type == 772 /* ARPHRD_LOOPBACK */ ? "" : link->address);
	n->host_name = arena_strdup(arena, host_name);
	n->mtu = link->mtu;
	n->state = (char *)(link->flags & IFF_UP ? "up" : "down");
	n->type = (char *)link_type(link);
	return n;
}
