#include "sdk/base/template_expr.h"
#include <stdlib.h>
#include <string.h>

/* A filter that makes text of text. `argument` is "" without one. */
typedef char *(*TextFilter)(const char *text, const char *argument);

static char *filter_upper(const char *text, const char *argument)
{
	return g_utf8_strup(text, -1);
}

static char *filter_lower(const char *text, const char *argument)
{
	return g_utf8_strdown(text, -1);
}

static char *filter_capfirst(const char *text, const char *argument)
{
	if (!*text)
		return g_strdup("");
	const char *rest = g_utf8_next_char(text);
	g_autofree char *first = g_utf8_strup(text, rest - text);
	return g_strconcat(first, rest, NULL);
}

static char *filter_title(const char *text, const char *argument)
{
	char *out = g_ascii_strdown(text, -1);
	for (char *p = out; *p; p++)
		if (p == out || p[-1] == ' ')
			*p = g_ascii_toupper(*p);
	return out;
}

static char *filter_trim(const char *text, const char *argument)
{
	return g_strstrip(g_strdup(text));
}

static char *replace_all(const char *text, const char *const *pairs)
{
	GString *out = g_string_new(NULL);
	for (; *text; text++) {
		const char *with = NULL;
		for (int i = 0; pairs[i]; i += 2)
			if (*pairs[i] == *text)
				with = pairs[i + 1];
		if (with)
			g_string_append(out, with);
		else
			g_string_append_c(out, *text);
	}
	return g_string_free(out, FALSE);
}

static char *filter_escape(const char *text, const char *argument)
{
	static const char *const pairs[] = { "&", "&amp;", "<", "&lt;", ">", "&gt;", "\"", "&quot;",
		"'", "&#39;", NULL };
	return replace_all(text, pairs);
}

static char *filter_addslashes(const char *text, const char *argument)
{
	static const char *const pairs[] = { "\\", "\\\\", "\"", "\\\"", "'", "\\'", NULL };
	return replace_all(text, pairs);
}

static char *filter_cut(const char *text, const char *argument)
{
	if (!*argument)
		return g_strdup(text);
	g_auto(GStrv) parts = g_strsplit(text, argument, -1);
	return g_strjoinv("", parts);
}

static char *filter_urlencode(const char *text, const char *argument)
{
	return g_uri_escape_string(text, NULL, FALSE);
}

static char *filter_linebreaksbr(const char *text, const char *argument)
{
	static const char *const pairs[] = { "\n", "<br />", NULL };
	return replace_all(text, pairs);
}

static char *filter_same(const char *text, const char *argument)
{
	return g_strdup(text);
}

/* How layouts of Go's time package spell a moment, the longest first; with what GLib calls it. */
static const struct {
	const char *layout, *format;
} date_parts[] = {
	{ "January", "%B" },
	{ "Monday", "%A" },
	{ "-07:00", "%:z" },
	{ "-0700", "%z" },
	{ "2006", "%Y" },
	{ "MST", "%Z" },
	{ "Jan", "%b" },
	{ "Mon", "%a" },
	{ "002", "%j" },
	{ "01", "%m" },
	{ "02", "%d" },
	{ "03", "%I" },
	{ "04", "%M" },
	{ "05", "%S" },
	{ "06", "%y" },
	{ "15", "%H" },
	{ "_2", "%e" },
	{ "PM", "%p" },
	{ "pm", "%P" },
	{ "1", "%-m" },
	{ "2", "%-d" },
	{ "3", "%-I" },
	{ "4", "%-M" },
	{ "5", "%-S" },
};

static const char *next_date_part(const char *layout, size_t *ret_length)
{
	for (size_t i = 0; i < G_N_ELEMENTS(date_parts); i++)
		if (g_str_has_prefix(layout, date_parts[i].layout)) {
			*ret_length = strlen(date_parts[i].layout);
			return date_parts[i].format;
		}
	return NULL;
}

/* A time as RFC 3339 has it; other text stays as it is. */
static char *filter_date(const char *text, const char *argument)
{
	g_autoptr(GTimeZone) utc = g_time_zone_new_utc();
	g_autoptr(GDateTime) time = g_date_time_new_from_iso8601(text, utc);
	g_autoptr(GString) out = g_string_new(NULL);
	while (time && *argument) {
		size_t length = 1;
		const char *format = next_date_part(argument, &length);
		g_autofree char *part = format ? g_date_time_format(time, format) :
						 g_strndup(argument, 1);
		g_string_append(out, part ? part : "");
		argument += length;
	}
	return time ? g_string_free(g_steal_pointer(&out), FALSE) : g_strdup(text);
}

static const struct {
	const char *name;
	TextFilter filter;
} text_filters[] = {
	{ "date", filter_date },
	{ "upper", filter_upper },
	{ "lower", filter_lower },
	{ "capfirst", filter_capfirst },
	{ "title", filter_title },
	{ "trim", filter_trim },
	{ "escape", filter_escape },
	{ "e", filter_escape },
	{ "force_escape", filter_escape },
	{ "addslashes", filter_addslashes },
	{ "cut", filter_cut },
	{ "urlencode", filter_urlencode },
	{ "linebreaksbr", filter_linebreaksbr },
	{ "safe", filter_same },
	{ "stringformat", filter_same },
};

static json_t *length_of(const json_t *value)
{
	if (json_is_array(value))
		return json_integer((json_int_t)json_array_size(value));
	if (json_is_object(value))
		return json_integer((json_int_t)json_object_size(value));
	g_autofree char *text = template_text(value);
	return json_integer((json_int_t)g_utf8_strlen(text, -1));
}

static json_t *join(const json_t *value, const char *between)
{
	if (!json_is_array(value)) {
		g_autofree char *text = template_text(value);
		return json_string(text);
	}
	GString *out = g_string_new(NULL);
	size_t i;
	json_t *item;
	json_array_foreach(value, i, item) {
		g_autofree char *text = template_text(item);
		if (i)
			g_string_append(out, between);
		g_string_append(out, text);
	}
	json_t *result = json_string(out->str);
	g_string_free(out, TRUE);
	return result;
}

static json_t *split(const char *text, const char *at)
{
	json_t *array = json_array();
	if (!*at) {
		json_array_append_new(array, json_string(text));
		return array;
	}
	g_auto(GStrv) parts = g_strsplit(text, at, 10000);
	for (int i = 0; parts[i]; i++)
		json_array_append_new(array, json_string(parts[i]));
	return array;
}

static json_t *edge(const json_t *value, gboolean last)
{
	if (json_is_array(value)) {
		size_t n = json_array_size(value);
		json_t *item = n ? json_array_get(value, last ? n - 1 : 0) : NULL;
		return item ? json_incref(item) : json_null();
	}
	g_autofree char *text = template_text(value);
	if (!*text)
		return json_string("");
	const char *start = last ? g_utf8_find_prev_char(text, text + strlen(text)) : text;
	return json_stringn(start, (size_t)(g_utf8_next_char(start) - start));
}

static json_t *number(const json_t *value, gboolean whole)
{
	g_autofree char *text = template_text(value);
	if (whole)
		return json_integer(json_is_real(value) ? (json_int_t)json_real_value(value) :
							  g_ascii_strtoll(text, NULL, 10));
	return json_real(g_ascii_strtod(text, NULL));
}

/* "a,b" or "a,b,c": yes, no, maybe. */
static json_t *yesno(const json_t *value, const char *argument)
{
	g_auto(GStrv) words = g_strsplit(*argument ? argument : "yes,no,maybe", ",", 3);
	guint n = g_strv_length(words);
	guint which = json_is_null(value) ? 2 : template_truth(value) ? 0 : 1;
	return json_string(which < n ? words[which] : n > 1 ? words[1] : "");
}

/* Filters that look at more than text. NULL: not one of them. */
static json_t *value_filter(
    const char *name, const json_t *value, const json_t *argument, const char *argument_text)
{
	g_autofree char *text = NULL;
	if (strcmp(name, "default") == 0)
		return json_incref(
		    (json_t *)(template_truth(value) || !argument ? value : argument));
	if (strcmp(name, "default_if_none") == 0)
		return json_incref(
		    (json_t *)(!json_is_null(value) || !argument ? value : argument));
	if (strcmp(name, "length") == 0)
		return length_of(value);
	if (strcmp(name, "join") == 0)
		return join(value, argument_text);
	if (strcmp(name, "first") == 0 || strcmp(name, "last") == 0)
		return edge(value, *name == 'l');
	if (strcmp(name, "integer") == 0 || strcmp(name, "float") == 0)
		return number(value, *name == 'i');
	if (strcmp(name, "yesno") == 0)
		return yesno(value, argument_text);
	if (strcmp(name, "split") == 0) {
		text = template_text(value);
		return split(text, argument_text);
	}
	return NULL;
}

int template_filter(TemplateScope *scope, const char *name, const json_t *value,
    const json_t *argument, json_t **ret_value, Error **err)
{
	g_autofree char *argument_text = template_text(argument);
	g_autofree char *text = template_text(value);
	/* No filter makes more than six characters of one; join puts its argument between. */
	size_t most = strlen(text) * 6 +
	    (json_is_array(value) ? json_array_size(value) * strlen(argument_text) : 0);
	if (template_spend(scope, most, err) < 0)
		return -1;
	*ret_value = value_filter(name, value, argument, argument_text);
	if (*ret_value)
		return 0;
	for (size_t i = 0; i < G_N_ELEMENTS(text_filters); i++) {
		if (strcmp(text_filters[i].name, name) != 0)
			continue;
		g_autofree char *result = text_filters[i].filter(text, argument_text);
		*ret_value = json_string(result);
		return *ret_value ? 0 : template_fail(scope, err, "a text is not valid UTF-8");
	}
	return template_fail(scope, err, "filter \"%s\" is unknown", name);
}
