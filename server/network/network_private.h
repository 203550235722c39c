#pragma once
/* Inside of the network module: the table, the objects, their rows. Only for server/network. */
#include "server/db/db.h"
#include "server/network/bridge.h"
#include "server/network/network.h"

typedef enum NetworkState {
	NETWORK_PENDING = 0,
	NETWORK_CREATED = 1,
	NETWORK_ERRORED = 2
} NetworkState;

/* Fields after `lock` are read and written under it; those before do not change. */
struct Network {
	gint refs;
	Daemon *daemon;
	int64_t id;
	const char *project; /* interned */
	const char *type;    /* static */
	GMutex lock;
	const char *name;    /* interned */
	char *description;
	Config *config;
	NetworkState state;
};

struct NetworkTable {
	GMutex change;       /* one change at a time; taken before `lock` */
	GMutex lock;         /* guards `networks`; before any Network's lock */
	GMutex leases;       /* static entries are checked and written one at a time */
	GPtrArray *networks; /* Network, owned */
};

Network *network_new(
    Daemon *d, int64_t id, const char *project, const char *name, const char *type);
/* What to give to bridge_apply; strings live until network_setup_clear. */
typedef struct NetworkSetup {
	BridgeSetup bridge;
	char *directory, *hwaddr;
	Config *config;
} NetworkSetup;
void network_setup(Network *network, NetworkSetup *ret_setup);
void network_setup_clear(NetworkSetup *setup);
/* The MAC that the bridge of this row has on this server when none is configured. */
char *network_stable_mac(const Daemon *d, int64_t id);

int network_type_number(const char *type); /* -1: unknown */

/* Rows. */
int network_rows_load(Daemon *d, GPtrArray *networks, Error **err);
int network_row_insert(Daemon *d, Network *network, Error **err); /* sets the id; state Pending */
int network_row_update(
    Daemon *d, Network *network, const char *description, const Config *config, Error **err);
int network_row_set_state(Daemon *d, int64_t id, NetworkState state, Error **err);
int network_row_rename(Daemon *d, int64_t id, const char *name, Error **err);
int network_row_delete(Daemon *d, int64_t id, Error **err);
