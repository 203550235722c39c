#include "server/storage/disk_name.h"
#include <glib.h>
#include <string.h>

static gboolean is_code(const char *at)
{
	return g_ascii_isxdigit(at[0]) && g_ascii_isxdigit(at[1]);
}

char *disk_name_escape(const char *name, const char *others, char mark)
{
	GString *escaped = g_string_new(NULL);
	for (; *name; name++) {
		gboolean allowed = g_ascii_isalnum(*name) || strchr(others, *name) ||
		    (*name == mark && !is_code(name + 1));
		if (allowed)
			g_string_append_c(escaped, *name);
		else
			g_string_append_printf(escaped, "%c%02x", mark, (guint8)*name);
	}
	return g_string_free(escaped, FALSE);
}

char *disk_name_read(const char *escaped, char mark)
{
	GString *name = g_string_new(NULL);
	for (; *escaped; escaped++) {
		gboolean code = *escaped == mark && is_code(escaped + 1);
		g_string_append_c(name,
		    code ? (char)(g_ascii_xdigit_value(escaped[1]) << 4 |
			       g_ascii_xdigit_value(escaped[2])) :
			   *escaped);
		escaped += code ? 2 : 0;
	}
	return g_string_free(name, FALSE);
}
