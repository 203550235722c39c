#pragma once
/*
 * Transactions over one of two backends (SQLite now, Cowsql when clustered). Portable SQL only:
 * no RETURNING, ATTACH or VACUUM, one statement a call, at most 255 parameters, no NUL in text.
 * Not for the rows' meaning: each noun's module holds its own statements.
 */
#include "sdk/base/arena.h"
#include "sdk/base/error.h"
#include "sdk/base/moment.h"
#include <stdint.h>

typedef struct Db Db;
typedef struct Tx Tx;
typedef struct Rows Rows;

/* `directory` is INCUS_DIR: the global database is database/global/db.bin in it, that of this host
 * database/local.db. Makes what is missing, runs database/patch.{global,local}.sql (once) and the
 * migrations that are due, with the global database as it was kept in database/global.bak; SQLite's
 * journal repairs what a crash left. */
int db_open(const char *directory, Db **ret_db, Error **err);
/* For a look from beside the daemon: makes, patches and migrates nothing. NULL when there is none.
 */
int db_open_existing(const char *directory, Db **ret_db, Error **err);
/* Nobody may be using it. */
void db_close(Db *db);

/* Runs fn in BEGIN IMMEDIATE ... COMMIT. fn may run again after a RETRY, so it must reset what it
 * fills. -1 from fn rolls back. Nested calls on one thread are a programming error (asserted). */
int db_tx(Db *db, int (*fn)(Tx *tx, void *data, Error **err), void *data, Error **err);
/* The same, read only (DEFERRED, its own snapshot): runs beside writers. */
int db_read(Db *db, int (*fn)(Tx *tx, void *data, Error **err), void *data, Error **err);
/* The same on the database of this host alone (tables config, patches, raft_nodes, certificates).
 */
int db_local_tx(Db *db, int (*fn)(Tx *tx, void *data, Error **err), void *data, Error **err);
int db_local_read(Db *db, int (*fn)(Tx *tx, void *data, Error **err), void *data, Error **err);
/* What was committed in the global one outlasts the machine's power from now on; by itself that
 * takes up to half a minute. */
int db_sync(Db *db, Error **err);

/* Parameters by format: 's' const char * (NULL is SQL NULL), 'i' int64_t, 'd' double,
 * 'b' const void *, size_t, 't' int64_t seconds since 1970 stored as Incus stores DATETIME,
 * 'T' const Moment *, the same with its fraction and offset.
 * Integers must be passed as int64_t: cast literals. 't' of 0 and 'T' of 0 seconds are NULL. A
 * value that must be unique and is there already is ERROR_EXISTS, other violated constraints are
 * ERROR_INVALID. */
int tx_exec(Tx *tx, Error **err, const char *sql, const char *format, ...);
/* As tx_exec; gives last_insert_rowid. */
int tx_insert(Tx *tx, int64_t *ret_id, Error **err, const char *sql, const char *format, ...);
/* Number of rows the last tx_exec changed. */
int64_t tx_changes(Tx *tx);
/* Opens a cursor; rows_next gives 1 with a row, 0 at the end, -1 on failure. */
int tx_query(Tx *tx, Rows **ret_rows, Error **err, const char *sql, const char *format, ...);
int rows_next(Rows *rows, Error **err);
void rows_free(Rows *rows);
/* Columns by index from 0; text is valid until the next rows_next and never NULL unless SQL NULL.
 */
const char *rows_text(Rows *rows, int column);
int64_t rows_int(Rows *rows, int column);
double rows_double(Rows *rows, int column);
gboolean rows_null(Rows *rows, int column);
/* A DATETIME column, however it was written, as seconds since 1970; 0 for NULL and what is no time.
 */
int64_t rows_time(Rows *rows, int column);
/* The same as it was written. */
Moment rows_moment(Rows *rows, int column);
int rows_columns(Rows *rows);
const char *rows_column_name(Rows *rows, int column);
/* First column of the first row; ERROR_NOT_FOUND (message "Not found") without rows. */
int tx_int(Tx *tx, int64_t *ret_value, Error **err, const char *sql, const char *format, ...);

/* key/value side tables ("instances_config", owner column "instance_id"). replace deletes and
 * inserts in few statements; load returns owned Config. */
#include "sdk/base/map.h"
int tx_config_load(
    Tx *tx, const char *table, const char *owner_column, int64_t owner, Config **ret, Error **err);
int tx_config_replace(Tx *tx, const char *table, const char *owner_column, int64_t owner,
    const Config *config, Error **err);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Rows, rows_free)
