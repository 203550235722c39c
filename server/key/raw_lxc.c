#include "server/key/raw_lxc.h"
#include <string.h>

static int check_pair(const char *key, Error **err)
{
	static const char *const refused[] = {"lxc.log.level", "lxc.log.file", "lxc.logfile",
	    "lxc.log", "lxc.ephemeral", "lxc.rootfs.path", "lxc.idmap", "lxc.uts.name",
	    "lxc.include"};
	for (guint n = 0; n < G_N_ELEMENTS(refused); n++)
		if (strcmp(key, refused[n]) == 0)
			return error_set(err, ERROR_INVALID, "%s is not allowed in raw.lxc", key);
	if (g_str_has_prefix(key, "lxc.net.") && strcmp(key, "lxc.net.") != 0)
		return error_set(
		    err, ERROR_INVALID, "Interface configuration isn't allowed in raw.lxc");
	return 0;
}

int raw_lxc_parse(const char *raw, GPtrArray *pairs, Error **err)
{
	g_auto(GStrv) lines = g_strsplit(raw ? raw : "", "\n", -1);
	for (char **line = lines; *line; line++) {
		if (!*g_strstrip(*line) || **line == '#')
			continue;
		char *equals = strchr(*line, '=');
		if (!equals)
			return error_set(err, ERROR_INVALID, "Invalid raw.lxc line: %s", *line);
		*equals = '\0';
		char *key = g_strstrip(*line), *value = g_strstrip(equals + 1);
		if (check_pair(key, err) < 0)
			return -1;
		g_ptr_array_add(pairs, g_strdup(key));
		g_ptr_array_add(pairs, g_strdup(value));
	}
	return 0;
}

int raw_lxc_check(const char *raw, Error **err)
{
	g_autoptr(GPtrArray) pairs = g_ptr_array_new_with_free_func(g_free);
	return raw_lxc_parse(raw, pairs, err);
}
