#include "server/sys/process.h"
#include <errno.h>
#include <glib.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

uint64_t process_start_time(pid_t pid)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/stat", (int)pid);
	g_autofree char *text = NULL;
	if (!g_file_get_contents(path, &text, NULL, NULL))
		return 0;
	char *at = strrchr(text, ')'); /* the command's name may hold anything */
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	return at ? strtoull(at + 1, NULL, 10) : 0;
}

int process_open(pid_t pid, uint64_t start_time)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd >= 0 && process_start_time(pid) != start_time) {
		close(fd);
		return -1;
	}
	return fd;
}

int process_open_noted(const char *path)
{
	long long pid, start;
	g_autofree char *text = NULL;
	if (!g_file_get_contents(path, &text, NULL, NULL) ||
	    sscanf(text, "%lld %lld", &pid, &start) != 2)
		return -1;
	return process_open((pid_t)pid, (uint64_t)start);
}

int process_open_peer(int socket)
{
	int process = -1;
	socklen_t length = sizeof(process);
	return getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &process, &length) < 0 ? -1 : process;
}

int process_wait(int pidfd, int timeout_ms)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	gint64 end = g_get_monotonic_time() + timeout_ms * (gint64)1000;
	for (;;) {
		gint64 left = (end - g_get_monotonic_time() + 999) / 1000;
		int ready = poll(&p, 1, (int)MAX(left, 0));
		if (ready >= 0 || errno != EINTR)
			return ready > 0;
	}
}

int process_has_ended(int pidfd)
{
	return process_wait(pidfd, 0);
}

void process_end(int pidfd, int timeout_ms)
{
	syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, NULL, 0);
	if (process_wait(pidfd, timeout_ms))
		return;
	syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
	process_wait(pidfd, timeout_ms);
}
