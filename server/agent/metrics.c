/* The guest's figures as Prometheus will have them: rows of names, and where in /proc they are. */
#include "incus/v1/agent_handlers.h"
#include "server/agent/figures.h"
#include "server/instance/metrics.h"
#include "server/sys/netlink.h"
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { SAMPLES_MAX = 4096, SECTOR = 512 };

typedef struct Collector {
	Arena *arena;
	Pb__AgentMetrics *out;
} Collector;

/* labels: pairs, NULL at the end. More than the host takes is left out. */
static void add(Collector *c, Metric metric, const char *const *labels, double value)
{
	size_t n = 0;
	if (c->out->n_samples == SAMPLES_MAX)
		return;
	Pb__AgentSample *sample = arena_message(c->arena, Pb__AgentSample, pb__agent_sample);
	sample->metric = (char *)metric_name(metric);
	sample->value = value;
	while (labels && labels[2 * n])
		n++;
	sample->labels = arena_alloc(c->arena, (n + 1) * sizeof(void *));
	for (size_t i = 0; i < n; i++) {
		if (!g_utf8_validate(labels[2 * i + 1], -1, NULL))
			return;
		Pb__AgentLabel *label = arena_message(c->arena, Pb__AgentLabel, pb__agent_label);
		label->name = (char *)labels[2 * i];
		label->value = arena_strdup(c->arena, labels[2 * i + 1]);
		sample->labels[sample->n_labels++] = label;
	}
	c->out->samples[c->out->n_samples++] = sample;
}

/* "cpuN USER NICE SYSTEM IDLE IOWAIT IRQ SOFTIRQ STEAL", in ticks. */
static void add_cpus(Collector *c)
{
	static const char *const modes[] = {
	    "user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"};
	g_autofree char *text = figures_read("/proc/stat");
	double tick = (double)sysconf(_SC_CLK_TCK);
	int cpus = 0;
	for (char *line = text; line && strncmp(line, "cpu", 3) == 0;) {
		char number[16] = "", *at = line + 3;
		size_t digits = strspn(at, "0123456789");
		memcpy(number, at, MIN(digits, sizeof(number) - 1));
		at += digits;
		for (size_t i = 0; digits && i < G_N_ELEMENTS(modes); i++) {
			const char *const labels[] = {"cpu", number, "mode", modes[i], NULL};
			add(c, METRIC_CPU_SECONDS, labels,
			    (double)g_ascii_strtoull(at, &at, 10) / tick);
		}
		cpus += digits > 0;
		line = strchr(line, '\n');
		line += line != NULL;
	}
	add(c, METRIC_CPU_EFFECTIVE, NULL, cpus);
}

static void add_memory(Collector *c)
{
	static const struct {
		Metric metric;
		const char *key;
	} rows[] = {
		{METRIC_MEMORY_ACTIVE, "Active"}, {METRIC_MEMORY_ACTIVE_ANON, "Active(anon)"},
		{METRIC_MEMORY_ACTIVE_FILE, "Active(file)"}, {METRIC_MEMORY_CACHED, "Cached"},
		{METRIC_MEMORY_DIRTY, "Dirty"}, {METRIC_MEMORY_INACTIVE, "Inactive"},
		{METRIC_MEMORY_INACTIVE_ANON, "Inactive(anon)"},
		{METRIC_MEMORY_INACTIVE_FILE, "Inactive(file)"}, {METRIC_MEMORY_MAPPED, "Mapped"},
		{METRIC_MEMORY_AVAILABLE, "MemAvailable"}, {METRIC_MEMORY_FREE, "MemFree"},
		{METRIC_MEMORY_TOTAL, "MemTotal"}, {METRIC_MEMORY_RSS, "AnonPages"},
		{METRIC_MEMORY_SHMEM, "Shmem"}, {METRIC_MEMORY_SWAP, "SwapTotal"},
		{METRIC_MEMORY_UNEVICTABLE, "Unevictable"}, {METRIC_MEMORY_WRITEBACK, "Writeback"},
	};
	g_autofree char *text = figures_read("/proc/meminfo");
	for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
		int64_t bytes = figures_memory(text, rows[i].key);
		if (rows[i].metric == METRIC_MEMORY_SWAP)
			bytes -= MAX(0, figures_memory(text, "SwapFree"));
		if (bytes >= 0)
			add(c, rows[i].metric, NULL, (double)bytes);
	}
}

/* "MAJOR MINOR NAME READS MERGED SECTORS MS WRITES MERGED SECTORS ..."; loops and RAM disks are no
 * disks. */
static void add_disks(Collector *c)
{
	g_autofree char *text = figures_read("/proc/diskstats");
	g_auto(GStrv) lines = g_strsplit(text ? text : "", "\n", -1);
	for (char **line = lines; *line; line++) {
		char name[64];
		unsigned long long n[7];
		if (sscanf(*line, "%*u %*u %63s %llu %llu %llu %llu %llu %llu %llu", name, &n[0],
			&n[1], &n[2], &n[3], &n[4], &n[5], &n[6]) != 8 ||
		    g_str_has_prefix(name, "loop") || g_str_has_prefix(name, "ram"))
			continue;
		const char *const labels[] = {"device", name, NULL};
		add(c, METRIC_DISK_READS, labels, (double)n[0]);
		add(c, METRIC_DISK_READ_BYTES, labels, (double)n[2] * SECTOR);
		add(c, METRIC_DISK_WRITES, labels, (double)n[4]);
		add(c, METRIC_DISK_WRITTEN_BYTES, labels, (double)n[6] * SECTOR);
	}
}

/* Only what stands on a local device: others may hang. */
static void add_file_systems(Collector *c)
{
	g_autofree char *text = figures_read("/proc/self/mounts");
	g_auto(GStrv) lines = g_strsplit(text ? text : "", "\n", -1);
	g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
	for (char **line = lines; *line; line++) {
		g_auto(GStrv) word = g_strsplit(*line, " ", 4);
		struct statvfs fs;
		if (g_strv_length(word) < 3 || !g_str_has_prefix(word[0], "/dev/") ||
		    g_hash_table_contains(seen, word[0]))
			continue;
		g_autofree char *path = g_strcompress(word[1]); /* "\040" is a space */
		if (statvfs(path, &fs) < 0 || !fs.f_blocks)
			continue;
		g_hash_table_add(seen, arena_strdup(c->arena, word[0]));
		const char *const labels[] = {
		    "device", word[0], "fstype", word[2], "mountpoint", path, NULL};
		add(c, METRIC_FILESYSTEM_AVAIL, labels, (double)fs.f_bavail * (double)fs.f_frsize);
		add(c, METRIC_FILESYSTEM_FREE, labels, (double)fs.f_bfree * (double)fs.f_frsize);
		add(c, METRIC_FILESYSTEM_SIZE, labels, (double)fs.f_blocks * (double)fs.f_frsize);
	}
}

static void add_networks(Collector *c)
{
	g_autoptr(LinkList) list = NULL;
	if (netlink_list(-1, &list, NULL) < 0)
		return;
	for (unsigned i = 0; i < list->n_links; i++) {
		const LinkCounters *n = &list->links[i].counters;
		const char *const labels[] = {"device", list->links[i].name, NULL};
		add(c, METRIC_NETWORK_RECEIVE_BYTES, labels, (double)n->rx_bytes);
		add(c, METRIC_NETWORK_RECEIVE_DROP, labels, (double)n->rx_dropped);
		add(c, METRIC_NETWORK_RECEIVE_ERRS, labels, (double)n->rx_errors);
		add(c, METRIC_NETWORK_RECEIVE_PACKETS, labels, (double)n->rx_packets);
		add(c, METRIC_NETWORK_TRANSMIT_BYTES, labels, (double)n->tx_bytes);
		add(c, METRIC_NETWORK_TRANSMIT_DROP, labels, (double)n->tx_dropped);
		add(c, METRIC_NETWORK_TRANSMIT_ERRS, labels, (double)n->tx_errors);
		add(c, METRIC_NETWORK_TRANSMIT_PACKETS, labels, (double)n->tx_packets);
	}
}

int agent_get_metrics(
    Request *rq, const Google__Protobuf__Empty *in, Pb__AgentMetrics *out, Error **err)
{
	Collector c = {rq->arena, out};
	out->samples = arena_alloc(rq->arena, SAMPLES_MAX * sizeof(void *));
	add_cpus(&c);
	add_memory(&c);
	add_disks(&c);
	add_file_systems(&c);
	add_networks(&c);
	int64_t processes = figures_processes();
	if (processes >= 0)
		add(&c, METRIC_PROCS, NULL, (double)processes);
	return 0;
}
