/* What a virtual machine uses, as the host sees it: its process and the host's ends of its cards.
 */
#include "server/instance/vm.h"
#include "server/guest/state.h"
#include "server/sys/netlink.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int64_t read_cpu(pid_t pid)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/stat", (int)pid);
	g_autofree char *text = NULL;
	unsigned long long user, system;
	if (!g_file_get_contents(path, &text, NULL, NULL))
		return -1;
	const char *at = strrchr(text, ')'); /* the name before it may be anything */
	if (!at ||
	    sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user,
		&system) != 2)
		return -1;
	return (int64_t)((user + system) * (1000000000ULL / (unsigned long)sysconf(_SC_CLK_TCK)));
}

/* "VmRSS:   1234 kB" */
static int64_t read_size(const char *status, const char *name)
{
	const char *at = status ? strstr(status, name) : NULL;
	return at ? g_ascii_strtoll(at + strlen(name), NULL, 10) * 1024 : 0;
}

static void read_memory(Instance *i, pid_t pid, Pb__InstanceStateMemory *out)
{
	g_auto(VmSize) size = { 0 };
	g_autofree char *path = g_strdup_printf("/proc/%d/status", (int)pid);
	g_autofree char *status = NULL;
	g_autoptr(Config) config = instance_expanded_config(i);
	g_file_get_contents(path, &status, NULL, NULL);
	out->usage = read_size(status, "\nVmRSS:");
	out->usage_peak = read_size(status, "\nVmHWM:");
	out->swap_usage = read_size(status, "\nVmSwap:");
	if (vm_size(config, &size, NULL) == 0)
		out->total = size.memory;
}

/* What the host receives on its end is what the guest sent. */
static Pb__InstanceStateNetwork *render_card(
    const char *host_name, const char *hwaddr, Arena *arena)
{
	Link link;
	if (netlink_get(host_name, &link, NULL) < 0)
		return NULL;
	Pb__InstanceStateNetwork *out = arena_message(
	    arena, Pb__InstanceStateNetwork, pb__instance_state_network);
	Pb__InstanceStateNetworkCounters *c = arena_message(
	    arena, Pb__InstanceStateNetworkCounters, pb__instance_state_network_counters);
	c->bytes_received = (int64_t)link.counters.tx_bytes;
	c->bytes_sent = (int64_t)link.counters.rx_bytes;
	c->packets_received = (int64_t)link.counters.tx_packets;
	c->packets_sent = (int64_t)link.counters.rx_packets;
	out->counters = c;
	out->hwaddr = arena_strdup(arena, hwaddr);
	out->host_name = arena_strdup(arena, host_name);
	out->mtu = link.mtu;
	out->state = (char *)(link.flags & IFF_UP ? "up" : "down");
	out->type = (char *)"broadcast";
	return out;
}

static void read_network(Instance *i, Arena *arena, Pb__InstanceState *out)
{
	guint n;
	g_autoptr(GHashTable) devices = instance_expanded_devices(i);
	g_autofree const char **names = device_sorted(devices, &n);
	out->network = arena_alloc(arena, (n + 1) * sizeof(void *));
	for (guint k = 0; k < n; k++) {
		const Config *config = devices_get(devices, names[k]);
		if (g_strcmp0(config_get(config, "type"), "nic") != 0)
			continue;
		g_autofree char *mac_key = g_strconcat(names[k], ".hwaddr", NULL);
		g_autofree char *host_key = g_strconcat(names[k], ".host_name", NULL);
		g_autofree char *mac = instance_volatile_get(i, mac_key);
		g_autofree char *host = instance_volatile_get(i, host_key);
		const char *given = config_get(config, "hwaddr");
		Pb__InstanceStateNetwork *card = host ? render_card(host,
							    given   ? given :
								mac ? mac :
								      "",
							    arena) :
							NULL;
		if (!card)
			continue;
		Pb__InstanceState__NetworkEntry *entry = arena_message(
		    arena, Pb__InstanceState__NetworkEntry, pb__instance_state__network_entry);
		entry->key = arena_strdup(arena, names[k]);
		entry->value = card;
		out->network[out->n_network++] = entry;
	}
}

/* Which of the host's ends is the other one of a card that the guest tells of. */
static void name_other_ends(Pb__InstanceState__NetworkEntry *const *cards, size_t n_cards,
    Pb__InstanceState *out)
{
	for (size_t n = 0; n < out->n_network; n++)
		for (size_t k = 0; k < n_cards; k++)
			if (g_ascii_strcasecmp(cards[k]->value->hwaddr,
				out->network[n]->value->hwaddr) == 0)
				out->network[n]->value->host_name = cards[k]->value->host_name;
}

/* What the guest knows better; without an agent all stays as the host sees it. */
static void take_inside(const void *inside, Arena *arena, Pb__InstanceState *out)
{
	Pb__InstanceState__NetworkEntry **cards = out->network;
	size_t n_cards = out->n_network;
	guest_state_take(inside, arena, out);
	name_other_ends(cards, n_cards, out);
}

void vm_state(Instance *i, Runtime *r, const void *inside, Arena *arena, Pb__InstanceState *out)
{
	out->processes = -1; /* only the agent can tell */
	out->cpu->usage = read_cpu(r->init);
	read_memory(i, r->init, out->memory);
	read_network(i, arena, out);
	if (inside)
		take_inside(inside, arena, out);
}
