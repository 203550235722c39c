#pragma once
/*
 * The roots of everything: one struct of opaque handles that requests and operations carry. Only
 * server/main.c and server/daemon.c fill it. A module takes from it what it needs.
 */
#include "sdk/base/error.h"
#include <glib.h>

typedef struct Daemon {
	char *dir;            /* INCUS_DIR */
	char *log_dir, *cache_dir;
	char *group;          /* of the unix socket, NULL: none */
	struct Db *db;
	struct EventHub *events;
	struct OperationTable *operations;
	struct Schedule *schedule;   /* server/operation/schedule.h */
	struct Spawner *spawner;     /* server/helper/client.h */
	struct Hypervisor *hypervisor; /* server/helper/hypervisor.h */
	struct InstanceTable *instances;
	struct GuestApi *guest_api; /* server/instance/guest_api.h */
	struct PoolTable *pools;
	struct Stores *stores; /* server/storage/store.h */
	struct NetworkTable *networks;
	struct Uploads *uploads;     /* server/api/upload.h */
	struct ServerConfig *config; /* server/key/server.h: core.* and friends, cached */
	struct Identity *identity;   /* server/rpc/identity.h: trust store, server certificate */
	struct Listener *listener;
	char *server_name;
	char *server_cert_pem, *server_cert_fingerprint;
	gint ready;           /* atomic: /internal/ready, once autostart is through */
	gint shutting_down;   /* atomic */
	gint64 start_us;
	GThread *autostart;
	GMutex stop_lock;
	GCond stop_changed;
	int stop_state;       /* 0 running, 1 asked for, 2 instances stopped */
	gboolean stop_force;
} Daemon;

/* Starts every part in order; on failure everything started is stopped again. */
int daemon_start(Daemon *daemon, Error **err);
/* Stops the parts in the reverse order; running containers go on unless stop_instances. */
void daemon_stop(Daemon *daemon, gboolean stop_instances, gboolean force);
/* PUT /internal/shutdown: asks the main thread to stop all instances and the daemon, and returns
 * when the instances are stopped and the operations done; the process ends soon after the reply. */
void daemon_shutdown(Daemon *daemon, gboolean force);
