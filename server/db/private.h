#pragma once
/* Inside server/db only: databases, connections and what runs on them. */
#include "server/db/db.h"
#include "server/db/schema.h"
#include <sqlite3.h>

typedef struct Connection {
	sqlite3 *handle;
	GHashTable *statements; /* SQL text -> idle sqlite3_stmt; taken out while in use */
} Connection;

/* One file: one writer, up to STORE_READERS readers beside it (WAL). */
typedef struct Store {
	const char *name;       /* "global", "local" */
	char *path;
	GMutex write_lock;
	Connection *writer;
	GMutex read_lock;
	GCond read_free;
	GPtrArray *readers;     /* idle Connections */
	unsigned n_readers;     /* idle and busy */
} Store;

struct Db {
	Store global, local;
};

int connection_open(const char *path, Connection **ret_connection, Error **err);
void connection_close(Connection *connection);
/* Every statement of `sql`, results dropped. */
int connection_script(Connection *connection, const char *sql, Error **err);
int connection_fail(Connection *connection, const char *what, Error **err);
/* A transaction without the lock and reuse of db_tx: for opening and for raw SQL. */
int store_tx(Store *store, int (*fn)(Tx *tx, void *data, Error **err), void *data, Error **err);
sqlite3 *tx_handle(Tx *tx);
Connection *tx_connection(Tx *tx);
/* Patch file, then due migrations. */
int store_migrate(Store *store, const Migration *migrations, const char *patch_path, Error **err);
Store *db_store(Db *db, const char *name); /* NULL: no such database */
