#pragma once
/*
 * nftables rules of networks and nics, through libnftables: each call is one transaction that takes
 * away the object's old chains and puts the new ones, so that no packet sees half of it. Our tables
 * are `inet incus` (networks: chains in, out, fwd, pstrt of NAME), `bridge incus` (filters of nics)
 * and `netdev incus` (rate limits). Safe from any thread.
 */
#include "sdk/base/error.h"
#include "sdk/base/map.h"

typedef struct FirewallFilter {
	const char *instance;        /* "NAME" or "PROJECT_NAME" */
	const char *device, *host_name, *hwaddr;
	gboolean mac, ipv4, ipv6;    /* what to filter */
	/* Addresses it may use, CIDR or single; empty: none at all. */
	const char *const *ipv4_addresses, *const *ipv6_addresses;
} FirewallFilter;

/* Rules of a bridge with this configuration, as text for nft; for tests and firewall_network_apply.
 */
char *firewall_network_rules(const char *bridge, const Config *config);
char *firewall_filter_rules(const FirewallFilter *filter);

int firewall_network_apply(const char *bridge, const Config *config, Error **err);
int firewall_network_remove(const char *bridge, Error **err);
int firewall_filter_apply(const FirewallFilter *filter, Error **err);
/* Missing is no failure. */
int firewall_filter_remove(const char *instance, const char *device, Error **err);

/* What comes to `listen` goes to `connect` (plain addresses of one family). */
typedef struct FirewallNat {
	const char *protocol; /* "tcp" or "udp" */
	gboolean ipv6;
	const char *listen, *connect;
	unsigned listen_port, connect_port;
} FirewallNat;

int firewall_nat_apply(const char *instance, const char *device, const FirewallNat *rules, guint n,
    Error **err);
int firewall_nat_remove(const char *instance, const char *device, Error **err);
/* Packets that leave through `host_name` get this priority ("0:5" of 5), for the queues behind; -1:
 * none. `instance` names the chain. */
int firewall_priority(const char *instance, const char *host_name, int64_t priority, Error **err);
/* Drops what comes from `host_name` above the rate; 0 removes the limit. */
int firewall_limit(const char *host_name, uint64_t bits_per_second, Error **err);
