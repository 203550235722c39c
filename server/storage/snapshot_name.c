#include "server/storage/snapshot_name.h"
#include "sdk/base/template_render.h"
#include <stdlib.h>
#include <string.h>

static gboolean taken(const GPtrArray *names, const char *name)
{
	for (guint i = 0; i < names->len; i++)
		if (strcmp(names->pdata[i], name) == 0)
			return TRUE;
	return FALSE;
}

/* The number of a name that is prefix, digits, suffix; -1 of any other. */
static gint64 number_of(const char *name, const char *prefix, const char *suffix)
{
	if (!g_str_has_prefix(name, prefix))
		return -1;
	const char *digits = name + strlen(prefix);
	char *end;
	if (!g_ascii_isdigit(*digits))
		return -1;
	gint64 number = g_ascii_strtoll(digits, &end, 10);
	return strcmp(end, suffix) == 0 && number < G_MAXINT32 ? number : -1;
}

static char *numbered(const char *prefix, const char *suffix, const GPtrArray *names)
{
	gint64 highest = -1;
	for (guint i = 0; i < names->len; i++)
		highest = MAX(highest, number_of(names->pdata[i], prefix, suffix));
	return g_strdup_printf("%s%" G_GINT64_FORMAT "%s", prefix, highest + 1, suffix);
}

/* "{{ creation_date|date:'2006-01-02' }}" */
static int render(const char *pattern, char **ret_text, Error **err)
{
	g_autoptr(GString) out = g_string_new(NULL);
	g_autoptr(GDateTime) now = g_date_time_new_now_local();
	g_autofree char *date = g_date_time_format_iso8601(now);
	json_t *context = json_pack("{s:s}", "creation_date", date);
	int result = template_render(pattern, strlen(pattern), context, out, err);
	json_decref(context);
	if (result < 0)
		return error_prefix(err, "Invalid snapshot pattern \"%s\"", pattern);
	*ret_text = g_string_free(g_steal_pointer(&out), FALSE);
	return 0;
}

int snapshot_name_next(const char *pattern, const GPtrArray *names, char **ret_name, Error **err)
{
	if (!pattern || !*pattern)
		pattern = "snap%d";
	g_autofree char *rendered = NULL;
	if (strchr(pattern, '{') && render(pattern, &rendered, err) < 0)
		return -1;
	pattern = rendered ? rendered : pattern;
	const char *place = strstr(pattern, "%d");
	if (place && strstr(place + 2, "%d"))
		return error_set(err, ERROR_INVALID,
		    "Snapshot pattern \"%s\" may contain \"%%d\" only once", pattern);
	if (!place && !taken(names, pattern)) {
		*ret_name = g_strdup(pattern);
		return 0;
	}
	g_autofree char *prefix = place ? g_strndup(pattern, (gsize)(place - pattern)) :
					  g_strconcat(pattern, "-", NULL);
	*ret_name = numbered(prefix, place ? place + 2 : "", names);
	return 0;
}
