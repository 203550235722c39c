/*
 * incus file mount: the file system of an instance over SFTP, mounted by sshfs or offered to SSH
 * clients. The SSH side of a connection is the program incus-sftp, started once for each.
 */
#include "cli/file_mount.h"
#include "cli/file_transfer.h"
#include "cli/stream.h"
#include "sdk/base/own.h"
#include "sdk/base/spawn.h"
#include "incus/v1/common.pb-c.h"
#include "incus/v1/file.pb-c.h"
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 64 };

/* What every connection to the listener needs. */
typedef struct Listener {
	Server *server;
	const char *instance;
	char *program, *key, *user, *password;
	gint connections;
} Listener;

static Stream *open_sftp(Server *server, const char *instance, Error **err)
{
	Pb__ConnectSftpRequest first = PB__CONNECT_SFTP_REQUEST__INIT;
	first.name = (char *)instance;
	first.project = (char *)(server->project ? server->project : "");
	return stream_open(server, "ConnectSftp", &first.base, err);
}

static int send_bytes(Stream *stream, const uint8_t *bytes, size_t length)
{
	Pb__ConnectSftpRequest message = PB__CONNECT_SFTP_REQUEST__INIT;
	message.data = (ProtobufCBinaryData){ length, (uint8_t *)bytes };
	return stream_send(stream, &message.base, NULL);
}

static ProtobufCBinaryData received(const ProtobufCMessage *message)
{
	return ((const Pb__Frame *)message)->data;
}

static const StreamBytes sftp_bytes = { send_bytes, received };

/* ---- sshfs ---- */

static int mount_sshfs(const FileTarget *from, const char *target, Error **err)
{
	int pair[2], status = 0;
	pid_t pid;
	g_autofree char *source = g_strdup_printf("%s:%s", from->instance, from->path);
	const char *const argv[] = {"sshfs", "-o", "slave", source, target, NULL};
	g_autofree char *program = g_find_program_in_path("sshfs");
	if (!program)
		return error_set(
		    err, ERROR_UNSUPPORTED, "sshfs is not installed: install it, or use --listen");
	g_autoptr(Stream) stream = open_sftp(from->server, from->instance, err);
	if (!stream)
		return -1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot make a socket");
	autofd int ours = pair[0];
	autofd int theirs = pair[1];
	Spawn spawn = {
	    .argv = argv, .stdin_fd = theirs, .stdout_fd = theirs, .stderr_fd = STDERR_FILENO};
	if (spawn_start(&spawn, &pid, err) < 0)
		return -1;
	own_close_fd(&theirs);
	printf("sshfs mounting \"%s%s\" on \"%s\"\nPress ctrl+c to finish\n", from->instance,
	    from->path, target);
	fflush(stdout);
	int result = stream_relay(stream, ours, &sftp_bytes, err);
	if (waitpid(pid, &status, 0) == pid && status != 0 && result == 0)
		return error_set(err, ERROR_INTERNAL, "sshfs failed");
	return result;
}

/* ---- listener ---- */

static char *random_word(size_t length)
{
	static const char letters[] = "abcdefghijkmnpqrstuvwxyz23456789"; /* 32: no bias */
	g_autofree uint8_t *bytes = g_malloc(length);
	GString *word = g_string_sized_new(length);
	if (getrandom(bytes, length, 0) != (ssize_t)length)
		g_error("The kernel gives no random bytes");
	for (size_t i = 0; i < length; i++)
		g_string_append_c(word, letters[bytes[i] % (sizeof(letters) - 1)]);
	return g_string_free(word, FALSE);
}

/* The program beside us, or where the package puts helpers. */
static char *sftp_program(void)
{
	g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
	g_autofree char *folder = g_path_get_dirname(self ? self : "/usr/bin/incus");
	g_autofree char *beside = g_build_filename(folder, "incus-sftp", NULL);
	return g_file_test(beside, G_FILE_TEST_IS_EXECUTABLE)
		   ? g_steal_pointer(&beside)
		   : g_build_filename(folder, "..", "libexec", "incus", "incus-sftp", NULL);
}

static int login_fd(const Listener *listener)
{
	g_autofree char *text = g_strdup_printf("%s\n%s\n%s", listener->user ? listener->user : "",
	    listener->password ? listener->password : "", listener->key);
	int fd = memfd_create("login", MFD_CLOEXEC);
	if (fd >= 0 && (write_all(fd, text, strlen(text), NULL) < 0 || lseek(fd, 0, SEEK_SET) < 0))
		own_close_fd(&fd);
	return fd;
}

static int serve(Listener *listener, int connection, Error **err)
{
	int pair[2];
	pid_t pid;
	autofd int login = login_fd(listener);
	if (login < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot make a socket");
	autofd int ours = pair[0];
	autofd int theirs = pair[1];
	const int fds[] = {connection, theirs};
	const char *const argv[] = {listener->program, NULL};
	Spawn spawn = {
	    .argv = argv, .stdin_fd = login, .stderr_fd = STDERR_FILENO, .fds = fds, .n_fds = 2};
	g_autoptr(Stream) stream = open_sftp(listener->server, listener->instance, err);
	if (!stream || spawn_start(&spawn, &pid, err) < 0)
		return -1;
	own_close_fd(&theirs);
	stream_relay(stream, ours, &sftp_bytes, NULL);
	spawn_stop(pid, 1000);
	return 0;
}

typedef struct Connection {
	Listener *listener;
	int fd;
} Connection;

static gpointer serve_connection(gpointer data)
{
	g_autofree Connection *connection = data;
	g_autoptr(Error) problem = NULL;
	if (serve(connection->listener, connection->fd, &problem) < 0)
		fprintf(stderr, "Error: %s\n", problem->message);
	close(connection->fd);
	g_atomic_int_add(&connection->listener->connections, -1);
	return NULL;
}

/* "ADDRESS:PORT", "[ADDRESS]:PORT" */
static int listen_on(const char *address, int *ret_fd, Error **err)
{
	const char *colon = strrchr(address, ':');
	if (!colon)
		return error_set(
		    err, ERROR_INVALID, "Invalid address \"%s\": ADDRESS:PORT expected", address);
	gboolean brackets = *address == '[' && colon > address && colon[-1] == ']';
	g_autofree char *host =
	    g_strndup(address + brackets, (gsize)(colon - address - 2 * brackets));
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
	int problem = getaddrinfo(*host ? host : NULL, colon + 1, &hints, &found);
	if (problem)
		return error_set(err, ERROR_INVALID, "Invalid address \"%s\": %s", address,
		    gai_strerror(problem));
	autofd int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int one = 1, bound = -1;
	if (fd >= 0) {
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		bound = bind(fd, found->ai_addr, found->ai_addrlen) == 0 ? listen(fd, 16) : -1;
	}
	int error = errno;
	freeaddrinfo(found);
	if (bound < 0)
		return error_errno(err, ERROR_INTERNAL, error, "Cannot listen on \"%s\"", address);
	*ret_fd = own_steal_fd(&fd);
	return 0;
}

static void announce(const Listener *listener, int fd)
{
	struct sockaddr_storage address;
	socklen_t length = sizeof(address);
	char host[NI_MAXHOST] = "", port[NI_MAXSERV] = "";
	getsockname(fd, (struct sockaddr *)&address, &length);
	getnameinfo((struct sockaddr *)&address, length, host, sizeof(host), port, sizeof(port),
	    NI_NUMERICHOST | NI_NUMERICSERV);
	printf(
	    strchr(host, ':') ? "SSH SFTP listening on [%s]:%s\n" : "SSH SFTP listening on %s:%s\n",
	    host, port);
	if (listener->user)
		printf("Login with username \"%s\" and password \"%s\"\n", listener->user,
		    listener->password);
	else
		puts("Login without username and password");
	fflush(stdout);
}

static int accept_all(Listener *listener, int fd, Error **err)
{
	for (;;) {
		int connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
		if (connection < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (connection < 0)
			return error_errno(err, ERROR_INTERNAL, errno, "Cannot take connections");
		if (g_atomic_int_add(&listener->connections, 1) >= CONNECTIONS_MAX) {
			g_atomic_int_add(&listener->connections, -1);
			close(connection);
			continue;
		}
		Connection *data = g_new(Connection, 1);
		*data = (Connection){.listener = listener, .fd = connection};
		g_thread_unref(g_thread_new("connection", serve_connection, data));
	}
}

static int listen_ssh(Cli *cli, const FileTarget *from, Error **err)
{
	const char *address = flag_string(cli, "listen");
	Listener listener = {.server = from->server, .instance = from->instance};
	g_autofree char *program = listener.program = sftp_program();
	const char *const argv[] = {program, "key", NULL};
	Spawn make_key = {.argv = argv, .timeout_ms = 10000};
	autofd int fd = -1;
	if (spawn_run(&make_key, &listener.key, NULL, err) < 0)
		return error_prefix(err, "Cannot make a host key");
	g_autofree char *key = listener.key;
	if (!flag_bool(cli, "no-auth")) {
		const char *user = flag_string(cli, "auth-user");
		listener.user = user && *user ? g_strdup(user) : random_word(10);
		listener.password = random_word(20);
	}
	g_autofree char *user = listener.user, *password = listener.password;
	if (listen_on(address && *address ? address : "127.0.0.1:0", &fd, err) < 0)
		return -1;
	announce(&listener, fd);
	return accept_all(&listener, fd, err);
}

int file_mount(Cli *cli, Error **err)
{
	FileTarget from;
	gboolean has_path = strchr(cli->args[0], '/') != NULL;
	g_autofree char *whole =
	    has_path ? g_strdup(cli->args[0]) : g_strconcat(cli->args[0], "/", NULL);
	const char *user = flag_string(cli, "auth-user"), *address = flag_string(cli, "listen");
	if (flag_bool(cli, "no-auth") && user && *user)
		return error_set(
		    err, ERROR_INVALID, "--no-auth and --auth-user cannot be used together");
	if (cli->n_args > 1 && address && *address)
		return error_set(
		    err, ERROR_INVALID, "A target path and --listen cannot be used together");
	if (cli->n_args < 2 && has_path)
		return error_set(err, ERROR_INVALID,
		    "A path inside the instance needs a target path to be mounted on");
	/* A stream says only later that there is no such instance. */
	if (file_target_parse(cli, whole, &from, err) < 0 ||
	    !server_call(
		from.server, "GetInstance", json_pack("{s:s}", "name", from.instance), err))
		return -1;
	return cli->n_args > 1 ? mount_sshfs(&from, cli->args[1], err)
			       : listen_ssh(cli, &from, err);
}
