#pragma once
/*
 * Network interfaces of a network namespace through rtnetlink: make, change, delete and list links,
 * addresses, routes and rate limits. One message, one answer; nothing is cached. Every call opens
 * its own socket, so all are safe from any thread. Not for what the interfaces mean to us:
 * server/network and server/device hold that. A link that is missing is ERROR_NOT_FOUND, a name
 * that is taken ERROR_EXISTS, other refusals of the kernel ERROR_INTERNAL with its own words.
 */
#include "sdk/base/error.h"
#include <glib.h>
#include <net/if.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct LinkAddress {
	int family; /* AF_INET or AF_INET6 */
	uint8_t bytes[16];
	char text[48]; /* "10.0.0.1" */
	int prefix;
	const char *scope; /* "global", "link", "local" */
	gboolean tentative;
} LinkAddress;

typedef struct LinkCounters {
	uint64_t rx_bytes, rx_packets, rx_errors, rx_dropped;
	uint64_t tx_bytes, tx_packets, tx_errors, tx_dropped;
} LinkCounters;

typedef struct Link {
	int index;
	char name[IFNAMSIZ];
	char kind[20]; /* "bridge", "veth", "macvlan", "vlan", "bond", "tun"...; "" for hardware */
	char address[32]; /* "00:16:3e:aa:bb:cc"; "" when the link has none */
	int arp_type;	  /* ARPHRD_* */
	unsigned flags;	  /* IFF_* */
	unsigned mtu;
	int master;	     /* index, 0: none */
	int parent;	     /* index of the lower link or veth peer, 0: none */
	int parent_netns;    /* id of the namespace `parent` is in, -1: this one */
	gboolean has_device; /* stands on a bus (a real network card) */
	LinkCounters counters;
	LinkAddress *addresses;
	unsigned n_addresses;
	/* kind "bridge" */
	char bridge_id[24];		      /* "8000.0a0f7c6edbd9" */
	unsigned forward_delay, vlan_default; /* 1/100 s; VLAN id */
	gboolean stp, vlan_filtering;
	/* kind "vlan" */
	unsigned vlan_id;
	/* kind "bond" */
	unsigned bond_mode, bond_transmit_policy, bond_up_delay, bond_down_delay,
	    bond_mii_frequency;
	gboolean bond_mii_up;
} Link;

typedef struct LinkList {
	Link *links; /* ordered by index */
	unsigned n_links;
} LinkList;

/* Opens an rtnetlink socket inside the namespace `netns_fd` (-1: ours). The socket may be used from
 * any thread and keeps the namespace alive until it is closed. Returns the fd, -1 on failure. */
int netlink_open(int netns_fd, Error **err);
/* All links with their addresses and counters, in two dumps. socket_fd as from netlink_open (one
 * user at a time), -1: ours. */
int netlink_list(int socket_fd, LinkList **ret_list, Error **err);
void link_list_free(LinkList *list);
const Link *link_list_find(const LinkList *list, const char *name);
const Link *link_list_index(const LinkList *list, int index);
/* "broadcast", "loopback", "point-to-point", "unknown": `type` as Incus shows it in states. */
const char *link_type(const Link *link);
/* One link of ours without its addresses (n_addresses 0). */
int netlink_get(const char *name, Link *ret_link, Error **err);
gboolean netlink_exists(const char *name);

/* What to give a new link or change on one; start from LINK_CHANGE_NONE. */
typedef struct LinkChange {
	const char *name;    /* rename (the link is taken down for it where it must) */
	const char *address; /* MAC */
	unsigned mtu;	     /* 0: leave */
	const char *master;  /* NULL: leave, "": release */
	int up;		     /* -1: leave, 0, 1 */
	int tx_queue;	     /* -1: leave */
	int isolated;	     /* bridge port isolation; -1: leave */
	int netns_fd;	     /* -1: stay */
	pid_t netns_pid;     /* 0: stay */
} LinkChange;

#define LINK_CHANGE_NONE ((LinkChange){.up = -1, .tx_queue = -1, .isolated = -1, .netns_fd = -1})

/* NULL change: defaults, down. */
int netlink_create_bridge(const char *name, const LinkChange *change, Error **err);
int netlink_create_dummy(const char *name, const LinkChange *change, Error **err);
/* `change` is for the near end, `peer_change` for the far one (its master, up, isolated are not
 * used). */
int netlink_create_veth(const char *name, const char *peer, const LinkChange *change,
    const LinkChange *peer_change, Error **err);
/* mode "bridge" on `parent`. */
int netlink_create_macvlan(
    const char *name, const char *parent, const LinkChange *change, Error **err);
int netlink_create_vlan(
    const char *name, const char *parent, unsigned id, const LinkChange *change, Error **err);
/* All of `change` in one or two messages. */
int netlink_change(const char *name, const LinkChange *change, Error **err);
int netlink_delete(const char *name, Error **err);

/* cidr: "10.0.0.1/24"; already there is no failure. flags: IFA_F_* (IFA_F_NODAD for IPv6). */
int netlink_address_add(const char *link, const char *cidr, unsigned flags, Error **err);
/* Missing is no failure. */
int netlink_address_delete(const char *link, const char *cidr, Error **err);
/* Removes all global addresses of `family` (AF_INET, AF_INET6, AF_UNSPEC: both). */
int netlink_address_flush(const char *link, int family, Error **err);
/* Route `cidr` through `link`; gateway NULL: on link; protocol RTPROT_STATIC or _BOOT; table 0:
 * main. */
typedef struct LinkRoute {
	const char *link, *cidr, *gateway, *source;
	unsigned table;
	uint8_t protocol;
} LinkRoute;
int netlink_route_add(const LinkRoute *route, Error **err);    /* replaces an equal one */
int netlink_route_delete(const LinkRoute *route, Error **err); /* missing is no failure */
/* Destinations of all routes of `family` in the main table, as CIDR text, default routes left out.
 */
int netlink_route_list(int family, GPtrArray **ret_cidrs, Error **err);

/* The host answers on `link` for an address that is behind another one (ARP, NDP), or no more;
 * there or missing already is no failure. */
int netlink_neighbor_proxy(const char *link, const char *address, gboolean add, Error **err);

/* What leaves the host through `link` is held to bits_per_second (0: no limit), by an HTB class
 * that `tc class show` tells. */
int netlink_limit_set(const char *link, uint64_t bits_per_second, Error **err);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LinkList, link_list_free)
