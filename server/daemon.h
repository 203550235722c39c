#pragma once
/*
 * The roots of everything: one struct of opaque handles that requests and operations carry. Only
 * server/main.c and server/daemon.c fill it. A module takes from it what it needs.
 */
#include <glib.h>

typedef struct Daemon {
	char *dir;            /* INCUS_DIR */
	char *log_dir, *cache_dir;
	char *group;          /* of the unix socket, NULL: none */
	struct Db *db;
	struct EventHub *events;
	struct OperationTable *operations;
	struct Spawner *spawner;     /* server/helper/client.h */
	struct InstanceTable *instances;
	struct PoolTable *pools;
	struct NetworkTable *networks;
	struct ServerConfig *config; /* server/key/server.h: core.* and friends, cached */
	struct Identity *identity;   /* server/rpc/identity.h: trust store, server certificate */
	struct Listener *listener;
	char *server_name;
	char *server_cert_pem, *server_cert_fingerprint;
	gint ready;           /* atomic: /internal/ready */
	gint shutting_down;   /* atomic */
	gint64 start_us;
} Daemon;
