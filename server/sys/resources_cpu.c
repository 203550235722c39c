#include "server/sys/host.h"
#include "server/sys/resources_private.h"

#include "sdk/base/units.h"

#include <string.h>

#define CPU "/sys/devices/system/cpu"

/* The first value of a field of /proc/cpuinfo. */
static char *cpuinfo_value(Arena *arena, const char *text, const char *name)
{
	g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
	for (char **line = lines; *line; line++) {
		const char *colon = strchr(*line, ':');
		if (!colon || !g_str_has_prefix(*line, name))
			continue;
		g_autofree char *key = g_strstrip(g_strndup(*line, (gsize)(colon - *line)));
		if (strcmp(key, name) == 0)
			return g_strstrip(arena_strdup(arena, colon + 1));
	}
	return arena_strdup(arena, "");
}

static void fill_caches(Arena *arena, Pb__ResourcesCPUSocket *socket, unsigned cpu)
{
	for (unsigned i = 0; sys_exists(CPU "/cpu%u/cache/index%u", cpu, i); i++) {
		Pb__ResourcesCPUCache *cache = arena_message(
		    arena, Pb__ResourcesCPUCache, pb__resources_cpucache);
		cache->level = sys_number(CPU "/cpu%u/cache/index%u/level", cpu, i);
		cache->type = sys_text(arena, CPU "/cpu%u/cache/index%u/type", cpu, i);
		cache->size = sys_number(CPU "/cpu%u/cache/index%u/size", cpu, i) *
		    1024; /* "32K" */
		socket->cache = arena_append(arena, &socket->n_cache, socket->cache, cache);
	}
}

static Pb__ResourcesCPUSocket *find_socket(
    Arena *arena, Pb__ResourcesCPU *out, uint64_t number, unsigned cpu, const char *cpuinfo)
{
	for (size_t i = 0; i < out->n_sockets; i++)
		if (out->sockets[i]->socket == number)
			return out->sockets[i];
	Pb__ResourcesCPUSocket *socket = arena_message(
	    arena, Pb__ResourcesCPUSocket, pb__resources_cpusocket);
	socket->socket = number;
	socket->name = cpuinfo_value(arena, cpuinfo, "model name");
	socket->vendor = cpuinfo_value(arena, cpuinfo, "vendor_id");
	socket->frequency_minimum = sys_number(CPU "/cpu%u/cpufreq/cpuinfo_min_freq", cpu) / 1000;
	socket->frequency_turbo = sys_number(CPU "/cpu%u/cpufreq/cpuinfo_max_freq", cpu) / 1000;
	fill_caches(arena, socket, cpu);
	out->sockets = arena_append(arena, &out->n_sockets, out->sockets, socket);
	return socket;
}

static Pb__ResourcesCPUCore *find_core(
    Arena *arena, Pb__ResourcesCPUSocket *socket, uint64_t number, uint64_t die)
{
	for (size_t i = 0; i < socket->n_cores; i++)
		if (socket->cores[i]->core == number && socket->cores[i]->die == die)
			return socket->cores[i];
	Pb__ResourcesCPUCore *core = arena_message(
	    arena, Pb__ResourcesCPUCore, pb__resources_cpucore);
	core->core = number;
	core->die = die;
	socket->cores = arena_append(arena, &socket->n_cores, socket->cores, core);
	return core;
}

static uint64_t numa_node_of(unsigned cpu)
{
	g_auto(GStrv) names = sys_list(CPU "/cpu%u", cpu);
	for (char **name = names; *name; name++)
		if (g_str_has_prefix(*name, "node") && g_ascii_isdigit((*name)[4]))
			return g_ascii_strtoull(*name + 4, NULL, 10);
	return 0;
}

static gboolean in_set(const GArray *set, unsigned cpu)
{
	for (guint i = 0; set && i < set->len; i++)
		if (g_array_index(set, unsigned, i) == cpu)
			return TRUE;
	return FALSE;
}

Pb__ResourcesCPU *resources_cpu(Arena *arena)
{
	Pb__ResourcesCPU *out = arena_message(arena, Pb__ResourcesCPU, pb__resources_cpu);
	g_autofree char *cpuinfo = NULL;
	g_file_get_contents("/proc/cpuinfo", &cpuinfo, NULL, NULL);
	g_auto(GStrv) names = sys_list(CPU);
	g_autoptr(GArray) isolated = NULL;
	units_parse_cpuset(sys_text(arena, CPU "/isolated"), &isolated, NULL);
	out->architecture = arena_strdup(arena, host_facts()->architecture);
	for (char **name = names; *name; name++) {
		if (!g_str_has_prefix(*name, "cpu") || !g_ascii_isdigit((*name)[3]))
			continue;
		unsigned cpu = (unsigned)g_ascii_strtoull(*name + 3, NULL, 10);
		/* cpu0 often has no "online" file: it cannot be taken away. */
		gboolean online = !sys_exists(CPU "/cpu%u/online", cpu) ||
		    sys_number(CPU "/cpu%u/online", cpu);
		Pb__ResourcesCPUSocket *socket = find_socket(arena, out,
		    sys_number(CPU "/cpu%u/topology/physical_package_id", cpu), cpu,
		    cpuinfo ? cpuinfo : "");
		Pb__ResourcesCPUCore *core = find_core(arena, socket,
		    sys_number(CPU "/cpu%u/topology/core_id", cpu),
		    sys_number(CPU "/cpu%u/topology/die_id", cpu));
		Pb__ResourcesCPUThread *thread = arena_message(
		    arena, Pb__ResourcesCPUThread, pb__resources_cputhread);
		thread->id = cpu;
		thread->thread = core->n_threads;
		thread->online = online;
		thread->isolated = in_set(isolated, cpu);
		thread->numa_node = numa_node_of(cpu);
		core->threads = arena_append(arena, &core->n_threads, core->threads, thread);
		core->frequency = MAX(
		    core->frequency, sys_number(CPU "/cpu%u/cpufreq/scaling_cur_freq", cpu) / 1000);
		socket->frequency = MAX(socket->frequency, core->frequency);
		out->total++;
	}
	return out;
}
