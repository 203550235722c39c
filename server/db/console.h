#pragma once
/*
 * SQL typed by administrators (`incus admin sql`): free statements and dumps, on a connection of
 * their own, so that nothing here touches the daemon's prepared statements. What the daemon keeps
 * in memory is read again at its next start; only instances and pools whose rows are gone it
 * forgets at once.
 */
#include "server/db/db.h"

typedef struct SqlResult {
	gboolean select;       /* it had columns */
	GPtrArray *columns;    /* char * */
	GString *rows;         /* JSON array of arrays */
	int64_t rows_affected;
} SqlResult;

void sql_result_free(SqlResult *result);
/* directory: INCUS_DIR; database: "local" or "global" (ERROR_INVALID else). Runs every statement of
 * the text in one transaction; elements of *ret_results are SqlResult. */
int sql_run(const char *directory, const char *database, const char *text, GPtrArray **ret_results,
    Error **err);
/* Statements that make the database again; without rows when schema_only. g_free. */
int sql_dump(const char *directory, const char *database, gboolean schema_only, char **ret_text,
    Error **err);
/* Folds the write-ahead log into the database's file, for tools that read the file alone. */
int sql_sync(const char *directory, Error **err);
