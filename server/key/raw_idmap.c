#include "server/key/raw_idmap.h"
#include "sdk/base/units.h"
#include <string.h>

/* "5" or "5-9". */
static int parse_span(const char *text, uint32_t *ret_from, uint32_t *ret_count, Error **err)
{
	int64_t from, to;
	g_auto(GStrv) part = g_strsplit(text, "-", 2);
	if (!part[0] || units_parse_int(part[0], 0, G_MAXUINT32 - 1, &from, err) < 0)
		return error_prefix(err, "Invalid range of ids \"%s\"", text);
	to = from;
	if (part[1] && units_parse_int(part[1], from, G_MAXUINT32 - 1, &to, err) < 0)
		return error_prefix(err, "Invalid range of ids \"%s\"", text);
	*ret_from = (uint32_t)from;
	*ret_count = (uint32_t)(to - from + 1);
	return 0;
}

static int parse_line(const char *text, RawIdmapLine *ret_line, Error **err)
{
	g_auto(GStrv) word = g_strsplit_set(text, " \t", -1);
	uint32_t n_inside;
	gboolean both = word[0] && strcmp(word[0], "both") == 0;
	if (g_strv_length(word) != 3 ||
	    !(both || strcmp(word[0], "uid") == 0 || strcmp(word[0], "gid") == 0))
		return error_set(err, ERROR_INVALID, "Invalid raw.idmap line \"%s\"", text);
	if (parse_span(word[1], &ret_line->host, &ret_line->count, err) < 0 ||
	    parse_span(word[2], &ret_line->inside, &n_inside, err) < 0)
		return error_prefix(err, "Invalid raw.idmap line");
	if (ret_line->count != n_inside)
		return error_set(err, ERROR_INVALID,
		    "The two ranges of raw.idmap line \"%s\" have different sizes", text);
	ret_line->uid = both || strcmp(word[0], "uid") == 0;
	ret_line->gid = both || strcmp(word[0], "gid") == 0;
	return 0;
}

int raw_idmap_parse(const char *raw, GArray **ret_lines, Error **err)
{
	g_autoptr(GArray) parsed = g_array_new(FALSE, TRUE, sizeof(RawIdmapLine));
	g_auto(GStrv) lines = g_strsplit(raw ? raw : "", "\n", -1);
	for (char **text = lines; *text; text++) {
		RawIdmapLine line;
		if (!*g_strstrip(*text))
			continue;
		if (parse_line(*text, &line, err) < 0)
			return -1;
		g_array_append_val(parsed, line);
	}
	*ret_lines = g_steal_pointer(&parsed);
	return 0;
}

int id_list_check(const char *list, Error **err)
{
	g_auto(GStrv) spans = g_strsplit(list, ",", -1);
	for (char **span = spans; *span; span++) {
		uint32_t from, count;
		if (parse_span(g_strstrip(*span), &from, &count, err) < 0)
			return -1;
	}
	return 0;
}

/* Each span takes the front of what is not covered yet; as many rounds as there are spans find all.
 */
gboolean id_list_covers(const char *list, uint32_t from, uint32_t count)
{
	g_auto(GStrv) spans = g_strsplit(list ? list : "", ",", -1);
	uint64_t next = from, end = (uint64_t)from + count;
	for (guint round = g_strv_length(spans); round > 0 && next < end; round--)
		for (char **span = spans; *span; span++) {
			uint32_t start, length;
			if (parse_span(g_strstrip(*span), &start, &length, NULL) < 0)
				return FALSE;
			if (start <= next && next < (uint64_t)start + length)
				next = (uint64_t)start + length;
		}
	return next >= end;
}
