#include "migrate/tool.h"
#include "sdk/base/own.h"
#include "sdk/base/unix_socket.h"
#include <errno.h>
#include <glib.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

char *tool_helper(const char *name)
{
	g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
	g_autofree char *folder = g_path_get_dirname(self ? self : "/usr/sbin/lxd-to-incus");
	g_autofree char *beside = g_build_filename(folder, name, NULL);
	g_autofree char *packaged = g_build_filename(folder, "..", "libexec", "incus", name, NULL);
	return g_file_test(beside, G_FILE_TEST_IS_EXECUTABLE) ?
	    g_steal_pointer(&beside) :
	    g_canonicalize_filename(packaged, NULL);
}

char *tool_moved_path(const char *path, const char *from, const char *to)
{
	size_t length = strlen(from);
	while (length > 1 && from[length - 1] == '/')
		length--;
	if (strncmp(path, from, length) != 0 || (path[length] != '/' && path[length] != 0))
		return NULL;
	return g_strconcat(to, path + length, NULL);
}

gboolean tool_within(const char *path, const char *folder)
{
	g_autofree char *moved = tool_moved_path(path, folder, "");
	return moved != NULL;
}

/* Connecting would start what systemd listens for, so the kernel's list is looked at first: inode
 * numbers are its last field but one, paths its last, flags say who listens. */
gboolean tool_listens(const char *socket_path)
{
	enum { ACCEPTS = 0x10000 };
	g_autofree char *text = NULL;
	unsigned flags;
	int path;
	if (!g_file_get_contents("/proc/net/unix", &text, NULL, NULL))
		text = g_strdup("");
	for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
		*end = 0;
		path = 0;
		if (sscanf(line, "%*s %*s %*s %x %*s %*s %*s %n", &flags, &path) == 1 && path &&
		    (flags & ACCEPTS) && strcmp(line + path, socket_path) == 0)
			return TRUE;
	}
	/* It may have been bound by another name. */
	autofd int fd = unix_connect(socket_path, 0);
	return fd >= 0;
}

gboolean tool_has_unit(const char *name)
{
	static const char *const folders[] = { "/etc/systemd/system", "/run/systemd/system",
		"/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system" };
	for (size_t i = 0; i < G_N_ELEMENTS(folders); i++) {
		g_autofree char *path = g_build_filename(folders[i], name, NULL);
		if (g_file_test(path, G_FILE_TEST_EXISTS))
			return TRUE;
	}
	return FALSE;
}

static volatile sig_atomic_t stop_signal;

static void note_signal(int number)
{
	stop_signal = number;
}

void tool_watch_signals(void)
{
	static const int watched[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction action = { .sa_handler = note_signal, .sa_flags = SA_RESTART };
	for (size_t i = 0; i < G_N_ELEMENTS(watched); i++)
		sigaction(watched[i], &action, NULL);
	signal(SIGPIPE, SIG_IGN);
}

int tool_check_stop(Error **err)
{
	return stop_signal ? error_set(err, ERROR_CANCELLED, "Stopped by signal %d (%s)",
				 (int)stop_signal, strsignal(stop_signal)) :
			     0;
}
