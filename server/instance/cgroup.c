#include "server/instance/cgroup.h"
#include "sdk/base/own.h"
#include "sdk/base/units.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

typedef struct Layout {
	GHashTable *v1;       /* controller -> mount point */
	char *v2;             /* mount point of the unified hierarchy, NULL: none */
	GHashTable *v2_controllers;
} Layout;

static void read_mounts(Layout *layout)
{
	char line[4096];
	autofile FILE *file = fopen("/proc/self/mounts", "re");
	while (file && fgets(line, sizeof(line), file)) {
		g_auto(GStrv) field = g_strsplit(line, " ", 5);
		if (g_strv_length(field) < 4)
			continue;
		if (strcmp(field[2], "cgroup2") == 0 && !layout->v2) {
			layout->v2 = g_strdup(field[1]);
		} else if (strcmp(field[2], "cgroup") == 0) {
			g_auto(GStrv) option = g_strsplit(field[3], ",", -1);
			for (char **o = option; *o; o++)
				if (!g_hash_table_contains(layout->v1, *o))
					g_hash_table_insert(
					    layout->v1, g_strdup(*o), g_strdup(field[1]));
		}
	}
}

static const Layout *cgroup_layout(void)
{
	static gsize once;
	static Layout layout;
	if (g_once_init_enter(&once)) {
		layout.v1 = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
		layout.v2_controllers = g_hash_table_new_full(
		    g_str_hash, g_str_equal, g_free, NULL);
		read_mounts(&layout);
		g_autofree char *path = g_build_filename(
		    layout.v2 ? layout.v2 : "/nonexistent", "cgroup.controllers", NULL);
		g_autofree char *text = NULL;
		if (g_file_get_contents(path, &text, NULL, NULL)) {
			g_auto(GStrv) names = g_strsplit_set(text, " \n", -1);
			for (char **n = names; *n; n++)
				if (**n)
					g_hash_table_add(layout.v2_controllers, g_strdup(*n));
		}
		g_once_init_leave(&once, 1);
	}
	return &layout;
}

CgroupVersion cgroup_version(const char *controller)
{
	const Layout *layout = cgroup_layout();
	if (g_hash_table_contains(layout->v1, controller))
		return CGROUP_V1;
	if (!layout->v2)
		return CGROUP_NONE;
	if (strcmp(controller, "freezer") == 0 || strcmp(controller, "cpuacct") == 0)
		return CGROUP_V2;
	return g_hash_table_contains(layout->v2_controllers, controller) ? CGROUP_V2 : CGROUP_NONE;
}

char *cgroup_file(const char *controller, const char *group, const char *file)
{
	const Layout *layout = cgroup_layout();
	const char *mount = NULL;
	switch (cgroup_version(controller)) {
	case CGROUP_V1: mount = g_hash_table_lookup(layout->v1, controller); break;
	case CGROUP_V2: mount = layout->v2; break;
	case CGROUP_NONE: return NULL;
	}
	return g_build_filename(mount, group, file, NULL);
}

char *cgroup_read(const char *controller, const char *group, const char *file)
{
	g_autofree char *path = cgroup_file(controller, group, file);
	char *text = NULL;
	if (!path || !g_file_get_contents(path, &text, NULL, NULL))
		return NULL;
	return g_strchomp(text);
}

static int64_t number(const char *text)
{
	return g_str_has_prefix(text, "max") ? G_MAXINT64 : g_ascii_strtoll(text, NULL, 10);
}

int64_t cgroup_read_number(const char *controller, const char *group, const char *file)
{
	char text[64];
	g_autofree char *path = cgroup_file(controller, group, file);
	autofd int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	ssize_t got = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
	if (got <= 0)
		return -1;
	text[got] = '\0';
	return number(text);
}

static const struct {
	const char *controller, *v1, *v2;
} meter_files[CGROUP_METERS] = {
	[CGROUP_CPU] = { "cpuacct", "cpuacct.usage", "cpu.stat" },
	[CGROUP_MEMORY] = { "memory", "memory.usage_in_bytes", "memory.current" },
	[CGROUP_MEMORY_PEAK] = { "memory", "memory.max_usage_in_bytes", "memory.peak" },
	[CGROUP_MEMORY_LIMIT] = { "memory", "memory.limit_in_bytes", "memory.max" },
	[CGROUP_SWAP] = { "memory", "memory.memsw.usage_in_bytes", "memory.swap.current" },
	[CGROUP_SWAP_PEAK] = { "memory", "memory.memsw.max_usage_in_bytes", "memory.swap.peak" },
	[CGROUP_PROCESSES] = { "pids", "pids.current", "pids.current" },
	[CGROUP_FROZEN] = { "freezer", "freezer.state", "cgroup.freeze" },
};

static int meter_open(const char *group, CgroupMeter which)
{
	const char *controller = meter_files[which].controller;
	gboolean v1 = cgroup_version(controller) == CGROUP_V1;
	g_autofree char *path = cgroup_file(
	    controller, group, v1 ? meter_files[which].v1 : meter_files[which].v2);
	return path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
}

/* Half of what there may be is left to connections. */
static gboolean may_keep(int fd)
{
	struct rlimit files;
	return getrlimit(RLIMIT_NOFILE, &files) == 0 && (rlim_t)fd < files.rlim_cur / 2;
}

gboolean cgroup_meter_text(
    CgroupMeters *meters, const char *group, CgroupMeter which, char *text, size_t size)
{
	int fd = g_atomic_int_get(&meters->fds[which]) - 1;
	autofd int own = fd < 0 ? meter_open(group, which) : -1;
	if (fd < 0)
		fd = own;
	ssize_t got = fd < 0 ? -1 : pread(fd, text, size - 1, 0);
	if (own >= 0 && may_keep(own) &&
	    g_atomic_int_compare_and_exchange(&meters->fds[which], 0, own + 1))
		own = -1;
	if (got <= 0)
		return FALSE;
	text[text[got - 1] == '\n' ? got - 1 : got] = '\0';
	return TRUE;
}

int64_t cgroup_meter(CgroupMeters *meters, const char *group, CgroupMeter which)
{
	char text[64];
	return cgroup_meter_text(meters, group, which, text, sizeof(text)) ? number(text) : -1;
}

void cgroup_meters_close(CgroupMeters *meters)
{
	for (int i = 0; i < CGROUP_METERS; i++)
		if (meters->fds[i])
			close(meters->fds[i] - 1);
}

int cgroup_write(
    const char *controller, const char *group, const char *file, const char *value, Error **err)
{
	g_autofree char *path = cgroup_file(controller, group, file);
	if (!path)
		return error_set(err, ERROR_UNSUPPORTED,
		    "This host has no \"%s\" cgroup controller", controller);
	autofd int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, value, strlen(value)) != (ssize_t)strlen(value))
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot write \"%s\" to \"%s\"", value, path);
	return 0;
}

GArray *cgroup_cpus(void)
{
	gboolean v1 = cgroup_version("cpuset") == CGROUP_V1;
	g_autofree char *text = cgroup_read(
	    "cpuset", "", v1 ? "cpuset.effective_cpus" : "cpuset.cpus.effective");
	GArray *cpus = NULL;
	if (!text && !g_file_get_contents("/sys/devices/system/cpu/online", &text, NULL, NULL))
		text = g_strdup("0");
	if (units_parse_cpuset(g_strchomp(text), &cpus, NULL) < 0)
		cpus = g_array_new(FALSE, FALSE, sizeof(unsigned));
	return cpus;
}

/* Nobody is in there any more: control groups are removed by rmdir() alone, from below. */
static void remove_below(int parent, const char *name, int depth)
{
	enum { DEPTH_MAX = 32 };
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	autodir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir)
		return;
	for (struct dirent *entry; depth < DEPTH_MAX && (entry = readdir(dir));)
		if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
			remove_below(fd, entry->d_name, depth + 1);
	unlinkat(parent, name, AT_REMOVEDIR);
}

static void remove_in(const char *mount, const char *group)
{
	autofd int fd = open(mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		remove_below(fd, group + 1, 0);
}

void cgroup_remove(const char *group)
{
	const Layout *layout = cgroup_layout();
	GHashTableIter iter;
	void *mount;
	if (*group != '/' || !group[1])
		return;
	g_hash_table_iter_init(&iter, layout->v1);
	while (g_hash_table_iter_next(&iter, NULL, &mount))
		remove_in(mount, group);
	if (layout->v2)
		remove_in(layout->v2, group);
}

void cgroup_tidy(void)
{
	const Layout *layout = cgroup_layout();
	GHashTableIter iter;
	void *mount;
	g_hash_table_iter_init(&iter, layout->v1);
	while (g_hash_table_iter_next(&iter, NULL, &mount)) {
		g_autofree char *path = g_build_filename(mount, "lxc.pivot", NULL);
		rmdir(path);
	}
	if (layout->v2) {
		g_autofree char *path = g_build_filename(layout->v2, "lxc.pivot", NULL);
		rmdir(path);
	}
}
