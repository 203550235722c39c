#include "server/instance/console.h"
#include "sdk/base/own.h"
#include "server/instance/driver.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>

int console_open(Instance *instance, Console *ret_console, Error **err)
{
	if (!instance_running(instance))
		return error_set(err, ERROR_INVALID, "Instance is not running");
	if (instance_status(instance) == INSTANCE_FROZEN)
		return error_set(err, ERROR_INVALID, "Instance is frozen");
	return instance_driver(instance)->console_open(instance, ret_console, err) < 0 ?
	    error_prefix(err, "Failed to open the console") :
	    0;
}

void console_close(Console *console)
{
	if (console->terminal >= 0)
		close(console->terminal);
	if (console->keep_alive >= 0)
		close(console->keep_alive);
	if (console->sized >= 0)
		close(console->sized);
	console->terminal = console->keep_alive = console->sized = -1;
}

void console_resize(Console *console, int columns, int rows)
{
	struct winsize size = {.ws_col = (unsigned short)CLAMP(columns, 0, 65535),
	    .ws_row = (unsigned short)CLAMP(rows, 0, 65535)};
	if (columns > 0 && rows > 0)
		ioctl(console->sized, TIOCSWINSZ, &size);
}

int screen_check(Instance *instance, Error **err)
{
	if (!instance_driver(instance)->screen_open)
		return error_set(
		    err, ERROR_INVALID, "VGA console is only supported by virtual machines");
	return instance_running(instance) ?
	    0 :
	    error_set(err, ERROR_INVALID, "Instance is not running");
}

int screen_open(Instance *instance, Console *ret_console, Error **err)
{
	if (screen_check(instance, err) < 0)
		return -1;
	return instance_driver(instance)->screen_open(instance, &ret_console->terminal, err);
}

int screen_shot(Instance *instance, int *ret_fd, uint64_t *ret_size, Error **err)
{
	if (screen_check(instance, err) < 0)
		return -1;
	return instance_driver(instance)->screen_shot(instance, ret_fd, ret_size, err);
}

static int log_file_open(Instance *instance, int flags)
{
	g_autofree char *folder = instance_log_path(instance);
	g_autofree char *path = g_build_filename(folder, "console.log", NULL);
	return open(path, flags | O_CLOEXEC | O_NOFOLLOW);
}

int console_log_open(Instance *instance, int *ret_fd, uint64_t *ret_size, Error **err)
{
	if (instance_running(instance))
		return instance_driver(instance)->console_log(
			   instance, FALSE, ret_fd, ret_size, err) < 0 ?
		    error_prefix(err, "Failed to read the console's log") :
		    0;
	struct stat st;
	autofd int fd = log_file_open(instance, O_RDONLY);
	if (fd < 0 && errno == ENOENT)
		return error_set(err, ERROR_NOT_FOUND, "The instance has no console log");
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot read the console's log");
	*ret_size = (uint64_t)st.st_size;
	*ret_fd = own_steal_fd(&fd);
	return 0;
}

int console_log_clear(Instance *instance, Error **err)
{
	if (instance_running(instance) &&
	    instance_driver(instance)->console_log(instance, TRUE, NULL, NULL, err) < 0)
		return error_prefix(err, "Failed to clear the console's log");
	autofd int fd = log_file_open(instance, O_WRONLY | O_TRUNC);
	if (fd < 0 && errno != ENOENT)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot clear the console's log");
	return 0;
}
