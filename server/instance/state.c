#include "server/instance/state.h"
#include "server/instance/cgroup.h"
#include "server/instance/flow.h"
#include "server/instance/driver.h"
#include "server/sys/link_state.h"
#include "sdk/base/units.h"
#include <string.h>
#include <unistd.h>

static int64_t read_cpu(const Runtime *r)
{
	char stat[64];
	if (cgroup_version("cpuacct") == CGROUP_V1)
		return cgroup_meter(r->meters, r->cgroup, CGROUP_CPU);
	return cgroup_meter_text(r->meters, r->cgroup, CGROUP_CPU, stat, sizeof(stat)) &&
		g_str_has_prefix(stat, "usage_usec ") ?
	    g_ascii_strtoll(stat + 11, NULL, 10) * 1000 :
	    -1;
}

static int64_t total_memory(void)
{
	return (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
}

static int64_t read_or_zero(const Runtime *r, CgroupMeter which)
{
	int64_t value = cgroup_meter(r->meters, r->cgroup, which);
	return MAX(value, 0);
}

static void read_memory(const Runtime *r, Pb__InstanceStateMemory *out)
{
	int64_t all = total_memory(),
		limit = cgroup_meter(r->meters, r->cgroup, CGROUP_MEMORY_LIMIT);
	out->usage = read_or_zero(r, CGROUP_MEMORY);
	out->usage_peak = read_or_zero(r, CGROUP_MEMORY_PEAK);
	out->total = limit > 0 && limit < all ? limit : all;
	out->swap_usage = read_or_zero(r, CGROUP_SWAP);
	out->swap_usage_peak = read_or_zero(r, CGROUP_SWAP_PEAK);
	if (cgroup_version("memory") == CGROUP_V1) { /* with the memory */
		out->swap_usage = MAX(0, out->swap_usage - out->usage);
		out->swap_usage_peak = MAX(0, out->swap_usage_peak - out->usage_peak);
	}
}

/* Name of the nic device's host end, by the MAC or name that its volatile keys give. */
static char *host_name_of(const Config *volatiles, const Devices *devices, const Link *link)
{
	GHashTableIter iter;
	void *name, *config;
	g_hash_table_iter_init(&iter, (GHashTable *)devices);
	while (g_hash_table_iter_next(&iter, &name, &config)) {
		if (g_strcmp0(config_get(config, "type"), "nic") != 0)
			continue;
		g_autofree char *mac_key = g_strdup_printf("volatile.%s.hwaddr", (char *)name);
		g_autofree char *host_key = g_strdup_printf("volatile.%s.host_name", (char *)name);
		const char *mac = config_get(config, "hwaddr");
		if (!mac)
			mac = config_get(volatiles, mac_key);
		const char *host = config_get(config, "host_name");
		if (!host)
			host = config_get(volatiles, host_key);
		if (mac && g_ascii_strcasecmp(mac, link->address) == 0)
			return g_strdup(host ? host : "");
	}
	return g_strdup("");
}

static void read_network(Instance *i, Runtime *r, Arena *arena, Pb__InstanceState *out)
{
	LinkList *list = NULL;
	if (r->netlink_fd < 0)
		return;
	g_mutex_lock(&r->netlink_lock);
	int result = netlink_list(r->netlink_fd, &list, NULL);
	g_mutex_unlock(&r->netlink_lock);
	if (result < 0)
		return;
	g_autoptr(Config) config = instance_config(i);
	g_autoptr(GHashTable) devices = instance_expanded_devices(i);
	out->network = arena_alloc(arena, (list->n_links + 1) * sizeof(void *));
	for (unsigned n = 0; n < list->n_links; n++) {
		g_autofree char *host = host_name_of(config, devices, &list->links[n]);
		Pb__InstanceState__NetworkEntry *entry = arena_message(
		    arena, Pb__InstanceState__NetworkEntry, pb__instance_state__network_entry);
		entry->key = arena_strdup(arena, list->links[n].name);
		entry->value = link_state(&list->links[n], host, arena);
		out->network[out->n_network++] = entry;
	}
	link_list_free(list);
}

void state_of_container(
    Instance *i, Runtime *r, const void *inside, Arena *arena, Pb__InstanceState *out)
{
	out->processes = cgroup_version("pids") != CGROUP_NONE ?
	    cgroup_meter(r->meters, r->cgroup, CGROUP_PROCESSES) :
	    -1;
	out->cpu->usage = read_cpu(r);
	read_memory(r, out->memory);
	read_network(i, r, arena, out);
}

static void read_disk(Instance *i, StateDepth depth, Arena *arena, Pb__InstanceState *out)
{
	g_autoptr(GHashTable) devices = instance_expanded_devices(i);
	g_autoptr(Pool) pool = NULL;
	const char *name;
	Config *root;
	int64_t used = -1, total = 0;
	if (device_root_disk(devices, &name, &root, NULL) < 0 ||
	    pool_get(i->daemon, config_get(root, "pool"), &pool, NULL) < 0 ||
	    pool_instance_usage(pool, i->project, i->name, instance_type_name(i->type),
		depth == STATE_ROW, &used, &total, NULL) < 0 ||
	    used < 0)
		return;
	Pb__InstanceState__DiskEntry *entry = arena_message(
	    arena, Pb__InstanceState__DiskEntry, pb__instance_state__disk_entry);
	entry->key = arena_strdup(arena, name);
	entry->value = arena_message(arena, Pb__InstanceStateDisk, pb__instance_state_disk);
	entry->value->usage = used;
	entry->value->total = MAX(0, total);
	out->disk = arena_alloc(arena, sizeof(void *));
	out->disk[0] = entry;
	out->n_disk = 1;
}

void instance_state(
    Instance *i, StateDepth depth, const Insides *insides, Arena *arena, Pb__InstanceState *out)
{
	g_autoptr(Runtime) r = instance_runtime(i);
	InstanceStatus status = instance_status_shown(i);
	out->status = (char *)instance_status_name(status);
	out->status_code = (int32_t)status;
	out->cpu = arena_message(arena, Pb__InstanceStateCPU, pb__instance_state_cpu);
	out->memory = arena_message(arena, Pb__InstanceStateMemory, pb__instance_state_memory);
	read_disk(i, depth, arena, out);
	if (!r)
		return;
	out->pid = r->init;
	instance_driver(i)->state(i, r, insides_answer(insides, i), arena, out);
}

void instance_state_whole(Instance *i, Arena *arena, Pb__InstanceState *out)
{
	g_autoptr(GPtrArray) alone = g_ptr_array_new();
	g_ptr_array_add(alone, i);
	g_autoptr(Insides) insides = insides_ask(alone, INSIDE_WHOLE);
	instance_state(i, STATE_WHOLE, insides, arena, out);
}
