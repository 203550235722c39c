/* A virtual machine's serial console: a terminal of QEMU's, and the file it writes beside it. */
#include "server/instance/vm.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Guests write as much as they like; the end is what people look for. */
enum { LOG_KEPT = 1 << 20, LOG_MOST = 4 << 20 };

static int find_terminal(Instance *i, char **ret_path, Error **err)
{
	static const char mark[] = "<console type='pty' tty='";
	g_auto(VmHandle) vm = { 0 };
	if (vm_open(i, &vm, err) < 0)
		return -1;
	char *xml = vm.link.lv->domain_xml(vm.domain, 0);
	const char *at = xml ? strstr(xml, mark) : NULL;
	if (at)
		*ret_path = g_strndup(at + strlen(mark), strcspn(at + strlen(mark), "'"));
	free(xml);
	return at ? 0 : error_set(err, ERROR_INTERNAL, "The virtual machine has no serial console");
}

int vm_console_open(Instance *i, Console *ret_console, Error **err)
{
	g_autofree char *path = NULL;
	if (find_terminal(i, &path, err) < 0)
		return -1;
	autofd int fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot open \"%s\"", path);
	/* Two readers would each get a part of it. The lock goes with the descriptor. */
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return error_set(
		    err, ERROR_BUSY, "There is already an active console for this instance");
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	ret_console->terminal = own_steal_fd(&fd);
	ret_console->keep_alive = -1;
	return 0;
}

static char *log_path(Instance *i)
{
	g_autofree char *logs = instance_log_path(i);
	return g_build_filename(logs, "console.log", NULL);
}

static void trim(const char *path)
{
	struct stat st;
	g_autofree char *kept = g_malloc(LOG_KEPT);
	autofd int fd = open(path, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size <= LOG_MOST)
		return;
	ssize_t n = pread(fd, kept, LOG_KEPT, st.st_size - LOG_KEPT);
	/* Who writes there appends, whatever the length is. */
	if (n > 0 && ftruncate(fd, 0) == 0)
		file_write_all(fd, kept, (size_t)n);
}

void vm_logs_trim(Instance *i)
{
	guint n;
	g_autofree char *console = log_path(i);
	g_autofree char *logs = instance_log_path(i);
	g_autoptr(GHashTable) devices = instance_expanded_devices(i);
	g_autofree const char **names = device_sorted(devices, &n);
	trim(console);
	for (guint k = 0; k < n; k++) {
		g_autofree char *share = device_share_path(devices_get(devices, names[k]));
		g_autofree char *file = share ? device_share_log(names[k]) : NULL;
		g_autofree char *path = file ? g_build_filename(logs, file, NULL) : NULL;
		if (path)
			trim(path);
	}
}

int vm_console_log(Instance *i, gboolean clear, int *ret_fd, uint64_t *ret_size, Error **err)
{
	struct stat st;
	g_autofree char *path = log_path(i);
	if (clear)
		return 0; /* the file is, which the caller does */
	autofd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot read \"%s\"", path);
	*ret_size = (uint64_t)st.st_size;
	*ret_fd = own_steal_fd(&fd);
	return 0;
}
