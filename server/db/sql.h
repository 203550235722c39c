#pragma once
/*
 * SQL as administrators type it (`incus admin sql`): any statements on either database, and its text
 * form. Not for the daemon's own queries: those are in their modules.
 */
#include "server/db/db.h"
struct Pb__InternalSQLBatch;

/* database "local" or "global" (else ERROR_INVALID). ".sync" folds the journal into the file. One
 * result for each statement; all in one transaction. */
int sql_run(Db *db, const char *database, const char *query, Arena *arena,
    struct Pb__InternalSQLBatch *out, Error **err);
/* Statements that make the database again; without rows when schema_only. */
int sql_dump(Db *db, const char *database, gboolean schema_only, Arena *arena, char **ret_text, Error **err);
