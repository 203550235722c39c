#include "server/db/private.h"

#include "sdk/base/file.h"
#include "sdk/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { PATCH_LIMIT = 64 << 20 };

typedef struct Migrating {
	Store *store;
	const Migration *migrations;
	char *patch;  /* NULL: none */
} Migrating;

static int schema_version(Tx *tx, int64_t *ret_version, Error **err)
{
	int64_t there;
	*ret_version = 0;
	if (tx_int(tx, &there, err, "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'schema'", NULL) < 0)
		return -1;
	if (there)
		return tx_int(tx, ret_version, err, "SELECT COALESCE(MAX(version), 0) FROM schema", NULL);
	return connection_script(tx_connection(tx),
	    "CREATE TABLE schema (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, version INTEGER NOT NULL,"
	    " updated_at DATETIME NOT NULL, UNIQUE (version))", err);
}

static int check_version(const Migrating *m, int64_t version, Error **err)
{
	int64_t newest = 0;
	for (const Migration *step = m->migrations; step->version; step++)
		newest = step->version;
	if (version > newest)
		return error_set(err, ERROR_INTERNAL,
		    "The %s database has schema version %d, made by a newer release than this one (%d)",
		    m->store->name, (int)version, (int)newest);
	if (version && version < m->migrations[0].version)
		return error_set(err, ERROR_INTERNAL,
		    "The %s database has schema version %d; the oldest that can be upgraded is %d",
		    m->store->name, (int)version, m->migrations[0].version);
	return 0;
}

/* All of it in one transaction: a crash leaves the old schema or the new one. */
static int migrate(Tx *tx, void *data, Error **err)
{
	Migrating *m = data;
	int64_t version;
	if (schema_version(tx, &version, err) < 0 || check_version(m, version, err) < 0)
		return -1;
	if (m->patch && version && connection_script(tx_connection(tx), m->patch, err) < 0)
		return error_prefix(err, "Patch file of the %s database", m->store->name);
	for (const Migration *step = m->migrations; step->version; step++) {
		if (step->version <= version)
			continue;
		for (const char *const *sql = step->sql; *sql; sql++)
			if (connection_script(tx_connection(tx), *sql, err) < 0)
				return error_prefix(err, "Migration of the %s database to version %d", m->store->name,
				    step->version);
		if (tx_exec(tx, err, "INSERT INTO schema (version, updated_at) VALUES (?, ?)", "ii",
			(int64_t)step->version, g_get_real_time() / G_USEC_PER_SEC) < 0)
			return -1;
	}
	if (m->patch && !version && connection_script(tx_connection(tx), m->patch, err) < 0)
		return error_prefix(err, "Patch file of the %s database", m->store->name);
	return 0;
}

int store_migrate(Store *store, const Migration *migrations, const char *patch_path, Error **err)
{
	g_autofree char *patch = NULL;
	if (access(patch_path, F_OK) == 0 &&
	    file_read(AT_FDCWD, patch_path, FILE_LINKS_NONE, PATCH_LIMIT, &patch, NULL, err) < 0)
		return -1;
	Migrating m = {.store = store, .migrations = migrations, .patch = patch};
	if (store_tx(store, migrate, &m, err) < 0)
		return -1;
	if (patch) {
		log_info("Database patch file applied", "path", patch_path);
		if (unlink(patch_path) < 0)
			return error_errno(err, ERROR_INTERNAL, errno, "Failed to remove \"%s\"", patch_path);
	}
	return 0;
}
