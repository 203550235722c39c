#include "cli/screen.h"
#include "cli/interrupt.h"
#include "cli/stream.h"
#include "incus/v1/console.pb-c.h"
#include "sdk/base/own.h"
#include "sdk/base/spawn.h"
#include "sdk/base/unix_socket.h"
#include <errno.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- one connection of a viewer ---- */

typedef struct Connection {
	Stream *stream;
	int socket;
	GThread *thread;
} Connection;

static Stream *open_screen(const Object *instance, Error **err)
{
	Pb__InstanceConsolePost post = PB__INSTANCE_CONSOLE_POST__INIT;
	Pb__ConsoleInstanceRequest request = PB__CONSOLE_INSTANCE_REQUEST__INIT;
	Pb__ConsoleInstanceInput start = PB__CONSOLE_INSTANCE_INPUT__INIT;
	post.type = (char *)"vga";
	request.name = (char *)instance->name;
	request.project = (char *)(instance->server->project ? instance->server->project : "");
	request.console = &post;
	start.message_case = PB__CONSOLE_INSTANCE_INPUT__MESSAGE_START;
	start.start = &request;
	return stream_open(instance->server, "ConsoleInstance", &start.base, err);
}

static int send_bytes(Stream *stream, const uint8_t *bytes, size_t length)
{
	Pb__ConsoleInstanceInput in = PB__CONSOLE_INSTANCE_INPUT__INIT;
	in.message_case = PB__CONSOLE_INSTANCE_INPUT__MESSAGE_DATA;
	in.data = (ProtobufCBinaryData){ length, (uint8_t *)bytes };
	return stream_send(stream, &in.base, NULL);
}

static ProtobufCBinaryData received(const ProtobufCMessage *message)
{
	const Pb__ConsoleInstanceOutput *out = (const Pb__ConsoleInstanceOutput *)message;
	return out->message_case == PB__CONSOLE_INSTANCE_OUTPUT__MESSAGE_DATA ?
	    out->data :
	    (ProtobufCBinaryData){ 0 };
}

static const StreamBytes screen_bytes = { send_bytes, received };

static gpointer serve_connection(gpointer data)
{
	Connection *connection = data;
	g_autoptr(Error) problem = NULL;
	if (stream_relay(connection->stream, connection->socket, &screen_bytes, &problem) < 0 &&
	    problem->kind != ERROR_CANCELLED)
		fprintf(stderr, "Error: %s\n", problem->message);
	return NULL;
}

/* Takes the socket; NULL, with the reason said, where it cannot be shown. */
static Connection *connection_new(const Object *instance, int socket)
{
	g_autoptr(Error) problem = NULL;
	Stream *stream = open_screen(instance, &problem);
	if (!stream) {
		fprintf(stderr, "Error: %s\n", problem->message);
		close(socket);
		return NULL;
	}
	Connection *connection = g_new0(Connection, 1);
	*connection = (Connection){ .stream = stream, .socket = socket };
	connection->thread = g_thread_new("viewer", serve_connection, connection);
	return connection;
}

static void connection_free(gpointer data)
{
	Connection *connection = data;
	shutdown(connection->socket, SHUT_RDWR);
	stream_cancel(connection->stream);
	g_thread_join(connection->thread);
	stream_close(connection->stream);
	close(connection->socket);
	g_free(connection);
}

/* ---- the viewer ---- */

static int start_viewer(const char *address, pid_t *ret_pid, Error **err)
{
	g_autofree char *remote = g_find_program_in_path("remote-viewer");
	g_autofree char *spicy = g_find_program_in_path("spicy");
	g_autofree char *uri = g_strconcat("--uri=", address, NULL);
	const char *const argv[] = { remote ? remote : spicy, remote ? address : uri, NULL };
	Spawn spawn = { .argv = argv, .stderr_fd = STDERR_FILENO };
	*ret_pid = 0;
	if (argv[0])
		return spawn_start(&spawn, ret_pid, err);
	printf(
	    "Neither remote-viewer nor spicy is installed here. A SPICE viewer finds the screen at:\n  %s\nPress ctrl+c to finish\n",
	    address);
	fflush(stdout);
	return 0;
}

static int accept_all(const Object *instance, int listener, int viewer, Error **err)
{
	g_autoptr(GPtrArray) connections = g_ptr_array_new_with_free_func(connection_free);
	for (;;) {
		struct pollfd wait[] = { { .fd = listener, .events = POLLIN },
			{ .fd = interrupt_fd(), .events = POLLIN },
			{ .fd = viewer, .events = POLLIN } };
		if (poll(wait, G_N_ELEMENTS(wait), -1) < 0 && errno != EINTR)
			return error_errno(err, ERROR_INTERNAL, errno, "Cannot wait");
		if (interrupt_count() || wait[2].revents)
			return 0;
		int fd = wait[0].revents ? accept4(listener, NULL, NULL, SOCK_CLOEXEC) : -1;
		Connection *connection = fd >= 0 ? connection_new(instance, fd) : NULL;
		if (connection)
			g_ptr_array_add(connections, connection);
	}
}

static int show(const Object *instance, const char *path, int listener, Error **err)
{
	pid_t pid;
	g_autofree char *address = g_strconcat("spice+unix://", path, NULL);
	if (start_viewer(address, &pid, err) < 0)
		return -1;
	autofd int viewer = pid ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
	int result = accept_all(instance, listener, viewer, err);
	if (pid)
		spawn_stop(pid, 1000);
	return result;
}

/* Whether there is a screen is said before a viewer opens its window. */
static int probe(const Object *instance, Error **err)
{
	g_autoptr(Stream) stream = open_screen(instance, err);
	ProtobufCMessage *attached = NULL;
	if (!stream || stream_receive(stream, &attached, err) < 0)
		return -1;
	stream_message_free(attached);
	return 0;
}

int screen_attach(const Object *instance, Error **err)
{
	if (probe(instance, err) < 0)
		return -1;
	g_autofree char *folder = g_build_filename(
	    g_get_user_runtime_dir(), "incus-screen-XXXXXX", NULL);
	if (!g_mkdtemp(folder))
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot make \"%s\"", folder);
	g_autofree char *path = g_build_filename(folder, "spice", NULL);
	autofd int listener = unix_bind(path, 0);
	int result = -1;
	interrupt_begin();
	if (listener < 0 || listen(listener, 16) < 0)
		error_errno(err, ERROR_INTERNAL, errno, "Cannot listen on \"%s\"", path);
	else
		result = show(instance, path, listener, err);
	interrupt_end();
	unlink(path);
	g_rmdir(folder);
	return result;
}

int screen_shot(const Object *instance, Error **err)
{
	if (isatty(STDOUT_FILENO))
		return error_set(err, ERROR_INVALID,
		    "The picture is not for a terminal: write it to a file with \">FILE.png\"");
	json_t *request = json_copy(instance->key);
	json_object_set_new(request, "type", json_string("vga"));
	return stream_to_fd(instance->server, "GetInstanceConsoleLog", request, STDOUT_FILENO, err);
}
