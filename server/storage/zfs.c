#include "server/storage/zfs.h"
#include "sdk/base/file.h"
#include "sdk/base/spawn.h"
#include "server/storage/filesystem.h"
#include "server/storage/program.h"
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

enum { NAME_MAX_LENGTH = 255, FRESH_US = 5 * G_USEC_PER_SEC };

/* ---- what a start has seen ---- */

static struct {
	GMutex lock;
	char *root;
	char **names; /* in the order they were made */
	GHashTable *set;
	gint64 until, changes;
} seen;

static void seen_forget(void)
{
	g_mutex_lock(&seen.lock);
	seen.until = 0;
	seen.changes++;
	g_mutex_unlock(&seen.lock);
}

static gboolean is_below(const char *name, const char *root)
{
	size_t n = strlen(root);
	return strncmp(name, root, n) == 0 && strchr("/@", name[n]) != NULL;
}

/* FALSE when it does not know. */
static gboolean seen_has(const char *name, gboolean *ret_there)
{
	g_mutex_lock(&seen.lock);
	gboolean fresh = g_get_monotonic_time() < seen.until &&
	    (strcmp(name, seen.root) == 0 || is_below(name, seen.root));
	*ret_there = fresh && g_hash_table_contains(seen.set, name);
	g_mutex_unlock(&seen.lock);
	return fresh;
}

/* What is right below: datasets and volumes, or snapshots. */
static char **seen_below(const char *name, char separator)
{
	GPtrArray *below = g_ptr_array_new();
	size_t n = strlen(name);
	g_mutex_lock(&seen.lock);
	for (size_t i = 0; seen.names[i]; i++) {
		const char *one = seen.names[i];
		if (strncmp(one, name, n) == 0 && one[n] == separator &&
		    !strpbrk(one + n + 1, "/@"))
			g_ptr_array_add(below, g_strdup(one));
	}
	g_mutex_unlock(&seen.lock);
	g_ptr_array_add(below, NULL);
	return (char **)g_ptr_array_free(below, FALSE);
}

int zfs_look(const char *root, Error **err)
{
	const char *const argv[] = { "zfs", "list", "-H", "-o", "name", "-s", "createtxg", "-r",
		"-t", "all", root, NULL };
	g_autofree char *output = NULL;
	g_mutex_lock(&seen.lock);
	gint64 changes = seen.changes;
	g_mutex_unlock(&seen.lock);
	if (program_output(argv, &output, err) < 0)
		return -1;
	g_mutex_lock(&seen.lock);
	g_free(seen.root);
	g_strfreev(seen.names);
	g_clear_pointer(&seen.set, g_hash_table_unref);
	seen.root = g_strdup(root);
	seen.names = g_strsplit(output, "\n", -1);
	seen.set = g_hash_table_new(g_str_hash, g_str_equal);
	for (size_t i = 0; seen.names[i]; i++)
		g_hash_table_add(seen.set, seen.names[i]);
	seen.until = changes == seen.changes ? g_get_monotonic_time() + FRESH_US : 0;
	g_mutex_unlock(&seen.lock);
	return 0;
}

char **zfs_seen(const char *part)
{
	GPtrArray *found = g_ptr_array_new();
	g_mutex_lock(&seen.lock);
	for (size_t i = 0; seen.names && seen.names[i]; i++)
		if (strstr(seen.names[i], part))
			g_ptr_array_add(found, g_strdup(seen.names[i]));
	g_mutex_unlock(&seen.lock);
	g_ptr_array_add(found, NULL);
	return (char **)g_ptr_array_free(found, FALSE);
}

int zfs_run_vector(const char *const *argv, Error **err)
{
	int result = program_run_vector(argv, err);
	seen_forget();
	return result;
}

int zfs_run(Error **err, const char *tool, ...)
{
	va_list words;
	va_start(words, tool);
	int result = program_run_list(err, tool, words);
	va_end(words);
	seen_forget();
	return result;
}

static int destroy(const char *how, const char *name, Error **err)
{
	return how ? zfs_run(err, "zfs", "destroy", how, name, NULL) :
		     zfs_run(err, "zfs", "destroy", name, NULL);
}

int zfs_remove(const char *how, const char *name, Error **err)
{
	if (destroy(how, name, NULL) == 0)
		return 0;
	spawn_simple(NULL, "udevadm", "settle", "--timeout=10", NULL);
	return destroy(how, name, err);
}

int zfs_stream(const char *const *argv, int input, int output, Error **err)
{
	int result = program_stream(argv, input, output, err);
	seen_forget();
	return result;
}

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
	gboolean there;
	return seen_has(name, &there) ?
	    there :
	    program_run(NULL, "zfs", "list", "-H", "-o", "name", "-t", "all", name, NULL) == 0;
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

/* The last parts of the names in a listing, after `separator`, except for `name` itself. */
static void add_parts(char *const *lines, const char *name, char separator, GPtrArray *ret_names)
{
	for (size_t i = 0; lines[i]; i++) {
		const char *part = strrchr(lines[i], separator);
		if (part && strcmp(lines[i], name) != 0)
			g_ptr_array_add(ret_names, g_strdup(part + 1));
	}
}

static int list(
    const char *const *argv, const char *name, char separator, GPtrArray *ret_names, Error **err)
{
	g_autofree char *output = NULL;
	gboolean there;
	if (seen_has(name, &there)) {
		g_auto(GStrv) own = there ? seen_below(name, separator) : g_new0(char *, 1);
		add_parts(own, name, separator, ret_names);
		return 0;
	}
	if (!zfs_exists(name))
		return 0;
	if (program_output(argv, &output, err) < 0)
		return -1;
	g_auto(GStrv) lines = g_strsplit(output, "\n", -1);
	add_parts(lines, name, separator, ret_names);
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

/* LXD and Incus hide a volume that nobody uses. */
static int show_device(const char *name, Error **err)
{
	g_autofree char *volume = g_strndup(name, strcspn(name, "@")), *mode = NULL;
	if (zfs_get(volume, "volmode", &mode, err) < 0)
		return -1;
	return strcmp(mode, "none") == 0 ? zfs_run(err, "zfs", "set", "volmode=dev", volume, NULL) :
					   0;
}

int zfs_device(const char *name, char **ret_device, Error **err)
{
	g_autofree char *device = g_strconcat("/dev/zvol/", name, NULL);
	g_autofree char *wanted = g_strconcat("--exit-if-exists=", device, NULL);
	if (access(device, F_OK) < 0) {
		if (show_device(name, err) < 0)
			return -1;
		spawn_simple(NULL, "udevadm", "settle", "--timeout=20", wanted, NULL);
	}
	if (access(device, F_OK) < 0)
		return error_set(err, ERROR_INTERNAL, "Device \"%s\" does not appear", device);
	*ret_device = g_steal_pointer(&device);
	return 0;
}
