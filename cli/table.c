/*
 * Tables. Column widths count terminal cells, not bytes; a cell may hold several lines.
 */
#include "cli/table.h"
#include <ctype.h>
#include <stdarg.h>
#include <string.h>

Table *table_new(const char *const *headers)
{
	Table *table = g_new0(Table, 1);
	table->headers = headers;
	table->rows = g_ptr_array_new_with_free_func((GDestroyNotify)g_strfreev);
	return table;
}

void table_free(Table *table)
{
	if (!table)
		return;
	g_ptr_array_free(table->rows, TRUE);
	g_free(table);
}

static guint table_width(const Table *table)
{
	return g_strv_length((char **)table->headers);
}

void table_add(Table *table, ...)
{
	va_list list;
	guint n = table_width(table);
	char **cells = g_new0(char *, n + 1);
	va_start(list, table);
	for (guint i = 0; i < n; i++) {
		const char *cell = va_arg(list, const char *);
		cells[i] = g_strdup(cell ? cell : "");
	}
	va_end(list);
	g_ptr_array_add(table->rows, cells);
}

void table_add_cells(Table *table, char **cells)
{
	g_ptr_array_add(table->rows, cells);
}

static const char *skip_number(const char *p, const char **ret_digits)
{
	while (*p == '0' && isdigit((unsigned char)p[1]))
		p++;
	*ret_digits = p;
	while (isdigit((unsigned char)*p))
		p++;
	return p;
}

int natural_compare(const char *a, const char *b)
{
	while (*a && *b) {
		if (isdigit((unsigned char)*a) && isdigit((unsigned char)*b)) {
			const char *x, *y, *end_a = skip_number(a, &x), *end_b = skip_number(b, &y);
			if (end_a - x != end_b - y)
				return end_a - x < end_b - y ? -1 : 1;
			int order = strncmp(x, y, end_a - x);
			if (order)
				return order;
			a = end_a;
			b = end_b;
		} else {
			if (*a != *b)
				return (unsigned char)*a < (unsigned char)*b ? -1 : 1;
			a++;
			b++;
		}
	}
	return (*a != 0) - (*b != 0);
}

static int compare_rows(const void *left, const void *right)
{
	char **a = *(char ***)left, **b = *(char ***)right;
	for (; *a && *b; a++, b++) {
		if (!**a != !**b)
			return **a ? -1 : 1;
		int order = natural_compare(*a, *b);
		if (order)
			return order;
	}
	return 0;
}

void table_sort(Table *table)
{
	g_ptr_array_sort(table->rows, compare_rows);
}

/* Terminal cells of the first `length` bytes. */
static guint cells_of(const char *text, size_t length)
{
	guint cells = 0;
	const char *end = text + length;
	while (text < end) {
		gunichar c = g_utf8_get_char_validated(text, end - text);
		if (c == (gunichar)-1 || c == (gunichar)-2) {
			cells++;
			text++;
			continue;
		}
		cells += g_unichar_iszerowidth(c) ? 0 : g_unichar_iswide(c) ? 2 : 1;
		text = g_utf8_next_char(text);
	}
	return cells;
}

/* The bytes of line `n` of a cell; false when it has fewer lines. */
static bool cell_line(const char *cell, guint n, const char **ret_line, size_t *ret_length)
{
	for (; n > 0; n--) {
		cell = strchr(cell, '\n');
		if (!cell)
			return false;
		cell++;
	}
	*ret_line = cell;
	*ret_length = strcspn(cell, "\n");
	return true;
}

static void widen(guint *width, const char *cell)
{
	const char *line;
	size_t length;
	for (guint n = 0; cell_line(cell, n, &line, &length); n++)
		*width = MAX(*width, cells_of(line, length));
}

static guint *column_widths(const Table *table, guint n)
{
	guint *widths = g_new0(guint, n + 1);
	for (guint i = 0; i < n; i++)
		widths[i] = cells_of(table->headers[i], strlen(table->headers[i]));
	for (guint r = 0; r < table->rows->len; r++) {
		char **row = g_ptr_array_index(table->rows, r);
		for (guint i = 0; i < n; i++)
			widen(&widths[i], row[i]);
	}
	return widths;
}

static void add_spaces(GString *out, guint n)
{
	gsize start = out->len;
	g_string_set_size(out, start + n);
	memset(out->str + start, ' ', n);
}

static void add_border(GString *out, const guint *widths, guint n)
{
	for (guint i = 0; i < n; i++) {
		g_string_append_c(out, '+');
		for (guint k = 0; k < widths[i] + 2; k++)
			g_string_append_c(out, '-');
	}
	g_string_append(out, "+\n");
}

static void add_headers(GString *out, const Table *table, const guint *widths, guint n, bool boxed)
{
	g_string_append(out, boxed ? "|" : " ");
	for (guint i = 0; i < n; i++) {
		guint gap = widths[i] - cells_of(table->headers[i], strlen(table->headers[i]));
		add_spaces(out, 1 + gap / 2);
		g_string_append(out, table->headers[i]);
		add_spaces(out, gap - gap / 2 + 1);
		g_string_append(out, boxed ? "|" : i + 1 < n ? "" : " ");
	}
	g_string_append_c(out, '\n');
}

static void add_row(GString *out, char **row, const guint *widths, guint n, bool boxed)
{
	bool more = true;
	for (guint l = 0; more; l++) {
		size_t start = out->len;
		more = false;
		g_string_append(out, boxed ? "|" : " ");
		for (guint i = 0; i < n; i++) {
			const char *line = "";
			size_t length = 0;
			more |= cell_line(row[i], l, &line, &length);
			g_string_append_c(out, ' ');
			g_string_append_len(out, line, length);
			add_spaces(out, widths[i] - cells_of(line, length) + 1);
			g_string_append(out, boxed ? "|" : i + 1 < n ? "" : " ");
		}
		g_string_append_c(out, '\n');
		if (!more)
			g_string_truncate(out, start);
	}
}

static void add_csv(GString *out, const char *const *cells)
{
	for (guint i = 0; cells[i]; i++) {
		const char *cell = cells[i];
		if (i > 0)
			g_string_append_c(out, ',');
		if (!*cell || (!strpbrk(cell, ",\"\r\n") && *cell != ' ' && *cell != '\t')) {
			g_string_append(out, cell);
			continue;
		}
		g_string_append_c(out, '"');
		for (; *cell; cell++) {
			if (*cell == '"')
				g_string_append_c(out, '"');
			g_string_append_c(out, *cell);
		}
		g_string_append_c(out, '"');
	}
	g_string_append_c(out, '\n');
}

char *table_text(const Table *table, const char *format, bool header)
{
	GString *out = g_string_new(NULL);
	guint n = table_width(table);
	if (strcmp(format, "csv") == 0) {
		if (header)
			add_csv(out, table->headers);
		for (guint r = 0; r < table->rows->len; r++)
			add_csv(out, g_ptr_array_index(table->rows, r));
		return g_string_free(out, FALSE);
	}
	bool lines = strcmp(format, "table") == 0, boxed = lines || strcmp(format, "box") == 0;
	g_autofree guint *widths = column_widths(table, n);
	if (boxed)
		add_border(out, widths, n);
	if (header)
		add_headers(out, table, widths, n, boxed);
	if (boxed && header)
		add_border(out, widths, n);
	for (guint r = 0; r < table->rows->len; r++) {
		add_row(out, g_ptr_array_index(table->rows, r), widths, n, boxed);
		if (lines || (boxed && r + 1 == table->rows->len))
			add_border(out, widths, n);
	}
	return g_string_free(out, FALSE);
}
