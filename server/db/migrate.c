#include "server/db/private.h"

#include "sdk/base/file.h"
#include "sdk/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
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
	if (tx_int(tx, &there, err,
		"SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'schema'",
		NULL) < 0)
		return -1;
	if (there)
		return tx_int(
		    tx, ret_version, err, "SELECT COALESCE(MAX(version), 0) FROM schema", NULL);
	return connection_script(tx_connection(tx),
	    "CREATE TABLE schema (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, version INTEGER NOT NULL,"
	    " updated_at DATETIME NOT NULL, UNIQUE (version))",
	    err);
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
				return error_prefix(err,
				    "Migration of the %s database to version %d", m->store->name,
				    step->version);
		if (tx_exec(tx, err, "INSERT INTO schema (version, updated_at) VALUES (?, ?)", "ii",
			(int64_t)step->version, g_get_real_time() / G_USEC_PER_SEC) < 0)
			return -1;
	}
	if (m->patch && !version && connection_script(tx_connection(tx), m->patch, err) < 0)
		return error_prefix(err, "Patch file of the %s database", m->store->name);
	return 0;
}

static int newest_version(Tx *tx, void *data, Error **err)
{
	return schema_version(tx, data, err);
}

/* A copy of the database as it is, in "<its folder>.bak", for whoever has to undo what comes now.
 */
static int keep_copy(Store *store, Error **err)
{
	g_autofree char *folder = g_path_get_dirname(store->path),
			*name = g_path_get_basename(store->path);
	g_autofree char *kept = g_strconcat(folder, ".bak", NULL);
	g_autofree char *path = g_build_filename(kept, name, NULL);
	Connection *copy = NULL;
	if (file_remove_all(AT_FDCWD, kept, err) < 0 || file_mkdir_all(kept, 0700, err) < 0 ||
	    connection_open(path, &copy, err) < 0)
		return -1;
	sqlite3_backup *backup = sqlite3_backup_init(
	    copy->handle, "main", store->writer->handle, "main");
	int done = backup ? sqlite3_backup_step(backup, -1) : SQLITE_ERROR;
	sqlite3_backup_finish(backup);
	int result = done == SQLITE_DONE ?
	    0 :
	    connection_fail(copy, "Failed to keep a copy of the database", err);
	connection_close(copy);
	return result;
}

/* Before a patch or a migration of the database that every member shares. */
static int keep_before_change(
    Store *store, const Migration *migrations, gboolean patched, Error **err)
{
	int64_t version = 0, newest = 0;
	for (const Migration *step = migrations; step->version; step++)
		newest = step->version;
	if (strcmp(store->name, "global") != 0)
		return 0;
	if (store_tx(store, newest_version, &version, err) < 0)
		return -1;
	return version && (patched || version < newest) ? keep_copy(store, err) : 0;
}

int store_migrate(Store *store, const Migration *migrations, const char *patch_path, Error **err)
{
	g_autofree char *patch = NULL;
	if (access(patch_path, F_OK) == 0 &&
	    file_read(AT_FDCWD, patch_path, FILE_LINKS_NONE, PATCH_LIMIT, &patch, NULL, err) < 0)
		return -1;
	if (keep_before_change(store, migrations, patch != NULL, err) < 0)
		return -1;
	Migrating m = {.store = store, .migrations = migrations, .patch = patch};
	if (store_tx(store, migrate, &m, err) < 0)
		return -1;
	if (patch) {
		log_info("Database patch file applied", "path", patch_path);
		if (unlink(patch_path) < 0)
			return error_errno(
			    err, ERROR_INTERNAL, errno, "Failed to remove \"%s\"", patch_path);
	}
	return 0;
}
