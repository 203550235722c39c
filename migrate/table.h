#pragma once
/*
 * Columns of text for people, as wide as they need to be.
 */
#include <glib.h>

typedef struct TextTable TextTable;
/* Heads of the columns, then NULL. */
TextTable *text_table_new(const char *head, ...) G_GNUC_NULL_TERMINATED;
/* As many cells as there are heads, then NULL. Control characters are shown as "?". */
void text_table_add(TextTable *table, ...) G_GNUC_NULL_TERMINATED;
char *text_table_text(const TextTable *table);
void text_table_free(TextTable *table);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TextTable, text_table_free)
