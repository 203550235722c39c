#include "server/sys/sysctl.h"
#include "sdk/base/own.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static gboolean has_value(const char *path, const char *value)
{
	char present[32] = "";
	autofd int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, present, sizeof(present) - 1) : -1;
	return n > 0 && strcmp(g_strchomp(present), value) == 0;
}

static char *path_of(const char *format, va_list args)
{
	g_autofree char *name = g_strdup_vprintf(format, args);
	return g_strconcat("/proc/sys/", name, NULL);
}

int sysctl_set(const char *value, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	g_autofree char *path = path_of(format, args);
	va_end(args);
	if (has_value(path, value))
		return 0;
	autofd int fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd < 0 || write(fd, value, strlen(value)) < 0 ? -1 : 0;
}

gboolean sysctl_is(const char *value, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	g_autofree char *path = path_of(format, args);
	va_end(args);
	return has_value(path, value);
}
