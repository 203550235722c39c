#include "migrate/left_running.h"
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

/* Of a copy that is looked at LXD's records name another directory, which may have its own LXD. */
static gboolean is_elsewhere(const Source *source)
{
	struct stat recorded, here;
	return stat(source->recorded, &recorded) == 0 && stat(source->directory, &here) == 0 &&
	    (recorded.st_dev != here.st_dev || recorded.st_ino != here.st_ino);
}

static char *instance_of(const Source *source, const char *line, gsize length)
{
	const char *const directories[] = { source->directory, source->named,
		is_elsewhere(source) ? NULL : source->recorded };
	for (size_t i = 0; i < G_N_ELEMENTS(directories) && directories[i]; i++) {
		const char *name = monitor_name(line, directories[i]);
		if (!name)
			name = machine_name(line, length, directories[i]);
		if (name)
			return g_strndup(name, strcspn(name, " "));
	}
	return NULL;
}

char *left_running(const Source *source)
{
	GString *names = g_string_new(NULL);
	g_autoptr(GDir) proc = g_dir_open("/proc", 0, NULL);
	for (const char *pid; proc && (pid = g_dir_read_name(proc));) {
		g_autofree char *path = g_build_filename("/proc", pid, "cmdline", NULL);
		g_autofree char *line = NULL;
		gsize length = 0;
		if (!g_ascii_isdigit(*pid) || !g_file_get_contents(path, &line, &length, NULL) ||
		    length == 0)
			continue;
		g_autofree char *name = instance_of(source, line, length);
		if (name)
			g_string_append_printf(names, "%s%s", names->len ? ", " : "", name);
	}
	return g_string_free(names, names->len == 0);
}
