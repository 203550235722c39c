#include "migrate/table.h"
#include <stdarg.h>
#include <string.h>

struct TextTable {
	guint columns;
	GPtrArray *cells; /* row by row, the heads first */
};

static void add_cell(TextTable *table, const char *text)
{
	/* Names in a foreign database may hold what a terminal obeys. */
	char *cell = g_utf8_make_valid(text, -1);
	for (char *c = cell; *c; c++)
		if (g_ascii_iscntrl(*c))
			*c = '?';
	g_ptr_array_add(table->cells, cell);
}

TextTable *text_table_new(const char *head, ...)
{
	TextTable *table = g_new0(TextTable, 1);
	va_list list;
	table->cells = g_ptr_array_new_with_free_func(g_free);
	va_start(list, head);
	for (; head; head = va_arg(list, const char *), table->columns++)
		add_cell(table, head);
	va_end(list);
	return table;
}

void text_table_add(TextTable *table, ...)
{
	va_list list;
	va_start(list, table);
	for (const char *cell; (cell = va_arg(list, const char *));)
		add_cell(table, cell);
	va_end(list);
}

char *text_table_text(const TextTable *table)
{
	GString *out = g_string_new(NULL);
	g_autofree glong *widths = g_new0(glong, table->columns);
	for (guint i = 0; i < table->cells->len; i++) {
		glong width = g_utf8_strlen(table->cells->pdata[i], -1);
		widths[i % table->columns] = MAX(widths[i % table->columns], width);
	}
	for (guint i = 0; i < table->cells->len; i++) {
		const char *cell = table->cells->pdata[i];
		gboolean last = i % table->columns == table->columns - 1;
		glong pad = last ? 0 : widths[i % table->columns] - g_utf8_strlen(cell, -1) + 2;
		g_string_append_printf(out, "%s%*s%s", cell, (int)pad, "", last ? "\n" : "");
	}
	return g_string_free(out, FALSE);
}

void text_table_free(TextTable *table)
{
	if (!table)
		return;
	g_ptr_array_unref(table->cells);
	g_free(table);
}
