/* Folders of the host: virtiofs devices, mounted where the host says. */
#include "incus/v1/agent_handlers.h"
#include "sdk/base/own.h"
#include "server/agent/figures.h"
#include <errno.h>
#include <linux/netlink.h>
#include <poll.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>

enum { PATIENCE_MAX_MS = 60000 };

static int check(const Pb__AgentMount *in, Error **err)
{
	if (*in->tag && *in->path == '/' && in->path[1])
		return 0;
	return error_set(err, ERROR_INVALID, "\"%s\" is no place for a folder", in->path);
}

/* Blanks are "\040" in mountinfo, and so forth. */
static char *escape(const char *path)
{
	GString *s = g_string_new(NULL);
	for (; *path; path++)
		if (strchr(" \t\n\\", *path))
			g_string_append_printf(s, "\\%03o", (unsigned)(unsigned char)*path);
		else
			g_string_append_c(s, *path);
	return g_string_free(s, FALSE);
}

/* "36 35 0:32 / /PATH rw,... - virtiofs TAG rw". */
static gboolean is_mounted(const Pb__AgentMount *in)
{
	g_autofree char *text = figures_read("/proc/self/mountinfo");
	g_autofree char *canonical = g_canonicalize_filename(in->path, "/");
	g_autofree char *path = escape(canonical);
	g_autofree char *place = g_strdup_printf(" / %s ", path);
	g_autofree char *source = g_strdup_printf(" - virtiofs %s ", in->tag);
	g_auto(GStrv) lines = g_strsplit(text ? text : "", "\n", -1);
	for (char **line = lines; *line; line++)
		if (strstr(*line, place) && strstr(*line, source))
			return TRUE;
	return FALSE;
}

/* The kernel tells here of devices that come and of drivers that take them. */
static int open_events(void)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	int fd = socket(
	    AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
	if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	own_close_fd(&fd);
	return -1;
}

static gboolean wait_event(int events, gint64 until)
{
	char text[8192];
	gint64 left_ms = (until - g_get_monotonic_time()) / 1000;
	struct pollfd p = { .fd = events, .events = POLLIN };
	if (events < 0 || left_ms <= 0 || poll(&p, 1, (int)left_ms) == 0)
		return FALSE;
	while (recv(events, text, sizeof(text), 0) > 0)
		;
	return TRUE;
}

/* EINVAL: there is no such device (yet). */
static int mount_folder(const Pb__AgentMount *in, Error **err)
{
	autofd int events = in->patience_ms ? open_events() : -1;
	gint64 until = g_get_monotonic_time() +
	    MIN(in->patience_ms, PATIENCE_MAX_MS) * (gint64)1000;
	do
		if (mount(in->tag, in->path, "virtiofs", in->readonly ? MS_RDONLY : 0, NULL) == 0)
			return 0;
	while (errno == EINVAL && wait_event(events, until));
	if (errno == ENODEV)
		return error_set(
		    err, ERROR_UNSUPPORTED, "The guest's kernel does not know virtiofs");
	if (errno == EINVAL)
		return error_set(err, ERROR_NOT_FOUND, "There is no device of it");
	return error_errno(err, ERROR_INTERNAL, errno, "Cannot mount on \"%s\"", in->path);
}

int agent_mount(Request *rq, const Pb__AgentMount *in, Google__Protobuf__Empty *out, Error **err)
{
	if (check(in, err) < 0)
		return -1;
	if (is_mounted(in))
		return 0;
	if (g_mkdir_with_parents(in->path, 0755) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot make \"%s\"", in->path);
	return mount_folder(in, err);
}

int agent_unmount(Request *rq, const Pb__AgentMount *in, Google__Protobuf__Empty *out, Error **err)
{
	if (check(in, err) < 0)
		return -1;
	if (!is_mounted(in) || umount2(in->path, UMOUNT_NOFOLLOW) == 0)
		return 0;
	return error_errno(err, errno == EBUSY ? ERROR_BUSY : ERROR_INTERNAL, errno,
	    "Cannot unmount \"%s\"", in->path);
}
