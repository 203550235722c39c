#pragma once
/*
 * Arithmetic on IP addresses and subnets, and the choice of a free one. Plain values; no host
 * access.
 */
#include "sdk/base/error.h"
#include <glib.h>
#include <stdint.h>

typedef struct Subnet {
	int family;          /* AF_INET or AF_INET6 */
	uint8_t address[16]; /* as written: host bits are kept */
	unsigned prefix;
} Subnet;

/* "10.1.2.3/24", also a bare address (full prefix). */
int subnet_parse(const char *text, Subnet *ret_subnet, Error **err);
/* Address bytes in the family's length (4 or 16). */
size_t subnet_size(const Subnet *subnet);
gboolean subnet_contains(const Subnet *subnet, const Subnet *address);
gboolean subnet_overlaps(const Subnet *a, const Subnet *b);
/* "10.1.2.3", "10.1.2.0/24" (host bits cleared), "10.1.2.3/24"; to free. */
char *subnet_address_text(const Subnet *subnet);
char *subnet_network_text(const Subnet *subnet);
/* The n-th address of the subnet (0 is the network itself); n -1, -2... count from the end. */
char *subnet_host_text(const Subnet *subnet, int64_t n);
/* The address a host with this MAC gives itself in a /64; NULL for other prefixes. To free. */
char *subnet_eui64_text(const Subnet *subnet, const char *mac);

/* A random 10.x.y.1/24 and fd42:x:y:z::1/64 that overlap nothing in `taken` (CIDR texts; those of
 * the other family and unreadable ones are passed over). To free. */
int subnet_pick_ipv4(const GPtrArray *taken, char **ret_cidr, Error **err);
int subnet_pick_ipv6(const GPtrArray *taken, char **ret_cidr, Error **err);

/* Splits "a, b,c" into trimmed non-empty words; g_strfreev. NULL gives an empty vector. */
char **subnet_split_list(const char *text);
