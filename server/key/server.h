#pragma once
/*
 * The server's own settings (core.*, images.*, ...): kept in memory, stored in the global database
 * or, for keys of one member, in the local one. Thread-safe. Who must act on a change registers for it.
 */
#include "sdk/base/error.h"
#include "sdk/base/map.h"
#include "server/daemon.h"

typedef struct ServerConfig ServerConfig;

/* Reads both databases into daemon->config. */
int server_config_load(Daemon *d, Error **err);
void server_config_free(ServerConfig *config);

/* A copy to free: the value or the key's default, NULL when neither is there. */
char *server_config_get(ServerConfig *config, const char *key);
gboolean server_config_bool(ServerConfig *config, const char *key);
/* fallback when unset and without default. */
int64_t server_config_int(ServerConfig *config, const char *key, int64_t fallback);
/* What is set (no defaults), a copy. Passwords are there: for administrators only. */
Config *server_config_all(ServerConfig *config);

/* Called with the new value ("" when unset) before it is stored; -1 refuses the change, and what
 * was changed with it is set back by calling again with the old values. */
typedef int (*ServerTrigger)(Daemon *d, const char *key, const char *value, Error **err);
/* At start only. key may end in ".*"; called once for each matching key that changes. */
void server_config_on_change(ServerConfig *config, const char *key, ServerTrigger trigger);
/* At start only: called once the change of that key is stored and seen by all. */
typedef void (*ServerStored)(Daemon *d, const char *key);
void server_config_on_stored(ServerConfig *config, const char *key, ServerStored stored);
/* Replaces everything (PUT), or merges with "" removing (patch). Checks, triggers, stores.
 * *ret_changed, when given, gets the names of changed keys: g_strfreev. */
int server_config_set(Daemon *d, const Config *changes, gboolean patch, char ***ret_changed, Error **err);
