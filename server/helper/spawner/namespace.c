#include "server/helper/spawner/spawner.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <linux/netlink.h>
#include <unistd.h>

unsigned long long pid_start_time(pid_t pid)
{
	char path[64], text[1024];
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	ssize_t got = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (got <= 0)
		return 0;
	text[got] = '\0';
	char *at = strrchr(text, ')'); /* the command's name may hold anything */
	unsigned long long start = 0;
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (at)
		start = strtoull(at + 1, NULL, 10);
	return start;
}

int note_write(const char *path)
{
	char text[64], fresh[4200];
	int length = snprintf(
	    text, sizeof(text), "%d %llu\n", (int)getpid(), pid_start_time(getpid()));
	snprintf(fresh, sizeof(fresh), "%s.new", path);
	int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || write(fd, text, (size_t)length) != length || close(fd) < 0)
		return -1;
	return rename(fresh, path);
}

int mntns_private(void)
{
	if (unshare(CLONE_NEWNS) < 0)
		return -1;
	return mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL);
}

/* Writes the lines of `kind` ('u' or 'g') in one write, as the kernel wants. */
static int write_map(pid_t pid, const char *file, char kind, const char *idmap)
{
	char path[64], text[4096];
	size_t length = 0;
	for (const char *line = idmap; line && *line;
	     line = strchr(line, '\n'), line += line != NULL) {
		size_t n = strcspn(line, "\n");
		if (line[0] != kind || n < 3)
			continue;
		if (length + n >= sizeof(text)) {
			errno = E2BIG;
			return -1;
		}
		memcpy(text + length, line + 2, n - 2);
		length += n - 2;
		text[length++] = '\n';
	}
	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t put = write(fd, text, length);
	close(fd);
	return put == (ssize_t)length ? 0 : -1;
}

int userns_open(const char *idmap)
{
	int ready[2], fd = -1;
	if (pipe2(ready, O_CLOEXEC) < 0)
		return -1;
	pid_t child = fork();
	if (child == 0) {
		char c = (char)(unshare(CLONE_NEWUSER) == 0);
		if (write(ready[1], &c, 1) == 1)
			pause();
		_exit(0);
	}
	char c = 0;
	close(ready[1]);
	if (child > 0 && read(ready[0], &c, 1) == 1 && c &&
	    write_map(child, "uid_map", 'u', idmap) == 0 &&
	    write_map(child, "gid_map", 'g', idmap) == 0) {
		char path[64];
		snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)child);
		fd = open(path, O_RDONLY | O_CLOEXEC);
	}
	int error = errno;
	close(ready[0]);
	if (child > 0) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	errno = error;
	return fd;
}

int namespaces_enter(int pidfd, int flags)
{
	if (setns(pidfd, flags) < 0) {
		/* A privileged container shares our user namespace: EINVAL for that one alone. */
		if (errno != EINVAL || !(flags & CLONE_NEWUSER) ||
		    setns(pidfd, flags & ~CLONE_NEWUSER) < 0)
			return -1;
	}
	if (!(flags & CLONE_NEWUSER))
		return 0;
	if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		return -1;
	return 0;
}

void job_netlink(Job *job)
{
	int pidfd = packet_take_fd(job->request, 1);
	if (setns(pidfd, CLONE_NEWNET) < 0)
		job_fail(job, errno, "Cannot enter the network namespace");
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (fd < 0)
		job_fail(job, errno, "Cannot open a netlink socket");
	Packet *packet = packet_new(0);
	packet_add_fd(packet, fd);
	job_answer(job, packet);
}
