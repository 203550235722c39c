#pragma once
/* Inside of rows.c and the proof: one table of LXD in memory. */
#include "migrate/rows.h"

typedef struct TableCopy {
	const RowsContext *context;
	const RowTable *table;
	Db *ours;
	GPtrArray *wanted; /* our columns */
	char *columns,
	    *sql; /* those that both have, and what selects them; NULL: nothing to copy */
	GStringChunk *texts;
	GPtrArray *cells; /* row by row, NULL for SQL's; in texts */
	guint width;
	int key, value; /* positions, -1: none */
} TableCopy;

void table_copy_init(TableCopy *copy, const RowsContext *context, const RowTable *table, Db *ours);
void table_copy_clear(TableCopy *copy);
/* Fills columns, cells and what goes with them; sql stays NULL where LXD has no such table. */
int table_copy_read(TableCopy *copy, gboolean local, Error **err);
/* A row's cells become ours where the table has keys. FALSE: the row goes. */
gboolean table_copy_convert(TableCopy *copy, char **cells);
