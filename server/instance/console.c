#include "server/instance/console.h"
#include "sdk/base/own.h"
#include "server/helper/client.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>

/* Both console requests name the container as liblxc knows it. */
static Packet *request(Instance *instance, SpawnOp op)
{
	g_autofree char *name = instance_file_name(instance);
	g_autofree char *lxcpath = instance_lxcpath(instance_daemon(instance));
	Packet *packet = packet_new(op);
	packet_add(packet, name);
	packet_add(packet, lxcpath);
	return packet;
}

int console_open(Instance *instance, Console *ret_console, Error **err)
{
	if (!instance_running(instance))
		return error_set(err, ERROR_INVALID, "Instance is not running");
	if (instance_status(instance) == INSTANCE_FROZEN)
		return error_set(err, ERROR_INVALID, "Instance is frozen");
	g_autoptr(Packet) answer = NULL;
	if (spawner_call(instance_daemon(instance)->spawner, request(instance, SPAWN_CONSOLE), NULL,
	        &answer, err) < 0)
		return error_prefix(err, "Failed to open the console");
	ret_console->terminal = packet_take_fd(answer, 0);
	ret_console->keep_alive = packet_take_fd(answer, 1);
	ret_console->sized = packet_take_fd(answer, 2);
	return 0;
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

static int log_file_open(Instance *instance, int flags)
{
	g_autofree char *folder = instance_log_path(instance);
	g_autofree char *path = g_build_filename(folder, "console.log", NULL);
	return open(path, flags | O_CLOEXEC | O_NOFOLLOW);
}

int console_log_open(Instance *instance, int *ret_fd, uint64_t *ret_size, Error **err)
{
	if (instance_running(instance)) {
		g_autoptr(Packet) answer = NULL;
		if (spawner_call(instance_daemon(instance)->spawner,
		        request(instance, SPAWN_CONSOLE_LOG), NULL, &answer, err) < 0)
			return error_prefix(err, "Failed to read the console's log");
		*ret_fd = packet_take_fd(answer, 0);
		*ret_size = (uint64_t)answer->n[0];
		return 0;
	}
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
	if (instance_running(instance)) {
		g_autoptr(Packet) answer = NULL;
		Packet *packet = request(instance, SPAWN_CONSOLE_LOG);
		packet->n[0] = 1;
		if (spawner_call(instance_daemon(instance)->spawner, packet, NULL, &answer, err) <
		    0)
			return error_prefix(err, "Failed to clear the console's log");
	}
	autofd int fd = log_file_open(instance, O_WRONLY | O_TRUNC);
	if (fd < 0 && errno != ENOENT)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot clear the console's log");
	return 0;
}
