/*
 * The serial channel in the guest. A virtio port tells by POLLHUP that nobody is connected on the
 * host, over and over, so poll() cannot wait there for the next host: an edge-triggered epoll does,
 * which the kernel wakes when that changes.
 */
#include "sdk/base/file.h"
#include "sdk/base/log.h"
#include "sdk/base/own.h"
#include "server/agent/agent.h"
#include "server/guest/link.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define BY_NAME "/dev/virtio-ports/" LINK_PORT_NAME
#define SYSFS "/sys/class/virtio-ports"

/* Without udev there is no link by the name, but /sys tells which device has it. */
static char *find_device(void)
{
	autodir DIR *dir = opendir(SYSFS);
	for (struct dirent *e; dir && (e = readdir(dir));) {
		g_autofree char *path = g_build_filename(SYSFS, e->d_name, "name", NULL);
		g_autofree char *name = NULL;
		if (e->d_name[0] == '.' ||
		    file_read(AT_FDCWD, path, FILE_LINKS_NONE, 256, &name, NULL, NULL) < 0)
			continue;
		if (g_str_equal(g_strchomp(name), LINK_PORT_NAME))
			return g_build_filename("/dev", e->d_name, NULL);
	}
	return NULL;
}

int port_open(const char *path, Error **err)
{
	g_autofree char *found = path ? g_strdup(path) : NULL;
	if (!found)
		found = access(BY_NAME, F_OK) == 0 ? g_strdup(BY_NAME) : find_device();
	if (!found)
		return error_set(err, ERROR_NOT_FOUND,
		    "This machine has no channel \"" LINK_PORT_NAME "\": it is not one of Incus's");
	int fd = open(found, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	return fd >= 0 ? fd : error_errno(err, ERROR_INTERNAL, errno, "Cannot open \"%s\"", found);
}

/* --- the next host --- */

static int wait_for_change(int watch)
{
	struct epoll_event event;
	int n;
	do
		n = epoll_wait(watch, &event, 1, -1);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -1 : 0;
}

/* A socket that ends has ended for good; a port waits for another host. */
static int ended(int port, int watch, Error **err)
{
	struct stat info;
	if (fstat(port, &info) < 0 || S_ISSOCK(info.st_mode))
		return error_set(err, ERROR_CANCELLED, "The channel was closed");
	if (wait_for_change(watch) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot wait for the channel");
	return 0;
}

/* More bytes from the port, waiting for them. */
static int read_more(LinkPair *link, int watch, Error **err)
{
	ssize_t n = read(link->port, link->in, sizeof(link->in));
	link->unread = link->in;
	link->n_unread = (size_t)MAX(n, 0);
	if (n > 0 || (n < 0 && errno == EINTR))
		return 0;
	if (n == 0)
		return ended(link->port, watch, err);
	if (errno != EAGAIN)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot read the channel");
	if (wait_for_change(watch) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot wait for the channel");
	return 0;
}

/* Reads up to a host's sync; what the last one was not able to use comes first. */
static int seek_host(LinkPair *link, int watch, Error **err)
{
	const uint8_t *data;
	size_t length;
	link->reader = (LinkReader){ 0 };
	while (
	    link_read(&link->reader, &link->unread, &link->n_unread, &data, &length) != LINK_SYNCED)
		if (!link->n_unread && read_more(link, watch, err) < 0)
			return -1;
	return 0;
}

/* The port may still say that the last host went when the next one's first bytes are here already:
 * that one waits for an answer, so it is not left out. */
static void write_all(int port, int watch, const uint8_t *bytes, size_t length)
{
	while (length > 0) {
		ssize_t n = write(port, bytes, length);
		if (n < 0 && errno == EAGAIN) {
			if (wait_for_change(watch) < 0)
				return;
			continue;
		}
		if (n < 0 && errno != EINTR)
			return;
		bytes += MAX(n, 0);
		length -= (size_t)MAX(n, 0);
	}
}

/* A connection to the gRPC server, and its bytes carried until the host goes. */
static int serve_host(LinkPair *link, int watch, Error **err)
{
	uint8_t sync[LINK_SYNC];
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot make a socket");
	autofd int plain = pair[0];
	door_add(pair[1]);
	link_sync(sync, link->reader.number);
	write_all(link->port, watch, sync, sizeof(sync));
	link->plain = plain;
	LinkEnd end = link_carry(link);
	log_info("Host went", "why", link_end_text(end));
	return 0;
}

int port_run(int port, Error **err)
{
	static const uint8_t zeros[LINK_ZEROS];
	g_autofree LinkPair *link = g_new0(LinkPair, 1);
	autofd int watch = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET };
	link->port = port;
	link->stop_fd = -1;
	fcntl(port, F_SETFL, fcntl(port, F_GETFL) | O_NONBLOCK);
	if (watch < 0 || epoll_ctl(watch, EPOLL_CTL_ADD, port, &event) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot watch the channel");
	/* A host that spoke with an agent before this one has to begin again. */
	struct pollfd p = { .fd = port, .events = POLLOUT };
	if (poll(&p, 1, 0) == 1 && !(p.revents & POLLHUP))
		write_all(port, watch, zeros, sizeof(zeros));
	for (;;) {
		if (seek_host(link, watch, err) < 0 || serve_host(link, watch, err) < 0)
			return -1;
		/* Bytes that the host did not mean for the next one. */
		if (link->reader.state == LINK_SEEKS)
			write_all(port, watch, zeros, sizeof(zeros));
	}
}
