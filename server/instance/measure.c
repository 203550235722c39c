/* The figures of one running instance, read from its cgroup files and its network namespace. */
#include "sdk/base/own.h"
#include "sdk/base/units.h"
#include "server/instance/cgroup.h"
#include "server/guest/state.h"
#include "server/instance/driver.h"
#include "server/instance/flow.h"
#include "server/instance/metrics.h"
#include "server/instance/private.h"
#include "server/instance/state.h"
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

typedef struct Measure {
	Instance *instance;
	const char *cgroup;
	Metrics *metrics;
	const char *labels; /* of the instance: end of every sample's */
} Measure;

/* A sample with up to three labels more; names are pairs, NULL at the end. */
static void add(const Measure *m, Metric metric, const char *const *labels, double value)
{
	g_autoptr(GString) text = g_string_new(NULL);
	for (size_t i = 0; labels && labels[i]; i += 2)
		metrics_label(text, labels[i], labels[i + 1]);
	g_string_append_printf(text, "%s%s", text->len ? "," : "", m->labels);
	metrics_add(m->metrics, metric, text->str, value);
}

/* --- cpu --- */

static void add_cpu(const Measure *m, const char *cpu, const char *mode, double seconds)
{
	const char *const labels[] = { "cpu", cpu, "mode", mode, NULL };
	add(m, METRIC_CPU_SECONDS, labels, seconds);
}

/* "NUMBER USER SYSTEM", in nanoseconds, for every CPU. */
static void measure_cpu_v1(const Measure *m)
{
	g_autofree char *text = cgroup_read("cpuacct", m->cgroup, "cpuacct.usage_all");
	g_auto(GStrv) lines = g_strsplit(text ? text : "", "\n", -1);
	for (char **line = lines; *line; line++) {
		g_auto(GStrv) word = g_strsplit(*line, " ", -1);
		if (g_strv_length(word) != 3 || !g_ascii_isdigit(**word))
			continue;
		add_cpu(m, word[0], "system", (double)g_ascii_strtoull(word[2], NULL, 10) / 1e9);
		add_cpu(m, word[0], "user", (double)g_ascii_strtoull(word[1], NULL, 10) / 1e9);
	}
}

/* The value of "KEY VALUE" among lines; -1: not there. */
static int64_t find_value(const char *text, const char *key)
{
	size_t length = strlen(key);
	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, key, length) == 0 && line[length] == ' ')
			return g_ascii_strtoll(line + length + 1, NULL, 10);
	}
	return -1;
}

/* Not told apart by CPU there. */
static void measure_cpu_v2(const Measure *m)
{
	g_autofree char *text = cgroup_read("cpuacct", m->cgroup, "cpu.stat");
	int64_t user = find_value(text, "user_usec"), system = find_value(text, "system_usec");
	if (user < 0 || system < 0)
		return;
	add_cpu(m, "0", "system", (double)system / 1e6);
	add_cpu(m, "0", "user", (double)user / 1e6);
}

static void measure_cpu(const Measure *m)
{
	if (cgroup_version("cpuacct") == CGROUP_V1)
		measure_cpu_v1(m);
	else
		measure_cpu_v2(m);
	gboolean v1 = cgroup_version("cpuset") == CGROUP_V1;
	g_autofree char *text = cgroup_read(
	    "cpuset", m->cgroup, v1 ? "cpuset.effective_cpus" : "cpuset.cpus.effective");
	g_autoptr(GArray) cpus = NULL;
	if (!text || units_parse_cpuset(text, &cpus, NULL) < 0) {
		g_clear_pointer(&cpus, g_array_unref);
		cpus = cgroup_cpus();
	}
	add(m, METRIC_CPU_EFFECTIVE, NULL, cpus->len);
}

/* --- memory --- */

static const struct {
	Metric metric;
	const char *v1, *v2; /* names in memory.stat; v1's cover the groups below too */
} memory_rows[] = {
	{ METRIC_MEMORY_ACTIVE_ANON, "total_active_anon", "active_anon" },
	{ METRIC_MEMORY_ACTIVE_FILE, "total_active_file", "active_file" },
	{ METRIC_MEMORY_INACTIVE_ANON, "total_inactive_anon", "inactive_anon" },
	{ METRIC_MEMORY_INACTIVE_FILE, "total_inactive_file", "inactive_file" },
	{ METRIC_MEMORY_CACHED, "total_cache", "file" },
	{ METRIC_MEMORY_DIRTY, "total_dirty", "file_dirty" },
	{ METRIC_MEMORY_MAPPED, "total_mapped_file", "file_mapped" },
	{ METRIC_MEMORY_RSS, "total_rss", "anon" },
	{ METRIC_MEMORY_SHMEM, "total_shmem", "shmem" },
	{ METRIC_MEMORY_UNEVICTABLE, "total_unevictable", "unevictable" },
	{ METRIC_MEMORY_WRITEBACK, "total_writeback", "file_writeback" },
};

/* *ret_idle: what could be taken back from caches without a loss. */
static void measure_memory_stat(const Measure *m, gboolean v1, double *ret_idle)
{
	double value[METRIC_COUNT] = { 0 };
	g_autofree char *text = cgroup_read("memory", m->cgroup, "memory.stat");
	for (size_t i = 0; text && i < G_N_ELEMENTS(memory_rows); i++) {
		int64_t bytes = find_value(text, v1 ? memory_rows[i].v1 : memory_rows[i].v2);
		if (bytes < 0)
			continue;
		value[memory_rows[i].metric] = (double)bytes;
		add(m, memory_rows[i].metric, NULL, (double)bytes);
	}
	if (!text)
		return;
	add(m, METRIC_MEMORY_ACTIVE, NULL,
	    value[METRIC_MEMORY_ACTIVE_ANON] + value[METRIC_MEMORY_ACTIVE_FILE]);
	add(m, METRIC_MEMORY_INACTIVE, NULL,
	    value[METRIC_MEMORY_INACTIVE_ANON] + value[METRIC_MEMORY_INACTIVE_FILE]);
	*ret_idle = value[METRIC_MEMORY_INACTIVE_FILE];
}

static void measure_memory(const Measure *m, const Pb__InstanceStateMemory *memory)
{
	double idle = 0, unused = (double)MAX(0, memory->total - memory->usage);
	CgroupVersion version = cgroup_version("memory");
	if (version == CGROUP_NONE)
		return;
	measure_memory_stat(m, version == CGROUP_V1, &idle);
	add(m, METRIC_MEMORY_TOTAL, NULL, (double)memory->total);
	add(m, METRIC_MEMORY_FREE, NULL, unused);
	add(m, METRIC_MEMORY_AVAILABLE, NULL, MIN(unused + idle, (double)memory->total));
	add(m, METRIC_MEMORY_SWAP, NULL, (double)memory->swap_usage);
	g_autofree char *events = cgroup_read("memory", m->cgroup,
	    version == CGROUP_V1 ? "memory.oom_control" : "memory.events");
	int64_t kills = find_value(events, "oom_kill");
	if (kills >= 0)
		add(m, METRIC_MEMORY_OOM_KILLS, NULL, (double)kills);
}

/* Folders hugepages-SIZEkB; the controller calls the same 2MB, 1GB. */
static void measure_hugepages(const Measure *m)
{
	CgroupVersion version = cgroup_version("hugetlb");
	g_autoptr(GDir) dir = g_dir_open("/sys/kernel/mm/hugepages", 0, NULL);
	double total = 0, used = 0;
	const char *name;
	while (version != CGROUP_NONE && dir && (name = g_dir_read_name(dir))) {
		guint64 kib = g_ascii_strtoull(name + strcspn(name, "0123456789"), NULL, 10);
		g_autofree char *path = g_strdup_printf(
		    "/sys/kernel/mm/hugepages/%s/nr_hugepages", name);
		g_autofree char *size = kib % 1048576 ? g_strdup_printf("%dMB", (int)(kib / 1024)) :
							g_strdup_printf("%dGB", (int)(kib / 1048576));
		g_autofree char *usage = g_strdup_printf("hugetlb.%s.%s", size,
		    version == CGROUP_V1 ? "usage_in_bytes" : "current");
		g_autofree char *limit = g_strdup_printf(
		    "hugetlb.%s.%s", size, version == CGROUP_V1 ? "limit_in_bytes" : "max");
		g_autofree char *pages = NULL;
		if (!kib || !g_file_get_contents(path, &pages, NULL, NULL))
			continue;
		int64_t most = cgroup_read_number("hugetlb", m->cgroup, limit);
		double there = (double)g_ascii_strtoull(pages, NULL, 10) * (double)kib * 1024;
		total += most >= 0 ? MIN((double)most, there) : there;
		used += (double)MAX(0, cgroup_read_number("hugetlb", m->cgroup, usage));
	}
	if (version == CGROUP_NONE || !dir)
		return;
	add(m, METRIC_MEMORY_HUGEPAGES_TOTAL, NULL, total);
	add(m, METRIC_MEMORY_HUGEPAGES_FREE, NULL, MAX(0, total - used));
}

/* --- disks --- */

/* "sda" for "8:0"; NULL when the kernel has no such device any more. */
static char *device_name(const char *number)
{
	char target[PATH_MAX];
	g_autofree char *path = g_strconcat("/sys/dev/block/", number, NULL);
	ssize_t length = readlink(path, target, sizeof(target) - 1);
	if (length <= 0)
		return NULL;
	target[length] = '\0';
	return g_path_get_basename(target);
}

static void add_disk(const Measure *m, Metric metric, const char *number, const char *value)
{
	g_autofree char *name = device_name(number);
	const char *const labels[] = { "device", name, NULL };
	if (name)
		add(m, metric, labels, (double)g_ascii_strtoull(value, NULL, 10));
}

/* "8:0 Read 4096" and others. */
static void measure_disk_v1(const Measure *m, const char *file, Metric reads, Metric writes)
{
	g_autofree char *text = cgroup_read("blkio", m->cgroup, file);
	g_auto(GStrv) lines = g_strsplit(text ? text : "", "\n", -1);
	for (char **line = lines; *line; line++) {
		g_auto(GStrv) word = g_strsplit(*line, " ", -1);
		if (g_strv_length(word) != 3)
			continue;
		if (strcmp(word[1], "Read") == 0)
			add_disk(m, reads, word[0], word[2]);
		else if (strcmp(word[1], "Write") == 0)
			add_disk(m, writes, word[0], word[2]);
	}
}

/* "8:0 rbytes=1 wbytes=2 rios=3 wios=4 ...". */
static void measure_disk_v2(const Measure *m)
{
	static const struct {
		const char *key;
		Metric metric;
	} values[] = {
		{ "rbytes=", METRIC_DISK_READ_BYTES },
		{ "wbytes=", METRIC_DISK_WRITTEN_BYTES },
		{ "rios=", METRIC_DISK_READS },
		{ "wios=", METRIC_DISK_WRITES },
	};
	g_autofree char *text = cgroup_read("io", m->cgroup, "io.stat");
	g_auto(GStrv) lines = g_strsplit(text ? text : "", "\n", -1);
	for (char **line = lines; *line; line++) {
		g_auto(GStrv) word = g_strsplit(*line, " ", -1);
		for (guint w = 1; w < g_strv_length(word); w++)
			for (size_t i = 0; i < G_N_ELEMENTS(values); i++)
				if (g_str_has_prefix(word[w], values[i].key))
					add_disk(m, values[i].metric, word[0],
					    word[w] + strlen(values[i].key));
	}
}

static void measure_disks(const Measure *m)
{
	if (cgroup_version("blkio") != CGROUP_V1) {
		measure_disk_v2(m);
		return;
	}
	measure_disk_v1(m, "blkio.throttle.io_service_bytes_recursive", METRIC_DISK_READ_BYTES,
	    METRIC_DISK_WRITTEN_BYTES);
	measure_disk_v1(
	    m, "blkio.throttle.io_serviced_recursive", METRIC_DISK_READS, METRIC_DISK_WRITES);
}

/* --- the root file system --- */

/* Device and type of what `path` is mounted from, by the mount's number: a device number does not
 * tell with btrfs. */
static gboolean find_mount(const char *path, char **ret_device, char **ret_type)
{
	struct statx st;
	if (statx(AT_FDCWD, path, 0, STATX_MNT_ID, &st) < 0 || !(st.stx_mask & STATX_MNT_ID))
		return FALSE;
	g_autofree char *text = NULL;
	if (!g_file_get_contents("/proc/self/mountinfo", &text, NULL, NULL))
		return FALSE;
	g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
	for (char **line = lines; *line; line++) {
		const char *rest = strstr(*line, " - ");
		if (!rest || g_ascii_strtoull(*line, NULL, 10) != st.stx_mnt_id)
			continue;
		g_auto(GStrv) word = g_strsplit(rest + 3, " ", 3);
		if (g_strv_length(word) != 3)
			return FALSE;
		*ret_type = g_strdup(word[0]);
		*ret_device = g_strdup(word[1]);
		return TRUE;
	}
	return FALSE;
}

/* Of the root disk. Other disks are the host's folders, which the host measures itself. */
static void measure_filesystem(const Measure *m, const Pb__InstanceState *state)
{
	struct statvfs st;
	g_autofree char *path = instance_path(m->instance);
	g_autofree char *device = NULL, *type = NULL;
	if (statvfs(path, &st) < 0 || !find_mount(path, &device, &type))
		return;
	const char *const labels[] = { "device", device, "fstype", type, "mountpoint", "/", NULL };
	double block = (double)st.f_frsize, size = (double)st.f_blocks * block;
	double unused = (double)st.f_bfree * block, avail = (double)st.f_bavail * block;
	const Pb__InstanceStateDisk *root = state->n_disk ? state->disk[0]->value : NULL;
	if (root && root->total > 0) { /* it has a quota */
		size = (double)root->total;
		unused = MIN(unused, (double)MAX(0, root->total - root->usage));
		avail = MIN(avail, unused);
	}
	add(m, METRIC_FILESYSTEM_SIZE, labels, size);
	add(m, METRIC_FILESYSTEM_FREE, labels, unused);
	add(m, METRIC_FILESYSTEM_AVAIL, labels, avail);
}

/* --- all --- */

static void measure_link(
    const Measure *m, const char *name, const Pb__InstanceStateNetworkCounters *c)
{
	const struct {
		Metric metric;
		int64_t value;
	} values[] = {
		{ METRIC_NETWORK_RECEIVE_BYTES, c->bytes_received },
		{ METRIC_NETWORK_RECEIVE_DROP, c->packets_dropped_inbound },
		{ METRIC_NETWORK_RECEIVE_ERRS, c->errors_received },
		{ METRIC_NETWORK_RECEIVE_PACKETS, c->packets_received },
		{ METRIC_NETWORK_TRANSMIT_BYTES, c->bytes_sent },
		{ METRIC_NETWORK_TRANSMIT_DROP, c->packets_dropped_outbound },
		{ METRIC_NETWORK_TRANSMIT_ERRS, c->errors_sent },
		{ METRIC_NETWORK_TRANSMIT_PACKETS, c->packets_sent },
	};
	const char *const labels[] = { "device", name, NULL };
	for (size_t i = 0; i < G_N_ELEMENTS(values); i++)
		add(m, values[i].metric, labels, (double)values[i].value);
}

void instance_measure(Instance *i, const Insides *insides, Metrics *metrics)
{
	g_autofree char *cgroup = instance_cgroup(i);
	g_autoptr(Arena) arena = arena_new();
	g_autoptr(GString) labels = g_string_new(NULL);
	metrics_label(labels, "name", instance_name(i));
	metrics_label(labels, "project", instance_project(i));
	metrics_label(labels, "type", instance_type_name(instance_type(i)));
	/* Of a machine only its agent can tell. */
	const void *inside = insides_answer(insides, i);
	if (inside)
		guest_metrics_take(inside, labels->str, metrics);
	if (!instance_running(i) || !*cgroup)
		return;
	Pb__InstanceState *state = arena_message(arena, Pb__InstanceState, pb__instance_state);
	instance_state(i, STATE_ROW, NULL, arena, state);
	Measure m = { i, cgroup, metrics, labels->str };
	measure_cpu(&m);
	measure_memory(&m, state->memory);
	measure_hugepages(&m);
	measure_disks(&m);
	measure_filesystem(&m, state);
	for (size_t n = 0; n < state->n_network; n++)
		measure_link(&m, state->network[n]->key, state->network[n]->value->counters);
	if (state->processes >= 0)
		add(&m, METRIC_PROCS, NULL, (double)state->processes);
}
