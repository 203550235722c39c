#include "server/instance/metrics.h"
#include "sdk/base/own.h"
#include <string.h>

struct Metrics {
	GString *samples[METRIC_COUNT]; /* NULL: none */
};

typedef struct MetricRow {
	const char *name, *help;
	gboolean counter; /* only grows; else a gauge */
} MetricRow;

#define COUNTER TRUE
#define GAUGE FALSE

static const MetricRow rows[METRIC_COUNT] = {
	[METRIC_CPU_EFFECTIVE] = { "incus_cpu_effective_total", "CPUs that it may run on.", GAUGE },
	[METRIC_CPU_SECONDS] = { "incus_cpu_seconds_total", "CPU time used, in seconds.", COUNTER },
	[METRIC_DISK_READ_BYTES] = { "incus_disk_read_bytes_total", "Bytes read from the device.", COUNTER },
	[METRIC_DISK_READS] = { "incus_disk_reads_completed_total", "Reads from the device.", COUNTER },
	[METRIC_DISK_WRITES] = { "incus_disk_writes_completed_total", "Writes to the device.", COUNTER },
	[METRIC_DISK_WRITTEN_BYTES] = { "incus_disk_written_bytes_total", "Bytes written to the device.", COUNTER },
	[METRIC_FILESYSTEM_AVAIL] = { "incus_filesystem_avail_bytes", "Bytes that it may still fill.", GAUGE },
	[METRIC_FILESYSTEM_FREE] = { "incus_filesystem_free_bytes", "Bytes that are free.", GAUGE },
	[METRIC_FILESYSTEM_SIZE] = { "incus_filesystem_size_bytes", "Size in bytes.", GAUGE },
	[METRIC_MEMORY_ACTIVE] = { "incus_memory_Active_bytes", "Memory used lately.", GAUGE },
	[METRIC_MEMORY_ACTIVE_ANON] = { "incus_memory_Active_anon_bytes", "Memory of no file, used lately.", GAUGE },
	[METRIC_MEMORY_ACTIVE_FILE] = { "incus_memory_Active_file_bytes", "Memory of files, used lately.", GAUGE },
	[METRIC_MEMORY_CACHED] = { "incus_memory_Cached_bytes", "Memory that caches files.", GAUGE },
	[METRIC_MEMORY_DIRTY] = { "incus_memory_Dirty_bytes", "Memory that waits to be written to disk.", GAUGE },
	[METRIC_MEMORY_HUGEPAGES_FREE] = { "incus_memory_HugepagesFree_bytes", "Memory in huge pages that is not used.", GAUGE },
	[METRIC_MEMORY_HUGEPAGES_TOTAL] = { "incus_memory_HugepagesTotal_bytes", "Memory in huge pages that it may use.", GAUGE },
	[METRIC_MEMORY_INACTIVE] = { "incus_memory_Inactive_bytes", "Memory not used lately.", GAUGE },
	[METRIC_MEMORY_INACTIVE_ANON] = { "incus_memory_Inactive_anon_bytes", "Memory of no file, not used lately.", GAUGE },
	[METRIC_MEMORY_INACTIVE_FILE] = { "incus_memory_Inactive_file_bytes", "Memory of files, not used lately.", GAUGE },
	[METRIC_MEMORY_MAPPED] = { "incus_memory_Mapped_bytes", "Memory of files that are mapped.", GAUGE },
	[METRIC_MEMORY_AVAILABLE] = { "incus_memory_MemAvailable_bytes", "Memory to be had without swapping.", GAUGE },
	[METRIC_MEMORY_FREE] = { "incus_memory_MemFree_bytes", "Memory that is not used.", GAUGE },
	[METRIC_MEMORY_TOTAL] = { "incus_memory_MemTotal_bytes", "Memory that it may use.", GAUGE },
	[METRIC_MEMORY_OOM_KILLS] = { "incus_memory_OOM_kills_total", "Processes killed for want of memory.", COUNTER },
	[METRIC_MEMORY_RSS] = { "incus_memory_RSS_bytes", "Memory of no file.", GAUGE },
	[METRIC_MEMORY_SHMEM] = { "incus_memory_Shmem_bytes", "Memory of files that only memory holds.", GAUGE },
	[METRIC_MEMORY_SWAP] = { "incus_memory_Swap_bytes", "Swap space used.", GAUGE },
	[METRIC_MEMORY_UNEVICTABLE] = { "incus_memory_Unevictable_bytes", "Memory that has to stay.", GAUGE },
	[METRIC_MEMORY_WRITEBACK] = { "incus_memory_Writeback_bytes", "Memory being written to disk.", GAUGE },
	[METRIC_NETWORK_RECEIVE_BYTES] = { "incus_network_receive_bytes_total", "Bytes received on the interface.", COUNTER },
	[METRIC_NETWORK_RECEIVE_DROP] = { "incus_network_receive_drop_total", "Packets received and dropped.", COUNTER },
	[METRIC_NETWORK_RECEIVE_ERRS] = { "incus_network_receive_errs_total", "Errors while receiving.", COUNTER },
	[METRIC_NETWORK_RECEIVE_PACKETS] = { "incus_network_receive_packets_total", "Packets received.", COUNTER },
	[METRIC_NETWORK_TRANSMIT_BYTES] = { "incus_network_transmit_bytes_total", "Bytes sent on the interface.", COUNTER },
	[METRIC_NETWORK_TRANSMIT_DROP] = { "incus_network_transmit_drop_total", "Packets dropped instead of sent.", COUNTER },
	[METRIC_NETWORK_TRANSMIT_ERRS] = { "incus_network_transmit_errs_total", "Errors while sending.", COUNTER },
	[METRIC_NETWORK_TRANSMIT_PACKETS] = { "incus_network_transmit_packets_total", "Packets sent.", COUNTER },
	[METRIC_OPERATIONS] = { "incus_operations_total", "Operations that the server runs.", GAUGE },
	[METRIC_PROCS] = { "incus_procs_total", "Processes that run in it.", GAUGE },
	[METRIC_UPTIME] = { "incus_uptime_seconds", "Seconds since the server was started.", GAUGE },
	[METRIC_WARNINGS] = { "incus_warnings_total", "Warnings that nobody has seen to.", GAUGE },
};

const char *metric_name(Metric metric)
{
	return rows[metric].name;
}

Metric metric_by_name(const char *name)
{
	int metric = 0;
	while (metric < METRIC_COUNT && strcmp(rows[metric].name, name) != 0)
		metric++;
	return (Metric)metric;
}

Metrics *metrics_new(void)
{
	return g_new0(Metrics, 1);
}

void metrics_free(Metrics *metrics)
{
	if (!metrics)
		return;
	for (int metric = 0; metric < METRIC_COUNT; metric++)
		if (metrics->samples[metric])
			g_string_free(metrics->samples[metric], TRUE);
	g_free(metrics);
}

void metrics_add(Metrics *metrics, Metric metric, const char *labels, double value)
{
	char number[G_ASCII_DTOSTR_BUF_SIZE];
	GString **text = &metrics->samples[metric];
	if (!*text)
		*text = g_string_new(NULL);
	g_string_append(*text, rows[metric].name);
	if (labels && *labels)
		g_string_append_printf(*text, "{%s}", labels);
	/* Sixteen digits: bytes and packets stay whole numbers. */
	g_ascii_formatd(number, sizeof(number), "%.16g", value);
	g_string_append_printf(*text, " %s\n", number);
}

void metrics_label(GString *labels, const char *name, const char *value)
{
	g_string_append_printf(labels, "%s%s=\"", labels->len ? "," : "", name);
	for (const char *c = value; *c; c++) {
		if (*c == '\n') {
			g_string_append(labels, "\\n");
			continue;
		}
		if (*c == '"' || *c == '\\')
			g_string_append_c(labels, '\\');
		g_string_append_c(labels, *c);
	}
	g_string_append_c(labels, '"');
}

char *metrics_text(const Metrics *metrics)
{
	GString *text = g_string_new(NULL);
	for (int metric = 0; metric < METRIC_COUNT; metric++) {
		const MetricRow *row = &rows[metric];
		if (!metrics->samples[metric])
			continue;
		g_string_append_printf(text, "# HELP %s %s\n# TYPE %s %s\n", row->name, row->help,
		    row->name, row->counter ? "counter" : "gauge");
		g_string_append_len(
		    text, metrics->samples[metric]->str, (gssize)metrics->samples[metric]->len);
	}
	g_string_append(text, "# EOF\n");
	return g_string_free(text, FALSE);
}
