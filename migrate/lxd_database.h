#pragma once
/*
 * LXD's database, read from a copy: LXD's own files are opened for reading only, and neither LXD
 * nor any part of it needs to be there. The tables and columns are LXD's; rows.h knows what of
 * them differs between its versions.
 */
#include "server/db/db.h"

typedef struct LxdDatabase {
	Db *db;		    /* global: LXD's cluster database; local: its local.db */
	int64_t schema;	    /* of the global one */
	int64_t extensions; /* API extensions that the LXD had: grows with each release */
	int64_t members;
	gboolean clustered; /* with others, or alone in a cluster */
} LxdDatabase;

/* `lxd` is LXD's directory; `work` an existing one of ours, where the copy is made (what an earlier
 * call left there goes). ERROR_INVALID, naming the file, for what is no LXD database or a damaged
 * one. */
int lxd_database_open(const char *lxd, const char *work, LxdDatabase **ret_database, Error **err);
void lxd_database_free(LxdDatabase *database);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LxdDatabase, lxd_database_free)

/* Calls `take` for every row of a statement without parameters, until it gives -1. */
int lxd_database_each(LxdDatabase *lxd, const char *sql,
    int (*take)(Rows *row, void *data, Error **err), void *data, Error **err);
/* The same in local.db. */
int lxd_database_each_local(LxdDatabase *lxd, const char *sql,
    int (*take)(Rows *row, void *data, Error **err), void *data, Error **err);

/* Says whether the files in `lxd`/database changed between two calls, by their names, sizes and
 * times. g_free. */
int lxd_database_state(const char *lxd, char **ret_state, Error **err);

/* Which files of database/global a copy needs: the snapshots, the entries after the oldest of them,
 * and the node's own record. `names` are char *; elements of *ret_needed belong to names. */
GPtrArray *lxd_database_needed(const GPtrArray *names);
