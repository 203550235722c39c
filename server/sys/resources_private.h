#pragma once
/* Inside the resources_*.c files: small readers of /sys, and one function for each chapter. */
#include "incus/v1/server.pb-c.h"
#include "server/sys/resources.h"

/* Contents without white space at the ends, in the arena; "" when there is no such file. The path
 * is a format. */
char *sys_text(Arena *arena, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* Decimal, or hexadecimal after 0x; 0 when there is no such file. */
uint64_t sys_number(const char *format, ...) G_GNUC_PRINTF(1, 2);
gboolean sys_exists(const char *format, ...) G_GNUC_PRINTF(1, 2);
/* Last part of the link's target; "" when it is no link. */
char *sys_link_name(Arena *arena, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* Names in the directory, sorted, without hidden ones; g_strfreev. Empty when there is none. */
char **sys_list(const char *format, ...) G_GNUC_PRINTF(1, 2);
/* Grows an arena array of pointers by one. */
void *arena_append(Arena *arena, size_t *n, void *array, void *item);
/* "0000:00:02.0" when a device directory belongs to a PCI function, else "". */
char *sys_pci_address(Arena *arena, const char *device_path);
uint64_t sys_numa_node(const char *device_path);
/* Names of a vendor and product from pci.ids, "" when unknown. Hex digits, lower case. */
void pci_names(
    Arena *arena, const char *vendor, const char *product, char **ret_vendor, char **ret_product);

Pb__ResourcesCPU *resources_cpu(Arena *arena);
Pb__ResourcesMemory *resources_memory(Arena *arena);
Pb__ResourcesNetwork *resources_network(Arena *arena);
Pb__ResourcesStorage *resources_storage(Arena *arena);
Pb__ResourcesSystem *resources_system(Arena *arena);
