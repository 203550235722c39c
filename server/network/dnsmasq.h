#pragma once
/*
 * dnsmasq of one bridge: its command line from the network's configuration, its life as a daemon of
 * its own that outlives incusd, its static entries and its leases. All files are in `directory`
 * (INCUS_DIR/networks/NAME): dnsmasq.{pid,leases,raw} and dnsmasq.hosts/. Not thread-safe per
 * network: the network's lock is held by the caller.
 */
#include "sdk/base/error.h"
#include "sdk/base/map.h"
#include <sys/types.h>

typedef struct DnsmasqSetup {
	const char *bridge;       /* interface */
	const char *directory;    /* absolute */
	const Config *config;     /* the network's, with auto values filled */
	const char *user, *group; /* to run as; NULL: root */
} DnsmasqSetup;

/* TRUE when the configuration needs a dnsmasq at all (it has an address). */
gboolean dnsmasq_wanted(const Config *config);
/* The whole command line, NULL-terminated; g_ptr_array_unref. */
GPtrArray *dnsmasq_command(const DnsmasqSetup *setup);
/* Makes the running dnsmasq be that of the setup: adopts one that has this command line, replaces
 * any other, starts one when there is none, stops it when none is wanted. */
int dnsmasq_apply(const DnsmasqSetup *setup, Error **err);
void dnsmasq_stop(const char *directory);
/* Makes it read dnsmasq.hosts again. */
void dnsmasq_reload(const char *directory);
/* Of the running dnsmasq; 0 when there is none. */
pid_t dnsmasq_pid(const char *directory);
/* User to drop to: "incus" or "dnsmasq" where it exists and can reach `directory`; else NULL. */
const char *dnsmasq_user(const char *directory);

/* One line of dnsmasq.hosts/NAME: what DHCP gives to a MAC. */
typedef struct DnsmasqHost {
	const char *hwaddr, *ipv4, *ipv6; /* NULL addresses: dynamic */
	const char *hostname;             /* NULL: none */
} DnsmasqHost;
/* ERROR_INVALID for values that would break out of the line. */
int dnsmasq_host_line(const DnsmasqHost *host, char **ret_line, Error **err);
/* Writes (line NULL: removes) the entry `name` and reloads when something changed. */
int dnsmasq_host_set(const char *directory, const char *name, const char *line, Error **err);

typedef struct DnsmasqLease {
	char *hostname, *hwaddr, *address; /* hostname "" when unknown */
} DnsmasqLease;
void dnsmasq_lease_free(DnsmasqLease *lease);
/* From the text of a lease file; broken lines are passed over. Array of DnsmasqLease *. */
GPtrArray *dnsmasq_leases_parse(const char *text);
/* A missing file has no leases. */
int dnsmasq_leases(const char *directory, GPtrArray **ret_leases, Error **err);
