#include "sdk/base/unix_socket.h"
#include "sdk/base/own.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

/* A new socket and its address. */
static int unix_socket(const char *path, int flags, struct sockaddr_un *ret_address)
{
	_Static_assert(UNIX_PATH_MOST == sizeof(ret_address->sun_path) - 1, "a path and its end");
	size_t length = strlen(path);
	*ret_address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (length > UNIX_PATH_MOST) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(ret_address->sun_path, path, length);
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
}

int unix_connect(const char *path, int flags)
{
	struct sockaddr_un address;
	autofd int fd = unix_socket(path, flags, &address);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -1;
	return own_steal_fd(&fd);
}

int unix_bind(const char *path, int flags)
{
	struct sockaddr_un address;
	autofd int fd = unix_socket(path, flags, &address);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -1;
	return own_steal_fd(&fd);
}
