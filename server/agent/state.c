/* What the guest uses now, from /proc and netlink. */
#include "incus/v1/agent_handlers.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "server/agent/figures.h"
#include "server/sys/link_state.h"
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { PROC_MAX = 4 << 20 };

char *figures_read(const char *path)
{
	char *text = NULL;
	file_read(AT_FDCWD, path, FILE_LINKS_NONE, PROC_MAX, &text, NULL, NULL);
	return text;
}

int64_t figures_memory(const char *meminfo, const char *key)
{
	size_t length = strlen(key);
	for (const char *line = meminfo; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, key, length) == 0 && line[length] == ':')
			return g_ascii_strtoll(line + length + 1, NULL, 10) * 1024;
	}
	return -1;
}

int64_t figures_processes(void)
{
	int64_t n = 0;
	autodir DIR *dir = opendir("/proc");
	for (struct dirent *e; dir && (e = readdir(dir));)
		n += g_ascii_isdigit(e->d_name[0]);
	return dir ? n : -1;
}

static void read_memory(Pb__InstanceStateMemory *out)
{
	g_autofree char *text = figures_read("/proc/meminfo");
	int64_t total = figures_memory(text, "MemTotal"),
		available = figures_memory(text, "MemAvailable"),
		swap = figures_memory(text, "SwapTotal"),
		swap_free = figures_memory(text, "SwapFree");
	out->total = MAX(0, total);
	out->usage = MAX(0, total - MAX(0, available));
	out->swap_usage = MAX(0, swap - MAX(0, swap_free));
}

/* Nanoseconds that the CPUs were not idle: of "cpu USER NICE SYSTEM IDLE IOWAIT IRQ ..." all but
 * the two. */
static int64_t read_cpu(void)
{
	g_autofree char *text = figures_read("/proc/stat");
	int64_t ticks = 0;
	if (!text || strncmp(text, "cpu ", 4) != 0)
		return -1;
	char *at = text + 4;
	for (int field = 0; field < 8; field++) {
		int64_t value = g_ascii_strtoll(at, &at, 10);
		ticks += field == 3 || field == 4 ? 0 : value;
	}
	return ticks * (1000000000LL / sysconf(_SC_CLK_TCK));
}

static void read_networks(Arena *arena, Pb__InstanceState *out)
{
	g_autoptr(LinkList) list = NULL;
	if (netlink_list(-1, &list, NULL) < 0)
		return;
	out->network = arena_alloc(arena, (list->n_links + 1) * sizeof(void *));
	for (unsigned i = 0; i < list->n_links; i++) {
		Pb__InstanceState__NetworkEntry *entry = arena_message(
		    arena, Pb__InstanceState__NetworkEntry, pb__instance_state__network_entry);
		entry->key = arena_strdup(arena, list->links[i].name);
		entry->value = link_state(&list->links[i], "", arena);
		out->network[out->n_network++] = entry;
	}
}

/* Of the root file system, which is what the host sees as a disk without a view inside. */
static void read_disk(Arena *arena, Pb__InstanceState *out)
{
	struct statvfs fs;
	if (statvfs("/", &fs) < 0 || fs.f_blocks == 0)
		return;
	Pb__InstanceState__DiskEntry *entry = arena_message(
	    arena, Pb__InstanceState__DiskEntry, pb__instance_state__disk_entry);
	entry->key = (char *)"root";
	entry->value = arena_message(arena, Pb__InstanceStateDisk, pb__instance_state_disk);
	entry->value->usage = (int64_t)((fs.f_blocks - fs.f_bfree) * fs.f_frsize);
	entry->value->total = (int64_t)(fs.f_blocks * fs.f_frsize);
	out->disk = arena_alloc(arena, sizeof(void *));
	out->disk[0] = entry;
	out->n_disk = 1;
}

int agent_get_state(
    Request *rq, const Google__Protobuf__Empty *in, Pb__InstanceState *out, Error **err)
{
	Arena *arena = rq->arena;
	out->memory = arena_message(arena, Pb__InstanceStateMemory, pb__instance_state_memory);
	out->cpu = arena_message(arena, Pb__InstanceStateCPU, pb__instance_state_cpu);
	out->cpu->usage = read_cpu();
	out->processes = figures_processes();
	read_memory(out->memory);
	read_disk(arena, out);
	read_networks(arena, out);
	return 0;
}
