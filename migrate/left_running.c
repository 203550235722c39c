#include "migrate/left_running.h"
#include "sdk/base/log.h"
#include "sdk/base/spawn.h"
#include <string.h>
#include <sys/stat.h>

/* A container's monitor is called "[lxc monitor] DIR/containers NAME". */
static const char *monitor_name(const char *line, const char *directory)
{
	g_autofree char *title = g_strdup_printf("[lxc monitor] %s/containers ", directory);
	return g_str_has_prefix(line, title) ? line + strlen(title) : NULL;
}

/* QEMU of a virtual machine: `qemu-system-x86_64 -S -name NAME ... -pidfile DIR/logs/NAME/...`;
 * `line` has its words one after the other, each ended by a NUL. */
static const char *machine_name(const char *line, gsize length, const char *directory)
{
	g_autofree char *folder = g_strconcat(directory, "/", NULL);
	const char *program = strrchr(line, '/') ? strrchr(line, '/') + 1 : line;
	if (!g_str_has_prefix(program, "qemu-system-") ||
	    !memmem(line, length, folder, strlen(folder)))
		return NULL;
	for (const char *at = line; at < line + length; at += strlen(at) + 1)
		if (strcmp(at, "-name") == 0 && at + strlen("-name") + 1 < line + length)
			return at + strlen("-name") + 1;
	return program;
}

/* A process that names this directory may see another one there: of a copy that is looked at LXD's
 * records name the first one, which may have its own LXD. */
static gboolean is_there(const Source *source, pid_t pid, const char *directory)
{
	struct stat seen, here;
	g_autofree char *path = g_strdup_printf("/proc/%d/root%s", (int)pid, directory);
	return stat(path, &seen) < 0 || stat(source->directory, &here) < 0 ||
	    (seen.st_dev == here.st_dev && seen.st_ino == here.st_ino);
}

/* Calls `take` with the words of each process (one after the other, each ended by a NUL). */
static void each_process(
    void (*take)(const Source *source, pid_t pid, const char *line, gsize length, void *data),
    const Source *source, void *data)
{
	g_autoptr(GDir) proc = g_dir_open("/proc", 0, NULL);
	for (const char *pid; proc && (pid = g_dir_read_name(proc));) {
		g_autofree char *path = g_build_filename("/proc", pid, "cmdline", NULL);
		g_autofree char *line = NULL;
		gsize length = 0;
		if (g_ascii_isdigit(*pid) && g_file_get_contents(path, &line, &length, NULL) &&
		    length > 0)
			take(source, (pid_t)g_ascii_strtoll(pid, NULL, 10), line, length, data);
	}
}

/* The directory as processes may name it; ended by NULL. */
static void directories(const Source *source, const char *ret[4])
{
	ret[0] = source->directory;
	ret[1] = source->named;
	ret[2] = source->recorded;
	ret[3] = NULL;
}

/* ---- instances ---- */

static void take_instance(
    const Source *source, pid_t pid, const char *line, gsize length, void *data)
{
	const char *names[4], *name = NULL;
	GString *all = data;
	directories(source, names);
	for (size_t i = 0; names[i] && !name; i++) {
		name = monitor_name(line, names[i]);
		if (!name)
			name = machine_name(line, length, names[i]);
		if (name && !is_there(source, pid, names[i]))
			name = NULL;
	}
	if (name)
		g_string_append_printf(
		    all, "%s%.*s", all->len ? ", " : "", (int)strcspn(name, " "), name);
}

char *left_running(const Source *source)
{
	GString *names = g_string_new(NULL);
	each_process(take_instance, source, names);
	return g_string_free(names, names->len == 0);
}

/* ---- helpers ---- */

/* `dnsmasq ... --dhcp-hostsfile=DIR/networks/NAME/dnsmasq.hosts`, `lxd forkproxy ...
 * DIR/devices/...`
 */
static gboolean is_helper(const char *line, gsize length, const char *directory)
{
	static const char *const commands[] = { "forkproxy", "forkdns", NULL };
	const char *program = strrchr(line, '/') ? strrchr(line, '/') + 1 : line;
	const char *second = line + strlen(line) + 1;
	gboolean lxd = strcmp(program, "lxd") == 0 && second < line + length &&
	    g_strv_contains(commands, second);
	g_autofree char *folder = g_strconcat(directory, lxd ? "/" : "/networks/", NULL);
	return (lxd || strcmp(program, "dnsmasq") == 0) &&
	    memmem(line, length, folder, strlen(folder));
}

static void take_helper(const Source *source, pid_t pid, const char *line, gsize length, void *data)
{
	enum { PATIENCE_MS = 5000 };
	const char *names[4];
	gboolean helper = FALSE;
	directories(source, names);
	for (size_t i = 0; names[i] && !helper; i++)
		helper = is_helper(line, length, names[i]) && is_there(source, pid, names[i]);
	if (!helper)
		return;
	log_info("LXD left this process: it is ended", "program", line);
	spawn_stop(pid, PATIENCE_MS);
}

void left_helpers_end(const Source *source)
{
	each_process(take_helper, source, NULL);
}
