#include "server/rpc/address.h"
#include "sdk/base/own.h"
#include "sdk/base/unix_socket.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum { BACKLOG = 1024 };

/* Splits into host (without brackets; "" for the wildcard) and port. */
static void split_with(const char *address, int default_port, char **ret_host, char **ret_port)
{
	const char *colon = strrchr(address, ':');
	const char *bracket = strrchr(address, ']');
	gboolean bare6 = *address != '[' && colon && strchr(address, ':') != colon;
	if (colon && !bare6 && (!bracket || colon > bracket)) {
		*ret_host = g_strndup(address, (size_t)(colon - address));
		*ret_port = g_strdup(colon + 1);
	} else {
		*ret_host = g_strdup(address);
		*ret_port = g_strdup_printf("%d", default_port);
	}
	size_t length = strlen(*ret_host);
	if (**ret_host == '[' && length > 1 && (*ret_host)[length - 1] == ']') {
		memmove(*ret_host, *ret_host + 1, length - 2);
		(*ret_host)[length - 2] = 0;
	}
}

static void split(const char *address, char **ret_host, char **ret_port)
{
	split_with(address, ADDRESS_DEFAULT_PORT, ret_host, ret_port);
}

static char *join(const char *host, const char *port)
{
	return strchr(host, ':') ? g_strdup_printf("[%s]:%s", host, port) :
				   g_strdup_printf("%s:%s", host, port);
}

static char *format(const struct sockaddr *address, socklen_t length)
{
	char host[NI_MAXHOST], port[NI_MAXSERV];
	if (getnameinfo(address, length, host, sizeof(host), port, sizeof(port),
		NI_NUMERICHOST | NI_NUMERICSERV))
		return g_strdup("");
	const char *plain = g_str_has_prefix(host, "::ffff:") ? host + strlen("::ffff:") : host;
	return join(plain, port);
}

char *address_of_peer(int fd)
{
	struct sockaddr_storage address;
	socklen_t length = sizeof(address);
	int one = 1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	if (getpeername(fd, (struct sockaddr *)&address, &length) < 0)
		return g_strdup("");
	return format((struct sockaddr *)&address, length);
}

char *address_of_socket(int fd)
{
	struct sockaddr_storage address;
	socklen_t length = sizeof(address);
	if (getsockname(fd, (struct sockaddr *)&address, &length) < 0)
		return g_strdup("");
	return format((struct sockaddr *)&address, length);
}

void address_prepare_inherited(int fd)
{
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

char *address_complete(const char *address, int port)
{
	g_autofree char *host = NULL, *service = NULL;
	split_with(address, port, &host, &service);
	return join(host, service);
}

gboolean address_equal(const char *a, const char *b)
{
	g_autofree char *host_a = NULL, *port_a = NULL, *host_b = NULL, *port_b = NULL;
	split(a, &host_a, &port_a);
	split(b, &host_b, &port_b);
	const char *any_a = *host_a ? host_a : "::", *any_b = *host_b ? host_b : "::";
	return !strcmp(any_a, any_b) && !strcmp(port_a, port_b);
}

gboolean address_same_port(const char *a, const char *b)
{
	g_autofree char *host_a = NULL, *port_a = NULL, *host_b = NULL, *port_b = NULL;
	split(a, &host_a, &port_a);
	split(b, &host_b, &port_b);
	return !strcmp(port_a, port_b);
}

static int bind_one(const struct addrinfo *info, int *ret_fd)
{
	autofd int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int one = 1, zero = 0;
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (info->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	if (bind(fd, info->ai_addr, info->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
		return -1;
	*ret_fd = own_steal_fd(&fd);
	return 0;
}

int address_listen(const char *address, int *ret_fd, char **ret_bound, Error **err)
{
	g_autofree char *host = NULL, *port = NULL;
	/* Not AI_ADDRCONFIG: 127.0.0.1 would be refused while IPv6 alone is set up. */
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *list;
	split(address, &host, &port);
	gboolean any = !*host || !strcmp(host, "::");
	int problem = getaddrinfo(any ? "::" : host, port, &hints, &list);
	if (problem)
		return error_set(err, ERROR_INVALID, "Failed to resolve \"%s\": %s", address,
		    gai_strerror(problem));
	int result = -1;
	for (struct addrinfo *info = list; info && result < 0; info = info->ai_next)
		result = bind_one(info, ret_fd);
	int saved = errno;
	freeaddrinfo(list);
	if (result < 0 && any && saved == EAFNOSUPPORT) {
		g_autofree char *plain = g_strdup_printf("0.0.0.0:%s", port);
		return address_listen(plain, ret_fd, ret_bound, err);
	}
	if (result < 0)
		return error_errno(
		    err, ERROR_INVALID, saved, "Failed to listen on \"%s\"", address);
	*ret_bound = address_of_socket(*ret_fd);
	return 0;
}

/* A socket file without a daemon behind it is left over from a crash. */
static int clear_stale(const char *path, Error **err)
{
	autofd int fd = unix_connect(path, 0);
	if (fd >= 0)
		return error_set(
		    err, ERROR_EXISTS, "Another daemon is already running on \"%s\"", path);
	if (errno == ENAMETOOLONG)
		return error_set(err, ERROR_INVALID, "Socket path \"%s\" is longer than %d bytes",
		    path, UNIX_PATH_MOST);
	if (errno != ENOENT && unlink(path) < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Failed to remove the old socket \"%s\"", path);
	return 0;
}

static int group_id(const char *name, gid_t *ret_gid, Error **err)
{
	char buffer[16384];
	struct group entry, *found = NULL;
	getgrnam_r(name, &entry, buffer, sizeof(buffer), &found);
	if (!found)
		return error_set(err, ERROR_NOT_FOUND, "Group \"%s\" not found", name);
	*ret_gid = found->gr_gid;
	return 0;
}

int address_listen_unix(const char *path, const char *group, int *ret_fd, Error **err)
{
	gid_t gid = (gid_t)-1;
	if ((group && group_id(group, &gid, err) < 0) || clear_stale(path, err) < 0)
		return -1;
	autofd int fd = unix_bind(path, SOCK_NONBLOCK);
	if (fd < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Failed to bind \"%s\"", path);
	if (chown(path, (uid_t)-1, gid) < 0 || chmod(path, 0660) < 0 || listen(fd, BACKLOG) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Failed to set up \"%s\"", path);
	*ret_fd = own_steal_fd(&fd);
	return 0;
}

static gboolean is_global(const struct ifaddrs *entry)
{
	if (!entry->ifa_addr || (entry->ifa_flags & IFF_LOOPBACK) || !(entry->ifa_flags & IFF_UP))
		return FALSE;
	if (entry->ifa_addr->sa_family == AF_INET)
		return TRUE;
	return entry->ifa_addr->sa_family == AF_INET6 &&
	       !IN6_IS_ADDR_LINKLOCAL(&((struct sockaddr_in6 *)entry->ifa_addr)->sin6_addr);
}

char **address_reachable(const char *bound)
{
	g_autofree char *host = NULL, *port = NULL;
	g_autoptr(GPtrArray) list = g_ptr_array_new();
	struct ifaddrs *interfaces = NULL;
	split(bound, &host, &port);
	gboolean any4 = !strcmp(host, "0.0.0.0"), any6 = !strcmp(host, "::") || !*host;
	if (!any4 && !any6)
		g_ptr_array_add(list, g_strdup(bound));
	else if (getifaddrs(&interfaces) == 0)
		for (struct ifaddrs *i = interfaces; i; i = i->ifa_next) {
			char text[NI_MAXHOST];
			if (!is_global(i) || (any4 && i->ifa_addr->sa_family == AF_INET6))
				continue;
			socklen_t length = i->ifa_addr->sa_family == AF_INET ?
			    sizeof(struct sockaddr_in) :
			    sizeof(struct sockaddr_in6);
			if (getnameinfo(i->ifa_addr, length, text, sizeof(text), NULL, 0,
				NI_NUMERICHOST) == 0)
				g_ptr_array_add(list, join(text, port));
		}
	if (interfaces)
		freeifaddrs(interfaces);
	g_ptr_array_add(list, NULL);
	return (char **)g_ptr_array_free(g_steal_pointer(&list), FALSE);
}
