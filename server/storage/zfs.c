#include "server/storage/zfs.h"
#include "sdk/base/file.h"
#include "sdk/base/spawn.h"
#include "server/storage/filesystem.h"
#include "server/storage/program.h"
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { NAME_MAX_LENGTH = 255 };

int zfs_version(char **ret_version, Error **err)
{
	g_autofree char *version = NULL;
	if (filesystem_supported("zfs", err) < 0)
		return -1;
	if (program_run(NULL, "zfs", "version", NULL) < 0 ||
	    program_run(NULL, "zpool", "version", NULL) < 0)
		return error_set(
		    err, ERROR_UNSUPPORTED, "Required tool \"zpool\" or \"zfs\" is missing");
	if (file_read(AT_FDCWD, "/sys/module/zfs/version", FILE_LINKS_NONE, 256, &version, NULL,
		NULL) < 0)
		return error_set(
		    err, ERROR_UNSUPPORTED, "The kernel's ZFS does not tell its version");
	*ret_version = g_strdup(g_strstrip(version));
	return 0;
}

int zfs_name_check(const char *name, Error **err)
{
	static const char allowed[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:-/";
	gboolean good = g_ascii_isalpha(*name) && strlen(name) < NAME_MAX_LENGTH &&
	    !name[strspn(name, allowed)] && !strstr(name, "//") && !g_str_has_suffix(name, "/") &&
	    !strstr(name, "..");
	return good ? 0 : error_set(err, ERROR_INVALID, "Invalid ZFS name \"%s\"", name);
}

gboolean zfs_exists(const char *name)
{
	return program_run(NULL, "zfs", "list", "-H", "-o", "name", "-t", "all", name, NULL) == 0;
}

gboolean zfs_pool_exists(const char *name)
{
	return program_run(NULL, "zpool", "list", "-H", "-o", "name", name, NULL) == 0;
}

int zfs_get(const char *name, const char *property, char **ret_value, Error **err)
{
	const char *const argv[] = { "zfs", "get", "-Hp", "-o", "value", property, name, NULL };
	g_autofree char *output = NULL;
	if (program_output(argv, &output, err) < 0)
		return -1;
	*ret_value = g_strdup(g_strstrip(output));
	return 0;
}

gboolean zfs_is_set(const char *name, const char *property, const char *value)
{
	const char *const argv[] = { "zfs", "get", "-Hp", "-s", "local", "-o", "value", property,
		name, NULL };
	g_autofree char *output = NULL;
	return program_output(argv, &output, NULL) == 0 && strcmp(g_strstrip(output), value) == 0;
}

/* The last parts of the names that a listing gives, after `separator`, except for `name` itself. */
static int list(
    const char *const *argv, const char *name, char separator, GPtrArray *ret_names, Error **err)
{
	g_autofree char *output = NULL;
	if (!zfs_exists(name))
		return 0;
	if (program_output(argv, &output, err) < 0)
		return -1;
	g_auto(GStrv) lines = g_strsplit(output, "\n", -1);
	for (size_t i = 0; lines[i]; i++) {
		const char *part = strrchr(lines[i], separator);
		if (part && strcmp(lines[i], name) != 0)
			g_ptr_array_add(ret_names, g_strdup(part + 1));
	}
	return 0;
}

int zfs_children(const char *name, GPtrArray *ret_names, Error **err)
{
	const char *const argv[] = { "zfs", "list", "-H", "-o", "name", "-s", "creation", "-d", "1",
		"-t", "filesystem,volume", name, NULL };
	return list(argv, name, '/', ret_names, err);
}

int zfs_snapshots(const char *name, GPtrArray *ret_names, Error **err)
{
	const char *const argv[] = { "zfs", "list", "-H", "-o", "name", "-s", "createtxg", "-d",
		"1", "-t", "snapshot", name, NULL };
	return list(argv, name, '@', ret_names, err);
}

int zfs_device(const char *name, char **ret_device, Error **err)
{
	g_autofree char *device = g_strconcat("/dev/zvol/", name, NULL);
	g_autofree char *wanted = g_strconcat("--exit-if-exists=", device, NULL);
	if (access(device, F_OK) < 0)
		spawn_simple(NULL, "udevadm", "settle", "--timeout=20", wanted, NULL);
	if (access(device, F_OK) < 0)
		return error_set(err, ERROR_INTERNAL, "Device \"%s\" does not appear", device);
	*ret_device = g_steal_pointer(&device);
	return 0;
}
