#pragma once
/*
 * What the host is: kernel, operating system, architecture. Read once; never freed. Hardware lists
 * are in resources.h.
 */
#include <glib.h>

typedef struct HostFeature {
	const char *name;
	gboolean present;
} HostFeature;

typedef struct HostFacts {
	const char *kernel;              /* "Linux" */
	const char *kernel_version;      /* "6.1.0-13-amd64" */
	const char *architecture;        /* "x86_64" */
	const char *const *architectures;/* that instances may have, best first; NULL-terminated */
	const char *os_name, *os_version;/* "Debian GNU/Linux", "12" */
	const char *host_name;
	const HostFeature *features;     /* of the kernel; ended by a NULL name */
} HostFacts;

const HostFacts *host_facts(void);
/* Threads the kernel uses now. */
unsigned host_cpu_count(void);
/* Number of an architecture in database rows, 0 unknown; and back ("unknown"). */
int host_architecture_number(const char *name);
const char *host_architecture_name(int number);
