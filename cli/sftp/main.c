/*
 * incus-sftp: the SSH side of one connection to "incus file mount --listen". Reads strangers'
 * bytes, so it is a program of its own that holds nothing but two sockets: the connection (fd 3)
 * and the instance's SFTP stream (fd 4). Standard input gives a user, a password (both empty:
 * anybody) and the host key, a line each but the last. "incus-sftp key" makes such a key.
 */
#include <errno.h>
#include <libssh/callbacks.h>
#include <libssh/libssh.h>
#include <libssh/server.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECTION = 3, SFTP = 4, PATIENCE = 30, ATTEMPTS = 5, CHUNK = 32 * 1024 };

typedef struct Login {
	char user[256], password[256];
	char key[16 * 1024];
} Login;

typedef struct Client {
	Login login;
	bool entered, serving; /* logged in; asked for files */
	int refused;
	ssh_channel channel;
	struct ssh_channel_callbacks_struct channel_calls;
} Client;

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "incus-sftp: %s\n", what);
	exit(1);
}

static int make_key(void)
{
	ssh_key key = NULL;
	char *text = NULL;
	if (ssh_pki_generate(SSH_KEYTYPE_ED25519, 0, &key) != SSH_OK ||
	    ssh_pki_export_privkey_base64(key, NULL, NULL, NULL, &text) != SSH_OK)
		die("cannot make a host key");
	fputs(text, stdout);
	ssh_string_free_char(text);
	ssh_key_free(key);
	return 0;
}

static void read_line(char *to, size_t size)
{
	if (!fgets(to, (int)size, stdin))
		die("no login was given");
	to[strcspn(to, "\n")] = '\0';
}

static void read_login(Login *login)
{
	read_line(login->user, sizeof(login->user));
	read_line(login->password, sizeof(login->password));
	size_t n = fread(login->key, 1, sizeof(login->key) - 1, stdin);
	login->key[n] = '\0';
}

static ssh_session start_session(const Login *login)
{
	ssh_bind bind = ssh_bind_new();
	ssh_session session = ssh_new();
	ssh_key key = NULL;
	bool no = false;
	if (!bind || !session ||
	    ssh_pki_import_privkey_base64(login->key, NULL, NULL, NULL, &key) != SSH_OK)
		die("the host key cannot be used");
	ssh_bind_options_set(bind, SSH_BIND_OPTIONS_PROCESS_CONFIG, &no);
	ssh_bind_options_set(bind, SSH_BIND_OPTIONS_IMPORT_KEY, key);
	if (ssh_bind_accept_fd(bind, session, CONNECTION) != SSH_OK)
		die(ssh_get_error(session));
	ssh_bind_free(bind); /* the connection is the session's */
	return session;
}

/* Takes the same time wherever the first difference is. */
static int same(const char *given, const char *expected)
{
	char padded[256] = "";
	unsigned difference = strlen(given) != strlen(expected);
	strncpy(padded, given, sizeof(padded) - 1);
	for (size_t i = 0; i < sizeof(padded) && expected[i]; i++)
		difference |= (unsigned char)(padded[i] ^ expected[i]);
	return difference == 0;
}

static int admit(Client *client, int right)
{
	if (right) {
		client->entered = true;
		return SSH_AUTH_SUCCESS;
	}
	if (++client->refused >= ATTEMPTS)
		die("too many wrong passwords");
	return SSH_AUTH_DENIED;
}

static int auth_password(ssh_session session, const char *user, const char *password, void *data)
{
	Client *client = data;
	const Login *login = &client->login;
	(void)session;
	return admit(
	    client, *login->user && (same(user, login->user) & same(password, login->password)));
}

static int auth_none(ssh_session session, const char *user, void *data)
{
	Client *client = data;
	(void)session, (void)user;
	return *client->login.user ? SSH_AUTH_DENIED : admit(client, 1);
}

static int take_from_client(ssh_session session, ssh_channel channel, void *data, uint32_t length,
    int is_stderr, void *user)
{
	const Client *client = user;
	const char *bytes = data;
	uint32_t left = is_stderr || !client->serving ? 0 : length;
	(void)session, (void)channel;
	while (left > 0) {
		ssize_t n = send(SFTP, bytes, left, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			exit(0);
		bytes += n;
		left -= (uint32_t)n;
	}
	return (int)length;
}

static int take_from_instance(socket_t fd, int events, void *user)
{
	char buffer[CHUNK];
	ssize_t n = read(fd, buffer, sizeof(buffer));
	(void)events;
	if (n < 0 && errno == EINTR)
		return 0;
	if (n <= 0 || ssh_channel_write(user, buffer, (uint32_t)n) != n) {
		ssh_channel_send_eof(user);
		ssh_channel_close(user);
		ssh_blocking_flush(ssh_channel_get_session(user), PATIENCE * 1000);
		exit(0);
	}
	return 0;
}

static int want_subsystem(ssh_session session, ssh_channel channel, const char *name, void *data)
{
	Client *client = data;
	(void)session, (void)channel;
	if (strcmp(name, "sftp") != 0 || client->serving)
		return SSH_ERROR;
	client->serving = true;
	alarm(0);
	return SSH_OK;
}

/* One channel, and only for those who have logged in. */
static ssh_channel want_session(ssh_session session, void *data)
{
	Client *client = data;
	if (!client->entered || client->channel)
		return NULL;
	client->channel = ssh_channel_new(session);
	ssh_set_channel_callbacks(client->channel, &client->channel_calls);
	return client->channel;
}

static void serve(ssh_session session, Client *client)
{
	struct ssh_server_callbacks_struct server = {.userdata = client,
	    .auth_password_function = auth_password,
	    .auth_none_function = auth_none,
	    .channel_open_request_session_function = want_session};
	client->channel_calls = (struct ssh_channel_callbacks_struct){.userdata = client,
	    .channel_data_function = take_from_client,
	    .channel_subsystem_request_function = want_subsystem};
	ssh_callbacks_init(&server);
	ssh_callbacks_init(&client->channel_calls);
	ssh_set_server_callbacks(session, &server);
	ssh_set_auth_methods(
	    session, *client->login.user ? SSH_AUTH_METHOD_PASSWORD : SSH_AUTH_METHOD_NONE);
	if (ssh_handle_key_exchange(session) != SSH_OK)
		die(ssh_get_error(session));
	static ssh_event event; /* until the end of the program, which may come from any callback */
	event = ssh_event_new();
	if (!event || ssh_event_add_session(event, session) != SSH_OK)
		die("cannot wait for the client");
	bool added = false;
	while (!client->channel ||
	       (ssh_channel_is_open(client->channel) && !ssh_channel_is_eof(client->channel))) {
		if (ssh_event_dopoll(event, -1) == SSH_ERROR)
			return;
		if (client->serving && !added)
			added = ssh_event_add_fd(event, SFTP, POLLIN | POLLHUP, take_from_instance,
				    client->channel) == SSH_OK;
	}
}

int main(int argc, char **argv)
{
	static Client client;
	if (ssh_init() != SSH_OK)
		die("libssh cannot be used");
	if (argc == 2 && strcmp(argv[1], "key") == 0)
		return make_key();
	if (argc != 1)
		die("is started by \"incus file mount\"");
	read_login(&client.login);
	alarm(PATIENCE); /* until it asks for files: for a client that is none */
	ssh_session session = start_session(&client.login);
	serve(session, &client);
	ssh_disconnect(session);
	return 0;
}
