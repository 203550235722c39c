#pragma once
/*
 * Rows of text as the list commands print them: boxed table, compact, csv. The json and yaml
 * formats print the objects themselves and never reach this module.
 */
#include <glib.h>
#include <stdbool.h>

typedef struct Table {
	const char *const *headers; /* NULL-terminated, borrowed */
	GPtrArray *rows;            /* of char **, NULL-terminated, as long as headers */
} Table;

Table *table_new(const char *const *headers);
void table_free(Table *table);
/* Takes the cells (strings are copied); a NULL cell is empty. */
void table_add(Table *table, ...) G_GNUC_NULL_TERMINATED;
/* Takes `cells` and the strings in it. */
void table_add_cells(Table *table, char **cells);
/* Natural order (web2 before web10) of all columns from the left, empty cells last. */
void table_sort(Table *table);
/* `format` is table, box (no lines between rows), compact or csv; csv has headers when `header` is
 * set. */
char *table_text(const Table *table, const char *format, bool header);

int natural_compare(const char *a, const char *b);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Table, table_free)
