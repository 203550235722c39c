#include "server/helper/spawner/proxy.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 1024 };

static int parse_local(const char *name, int abstract, Address *ret)
{
	struct sockaddr_un *local = (struct sockaddr_un *)&ret->socket;
	size_t length = strlen(name);
	local->sun_family = AF_UNIX;
	if (length == 0 || length + 1 > sizeof(local->sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(local->sun_path + abstract, name, length);
	ret->kind = ADDRESS_UNIX;
	ret->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
	if (abstract) /* its length counts, and no NUL ends it */
		ret->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length);
	return 0;
}

static int parse_internet(AddressKind kind, const char *host, const char *port, Address *ret)
{
	struct sockaddr_in *four = (struct sockaddr_in *)&ret->socket;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)&ret->socket;
	in_port_t number = htons((uint16_t)strtoul(port, NULL, 10));
	ret->kind = kind;
	if (inet_pton(AF_INET, host, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = number;
		ret->length = sizeof(*four);
		return 0;
	}
	if (inet_pton(AF_INET6, host, &six->sin6_addr) == 1) {
		six->sin6_family = AF_INET6;
		six->sin6_port = number;
		ret->length = sizeof(*six);
		return 0;
	}
	errno = EINVAL;
	return -1;
}

int address_parse(const char *text, Address *ret)
{
	char kind[16], host[64], port[8];
	memset(ret, 0, sizeof(*ret));
	if (strncmp(text, "unix ", 5) == 0)
		return parse_local(text + 5, 0, ret);
	if (strncmp(text, "abstract ", 9) == 0)
		return parse_local(text + 9, 1, ret);
	if (sscanf(text, "%15s %63s %7s", kind, host, port) == 3)
		return parse_internet(
		    strcmp(kind, "udp") == 0 ? ADDRESS_UDP : ADDRESS_TCP, host, port, ret);
	errno = EINVAL;
	return -1;
}

const char *address_path(const Address *address)
{
	const struct sockaddr_un *local = (const struct sockaddr_un *)&address->socket;
	return address->kind == ADDRESS_UNIX && local->sun_path[0] ? local->sun_path : NULL;
}

/* A socket file that nobody listens at any more is in the way of a new one. */
static void remove_stale(const Address *address)
{
	struct stat st;
	const char *path = address_path(address);
	if (!path || lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 &&
	    connect(fd, (const struct sockaddr *)&address->socket, address->length) < 0 &&
	    errno == ECONNREFUSED)
		unlink(path);
	close(fd);
}

static void set_options(int fd, const Address *address)
{
	int on = 1, off = 0;
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)&address->socket;
	if (address->kind == ADDRESS_TCP)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	/* "::" is every address of both families. */
	if (six->sin6_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&six->sin6_addr))
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
}

static int own_file(const char *path, const SocketOwner *owner)
{
	return fchownat(AT_FDCWD, path, owner->uid, owner->gid, AT_SYMLINK_NOFOLLOW) < 0 ?
	    -1 :
	    chmod(path, owner->mode);
}

static int bind_and_listen(int fd, const Address *address, const SocketOwner *owner)
{
	const char *path = address_path(address);
	remove_stale(address);
	mode_t mask = umask(0177);
	int result = bind(fd, (const struct sockaddr *)&address->socket, address->length);
	umask(mask);
	if (result < 0 || (path && own_file(path, owner) < 0))
		return -1;
	return address->kind == ADDRESS_UDP ? 0 : listen(fd, BACKLOG);
}

int address_listen(const Address *address, const SocketOwner *owner)
{
	int type = address->kind == ADDRESS_UDP ? SOCK_DGRAM : SOCK_STREAM;
	int fd = socket(address->socket.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	set_options(fd, address);
	if (bind_and_listen(fd, address, owner) == 0)
		return fd;
	int error = errno;
	close(fd);
	errno = error;
	return -1;
}
