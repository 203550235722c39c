#include "server/device/device_private.h"
#include "sdk/base/file.h"
#include <string.h>
#include <unistd.h>

char *device_host_file_name(const DeviceHost *host)
{
	return strcmp(host->project, "default") == 0 ?
	    g_strdup(host->instance) :
	    g_strdup_printf("%s_%s", host->project, host->instance);
}

static char *folder_of(const DeviceHost *host)
{
	g_autofree char *name = device_host_file_name(host);
	return g_build_filename(host->daemon->dir, "devices", name, NULL);
}

/* One name for one path: "/" is "-", and "-" is "--". */
static char *file_name(const char *kind, const char *part)
{
	GString *s = g_string_new(kind);
	g_string_append_c(s, '.');
	for (; *part; part++)
		g_string_append(s, *part == '/' ? "-" : *part == '-' ? "--" : (char[]){ *part, 0 });
	return g_string_free(s, FALSE);
}

char *device_file_path(const DeviceHost *host, const char *kind, const char *part)
{
	g_autofree char *folder = folder_of(host);
	g_autofree char *name = file_name(kind, part);
	return g_build_filename(folder, name, NULL);
}

int device_file_make(
    const DeviceHost *host, const char *kind, const char *part, char **ret_path, Error **err)
{
	g_autofree char *folder = folder_of(host);
	if (file_mkdir_all(folder, 0711, err) < 0)
		return -1;
	*ret_path = device_file_path(host, kind, part);
	return 0;
}

void device_file_remove(const char *path)
{
	g_autofree char *folder = g_path_get_dirname(path);
	unlink(path);
	rmdir(folder);
}
