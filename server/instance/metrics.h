#pragma once
/*
 * Figures as Prometheus collects them: one row a metric, samples gathered under it from many
 * instances, and the text of all. Names and labels are those that Incus's dashboards ask for.
 */
#include <glib.h>

struct Insides;
struct Instance;

typedef enum Metric {
	METRIC_CPU_EFFECTIVE,
	METRIC_CPU_SECONDS,
	METRIC_DISK_READ_BYTES,
	METRIC_DISK_READS,
	METRIC_DISK_WRITES,
	METRIC_DISK_WRITTEN_BYTES,
	METRIC_FILESYSTEM_AVAIL,
	METRIC_FILESYSTEM_FREE,
	METRIC_FILESYSTEM_SIZE,
	METRIC_MEMORY_ACTIVE,
	METRIC_MEMORY_ACTIVE_ANON,
	METRIC_MEMORY_ACTIVE_FILE,
	METRIC_MEMORY_CACHED,
	METRIC_MEMORY_DIRTY,
	METRIC_MEMORY_HUGEPAGES_FREE,
	METRIC_MEMORY_HUGEPAGES_TOTAL,
	METRIC_MEMORY_INACTIVE,
	METRIC_MEMORY_INACTIVE_ANON,
	METRIC_MEMORY_INACTIVE_FILE,
	METRIC_MEMORY_MAPPED,
	METRIC_MEMORY_AVAILABLE,
	METRIC_MEMORY_FREE,
	METRIC_MEMORY_TOTAL,
	METRIC_MEMORY_OOM_KILLS,
	METRIC_MEMORY_RSS,
	METRIC_MEMORY_SHMEM,
	METRIC_MEMORY_SWAP,
	METRIC_MEMORY_UNEVICTABLE,
	METRIC_MEMORY_WRITEBACK,
	METRIC_NETWORK_RECEIVE_BYTES,
	METRIC_NETWORK_RECEIVE_DROP,
	METRIC_NETWORK_RECEIVE_ERRS,
	METRIC_NETWORK_RECEIVE_PACKETS,
	METRIC_NETWORK_TRANSMIT_BYTES,
	METRIC_NETWORK_TRANSMIT_DROP,
	METRIC_NETWORK_TRANSMIT_ERRS,
	METRIC_NETWORK_TRANSMIT_PACKETS,
	METRIC_OPERATIONS,
	METRIC_PROCS,
	METRIC_UPTIME,
	METRIC_WARNINGS,
	METRIC_COUNT
} Metric;

const char *metric_name(Metric metric);
/* METRIC_COUNT when there is none of that name. */
Metric metric_by_name(const char *name);

typedef struct Metrics Metrics;

Metrics *metrics_new(void);
void metrics_free(Metrics *metrics);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Metrics, metrics_free)
/* Labels as metrics_label() writes them, NULL or "": none. */
void metrics_add(Metrics *metrics, Metric metric, const char *labels, double value);
/* Appends NAME="VALUE" (and a comma before it, where there are labels already), whatever VALUE
 * holds. */
void metrics_label(GString *labels, const char *name, const char *value);
/* All of them in the order of the names, each after its help and type; g_free. */
char *metrics_text(const Metrics *metrics);

/* What a running instance uses now; nothing for others. What the host cannot tell is left out.
 * Reads files of the kernel only, so that nothing inside can hold it up; what agents say (of
 * INSIDE_METRICS, instance/inside.h) was asked before. */
void instance_measure(struct Instance *instance, const struct Insides *insides, Metrics *metrics);
