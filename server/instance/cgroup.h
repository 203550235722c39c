#pragma once
/*
 * Control groups of containers on v2, v1 and hybrid hosts: where each controller lives, reading and
 * writing its files. Not for creating groups: liblxc does that.
 */
#include "sdk/base/error.h"
#include <glib.h>
#include <stdint.h>

typedef enum CgroupVersion { CGROUP_NONE, CGROUP_V1, CGROUP_V2 } CgroupVersion;

/* Which hierarchy has the controller ("memory", "cpu", "cpuset", "pids", "freezer", "cpuacct",
 * ...); CGROUP_NONE when the host lacks it. v2 has "freezer" and "cpuacct" always. */
CgroupVersion cgroup_version(const char *controller);
/* Absolute path of a file of the group; NULL when the host lacks the controller. */
char *cgroup_file(const char *controller, const char *group, const char *file);
/* -1 with errno kept; content without the trailing newline. */
char *cgroup_read(const char *controller, const char *group, const char *file);
/* -1 when it cannot be read; G_MAXINT64 for "max". */
int64_t cgroup_read_number(const char *controller, const char *group, const char *file);

/* What is asked of a running container with each list: its files stay open (as long as descriptors
 * are plenty) and are read from any thread. */
typedef enum CgroupMeter {
	CGROUP_CPU, /* v1: nanoseconds; v2: the text of cpu.stat */
	CGROUP_MEMORY,
	CGROUP_MEMORY_PEAK,
	CGROUP_MEMORY_LIMIT,
	CGROUP_SWAP, /* v1: memory and swap together */
	CGROUP_SWAP_PEAK,
	CGROUP_PROCESSES,
	CGROUP_FROZEN, /* v1: "THAWED", ...; v2: 0 or 1 */
	CGROUP_METERS
} CgroupMeter;
/* Zeroed at first. */
typedef struct CgroupMeters {
	gint fds[CGROUP_METERS]; /* descriptor + 1; 0: not open */
} CgroupMeters;
/* The beginning of the file, without the newline at its end; FALSE when it cannot be read. */
gboolean cgroup_meter_text(
    CgroupMeters *meters, const char *group, CgroupMeter which, char *text, size_t size);
/* As cgroup_read_number(). */
int64_t cgroup_meter(CgroupMeters *meters, const char *group, CgroupMeter which);
void cgroup_meters_close(CgroupMeters *meters);

int cgroup_write(
    const char *controller, const char *group, const char *file, const char *value, Error **err);
/* CPUs that containers may use: cpuset of the root group. Elements are unsigned. */
GArray *cgroup_cpus(void);
/* Of a container that has ended: what is left of its group. */
void cgroup_remove(const char *group);
/* The empty groups that liblxc leaves in the roots ("lxc.pivot"); while no container runs. */
void cgroup_tidy(void);
