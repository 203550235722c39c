#include "server/helper/spawner/spawner.h"
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

int host_proc = -1;

int pidfd_open_pid(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

int fd_reopen(int fd, int flags)
{
	char path[48];
	snprintf(path, sizeof(path), "self/fd/%d", fd);
	return openat(host_proc, path, flags | O_CLOEXEC);
}
