#pragma once
/* What /proc tells, for state.c and metrics.c. */
#include <stdint.h>

/* A whole file; NULL when it cannot be read. g_free. */
char *figures_read(const char *path);
/* Bytes, of the text of /proc/meminfo ("MemTotal"); -1 when it does not say. */
int64_t figures_memory(const char *meminfo, const char *key);
int64_t figures_processes(void);
