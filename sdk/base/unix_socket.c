#include "sdk/base/unix_socket.h"
#include "sdk/base/own.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

int unix_connect(const char *path, int flags)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_Static_assert(UNIX_PATH_MOST == sizeof(address.sun_path) - 1, "a path and its end");
	size_t length = strlen(path);
	if (length > UNIX_PATH_MOST) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(address.sun_path, path, length);
	autofd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -1;
	return own_steal_fd(&fd);
}
