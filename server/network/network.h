#pragma once
/*
 * Managed networks: rows of the database that the host is made to look like. The table knows all of
 * them; a Network is one, with its own lock, taken by the functions here. Host work (bridge,
 * dnsmasq, nftables) is in the files beside this one. Not for nics: server/device asks here.
 * Start with network_table_start() after the database; everything is safe from any thread.
 */
#include "sdk/base/error.h"
#include "sdk/base/map.h"
#include "server/daemon.h"

typedef struct NetworkTable NetworkTable;
typedef struct Network Network;

/* Loads all networks and brings up those that are not; what fails to start is logged and shown with
 * status "Errored", it does not fail the daemon. A second call after a crash adopts what still
 * runs. */
int network_table_start(Daemon *d, Error **err);
/* Forgets the table; bridges and dnsmasq go on, so that instances keep their network. */
void network_table_stop(Daemon *d);
/* Takes every bridge, dnsmasq and rule away as well (daemon shutdown with the host). */
void network_table_shutdown(Daemon *d);

/* project is what the client asked for; the effective one follows from features.networks.
 * ERROR_NOT_FOUND "Network not found". */
int network_get(
    Daemon *d, const char *project, const char *name, Network **ret_network, Error **err);
Network *network_ref(Network *network);
void network_unref(Network *network);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Network, network_unref)

int64_t network_id(const Network *network);
const char *network_name(const Network *network);
const char *network_project(const Network *network); /* effective */
/* The type of that number in the rows; "unknown". */
const char *network_type_name(int64_t number);
/* ERROR_UNSUPPORTED for types that Incus has and this server has not. */
int network_type_check(const char *type, Error **err);
const char *network_type(const Network *network);    /* "bridge" */
/* The host interface that nics join: the bridge, or the parent of a macvlan or physical network. */
const char *network_bridge_name(const Network *network);
Config *network_config(Network *network); /* a copy, to free */
/* The interface mtu that nics of this network get; 0: the kernel's. */
unsigned network_mtu(Network *network);

/* One nic as its network must know it: for DHCP, DNS and filters. Strings are borrowed. */
typedef struct NetworkNic {
	const char *project, *instance, *device;
	const char *host_name; /* NULL while the instance is stopped */
	const char *hwaddr;
	const char *ipv4, *ipv6; /* static addresses, NULL: dynamic; "none" with filtering */
	gboolean mac_filtering, ipv4_filtering, ipv6_filtering;
} NetworkNic;

/* Static DHCP entry (and name) of a nic: written and taken up by dnsmasq at once. Refuses addresses
 * outside the network's subnets and those of another nic. */
int network_lease_update(Network *network, const NetworkNic *nic, Error **err);
void network_lease_remove(Network *network, const NetworkNic *nic);

typedef struct NetworkLease {
	char *project, *hostname, *hwaddr, *address;
	const char *type;            /* "static", "dynamic", "gateway" */
} NetworkLease;
/* Gateway, static entries and what dnsmasq gave, in order of address: of nics in `project` and, for
 * project "default", of strangers; project NULL: all. Array of NetworkLease *. */
int network_leases(Network *network, const char *project, GPtrArray **ret_leases, Error **err);

/* Filters of a nic by its `filtering` fields: set after the host side exists, or taken away. */
int network_filter_set(Network *network, const NetworkNic *nic, Error **err);
void network_filter_remove(const NetworkNic *nic);

/* Changes of networks go one at a time: hold this around check-and-change. Readers never wait for
 * it. */
void network_change_lock(Daemon *d);
void network_change_unlock(Daemon *d);

typedef struct NetworkSpec {
	const char *project;     /* as the client asked */
	const char *name, *description, *type; /* type NULL or "": "bridge" */
	const Config *config;
} NetworkSpec;

/* Each with the change lock held; each leaves host and database as they were when it fails. */
int network_create(Daemon *d, const NetworkSpec *spec, Error **err);
/* Takes the whole new configuration; description NULL leaves it. */
int network_update(
    Daemon *d, Network *network, const char *description, const Config *config, Error **err);
int network_rename(Daemon *d, Network *network, const char *new_name, Error **err);
int network_delete(Daemon *d, Network *network, Error **err);

/* New references (Network *) of one effective project in order of name; project NULL: all. */
GPtrArray *network_list(Daemon *d, const char *project);
char *network_description(Network *network); /* to free */
const char *network_status(Network *network); /* "Created", "Pending", "Errored" */
/* INCUS_DIR/networks/NAME; to free. */
char *network_directory(Network *network);

/* The default name dnsmasq and clients use ("dns.domain"), "incus" when not set. */
char *network_domain(Network *network);
