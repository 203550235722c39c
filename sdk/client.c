/* Connections: the unix socket or TLS, handed to gRPC as a connected file descriptor. */
#include "sdk/client.h"
#include "sdk/base/own.h"
#include "sdk/base/unix_socket.h"
#include <errno.h>
#include <fcntl.h>
#include <grpc/grpc_posix.h>
#include <grpc/grpc_security.h>
#include <grpc/support/log.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static void log_nothing(gpr_log_func_args *args)
{
}

/* gRPC's own logging stays quiet unless the user asked for it. */
static void grpc_once(void)
{
	if (!getenv("GRPC_VERBOSITY"))
		gpr_set_log_function(log_nothing);
	grpc_init();
}

/* What servers may send; files travel in chunks, lists in one message. */
static const ClientLimits server_limits = { .message = 256 << 20, .metadata = 16 << 10 };

static grpc_channel *channel_from_fd(const char *authority, int fd, const ClientLimits *limits)
{
	/* Window and frame sizes for file transfers over a local socket; probing for bandwidth
	 * would only grow buffers. */
	grpc_arg list[] = {
		{ .type = GRPC_ARG_INTEGER,
		    .key = (char *)"grpc.http2.bdp_probe",
		    .value.integer = 0 },
		{ .type = GRPC_ARG_INTEGER,
		    .key = (char *)GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES,
		    .value.integer = 4 << 20 },
		{ .type = GRPC_ARG_INTEGER,
		    .key = (char *)GRPC_ARG_HTTP2_MAX_FRAME_SIZE,
		    .value.integer = 1 << 20 },
		{ .type = GRPC_ARG_INTEGER,
		    .key = (char *)"grpc.experimental.tcp_read_chunk_size",
		    .value.integer = 256 << 10 },
		{ .type = GRPC_ARG_INTEGER,
		    .key = (char *)GRPC_ARG_HTTP2_WRITE_BUFFER_SIZE,
		    .value.integer = 1 << 20 },
		{ .type = GRPC_ARG_INTEGER,
		    .key = (char *)GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
		    .value.integer = limits->message },
		{ .type = GRPC_ARG_INTEGER,
		    .key = (char *)GRPC_ARG_MAX_METADATA_SIZE,
		    .value.integer = limits->metadata },
		{ .type = GRPC_ARG_INTEGER,
		    .key = (char *)GRPC_ARG_ENABLE_RETRIES,
		    .value.integer = 0 },
		{ .type = GRPC_ARG_INTEGER,
		    .key = (char *)"grpc.enable_channelz",
		    .value.integer = 0 },
		{ .type = GRPC_ARG_STRING,
		    .key = (char *)GRPC_ARG_DEFAULT_AUTHORITY,
		    .value.string = (char *)authority },
	};
	grpc_channel_args args = { G_N_ELEMENTS(list), list };
	grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
	grpc_channel *channel = grpc_channel_create_from_fd(authority, fd, credentials, &args);
	grpc_channel_credentials_release(credentials);
	return channel;
}

static incus_client *client_new(char *url)
{
	incus_client *client = g_new0(incus_client, 1);
	client->url = url;
	client->project = g_strdup("");
	client->target = g_strdup("");
	client->if_match = g_strdup("");
	g_mutex_init(&client->lock);
	return client;
}

incus_client *client_from_fd(const char *url, int fd, const ClientLimits *limits)
{
	grpc_once();
	incus_client *client = client_new(g_strdup(url));
	client->channel = channel_from_fd("localhost", fd, limits);
	return client;
}

static char *default_socket(void)
{
	const char *path = getenv("INCUS_SOCKET");
	if (path && *path)
		return g_strdup(path);
	const char *dir = getenv("INCUS_DIR");
	return g_build_filename(dir && *dir ? dir : "/var/lib/incus", "unix.socket", NULL);
}

static int connect_path(const char *path, incus_error **err)
{
	autofd int fd = unix_connect(path, 0);
	if (fd < 0) {
		int code = errno;
		if (code == ENAMETOOLONG)
			return sdk_error(err, ERROR_INVALID,
			    "The socket path \"%s\" is longer than %d bytes", path, UNIX_PATH_MOST);
		if (code == EACCES || code == EPERM)
			return sdk_error(err, ERROR_FORBIDDEN,
			    "You don't have the needed permissions to talk to the incus daemon (socket path: %s)",
			    path);
		return sdk_error_errno(
		    err, ERROR_UNAVAILABLE, code, "Cannot reach the incus daemon at \"%s\"", path);
	}
	/* Several chunks of a file fit: fewer turns between the two processes. */
	int buffer = 1 << 20;
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return own_steal_fd(&fd);
}

/* ---- connecting, again and again ---- */

typedef struct Connection {
	grpc_channel *channel;
	Pump *pump;
} Connection;

static void connection_end(const Connection *connection)
{
	if (connection->channel) {
		grpc_channel_destroy(connection->channel);
		grpc_shutdown();
	}
	pump_close(connection->pump);
}

static void connection_free(void *data)
{
	connection_end(data);
	g_free(data);
}

static int reach_socket(incus_client *client, Connection *ret, incus_error **err)
{
	int fd = connect_path(client->socket, err);
	if (fd < 0)
		return -1;
	grpc_once();
	*ret = (Connection){ channel_from_fd("localhost", fd, &server_limits), NULL };
	return 0;
}

static int reach_port(
    incus_client *client, const incus_tls *tls, Connection *ret, incus_error **err)
{
	g_autofree char *host = NULL, *port = NULL;
	SSL *ssl = NULL;
	int pair[2];
	if (tls_parse_url(client->url, &host, &port, err) < 0 ||
	    tls_connect(host, port, tls, TRUE, &ssl, err) < 0)
		return -1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
		int code = errno;
		close(SSL_get_fd(ssl));
		SSL_free(ssl);
		return sdk_error_errno(err, ERROR_INTERNAL, code, "Cannot make a socket pair");
	}
	if (!client->server_certificate) {
		X509 *certificate = SSL_get1_peer_certificate(ssl);
		client->server_certificate = tls_certificate_pem(certificate);
		X509_free(certificate);
	}
	grpc_once();
	ret->pump = pump_open(ssl, pair[1]);
	ret->channel = channel_from_fd(host, pair[0], &server_limits);
	return 0;
}

static int reach(incus_client *client, Connection *ret, incus_error **err)
{
	if (client->socket)
		return reach_socket(client, ret, err);
	if (client->tls)
		return reach_port(client, client->tls, ret, err);
	return sdk_error(err, ERROR_UNSUPPORTED, "This connection cannot be made again");
}

grpc_channel *client_channel(incus_client *client)
{
	g_mutex_lock(&client->lock);
	grpc_channel *channel = client->channel;
	g_mutex_unlock(&client->lock);
	return channel;
}

guint client_losses(incus_client *client)
{
	g_mutex_lock(&client->lock);
	guint losses = client->lost_count;
	g_mutex_unlock(&client->lock);
	return losses;
}

int client_reconnect(incus_client *client, guint losses, incus_error **err)
{
	Connection made = { NULL, NULL };
	g_mutex_lock(&client->lock);
	int result = client->lost_count != losses ? 0 : reach(client, &made, err);
	if (made.channel) {
		Connection *old = g_new(Connection, 1);
		*old = (Connection){ client->channel, client->pump };
		client->lost = g_slist_prepend(client->lost, old);
		client->channel = made.channel;
		client->pump = made.pump;
		client->lost_count++;
	}
	g_mutex_unlock(&client->lock);
	return result;
}

static int connect_first(incus_client *client, incus_client **ret, incus_error **err)
{
	Connection made = { NULL, NULL };
	if (reach(client, &made, err) < 0) {
		incus_client_free(client);
		return -1;
	}
	client->channel = made.channel;
	client->pump = made.pump;
	*ret = client;
	return 0;
}

int incus_connect_unix(const char *path, incus_client **ret, incus_error **err)
{
	g_autofree char *chosen = path ? g_strdup(path) : default_socket();
	incus_client *client = client_new(g_strconcat("unix:", chosen, NULL));
	client->socket = g_steal_pointer(&chosen);
	return connect_first(client, ret, err);
}

static incus_tls *tls_copy(const incus_tls *from)
{
	static const incus_tls none = { 0 };
	incus_tls *tls = g_memdup2(from ? from : &none, sizeof(*tls));
	tls->client_certificate = g_strdup(tls->client_certificate);
	tls->client_key = g_strdup(tls->client_key);
	tls->server_certificate = g_strdup(tls->server_certificate);
	tls->server_fingerprint = g_strdup(tls->server_fingerprint);
	return tls;
}

static void tls_free(incus_tls *tls)
{
	if (!tls)
		return;
	char *const texts[] = { (char *)tls->client_certificate, (char *)tls->client_key,
		(char *)tls->server_certificate, (char *)tls->server_fingerprint };
	for (size_t i = 0; i < G_N_ELEMENTS(texts); i++)
		g_free(texts[i]);
	g_free(tls);
}

/* Of one that took any certificate: it is the same server only with that one. */
static void pin(incus_client *client)
{
	if (!client->tls->insecure)
		return;
	client->tls->insecure = false;
	client->tls->server_certificate = g_strdup(client->server_certificate);
}

int incus_connect_tls(const char *url, const incus_tls *tls, incus_client **ret, incus_error **err)
{
	g_autofree char *host = NULL, *port = NULL;
	if (tls_parse_url(url, &host, &port, err) < 0)
		return -1;
	gboolean v6 = strchr(host, ':') != NULL;
	incus_client *client = client_new(
	    g_strdup_printf(v6 ? "https://[%s]:%s" : "https://%s:%s", host, port));
	client->tls = tls_copy(tls);
	client->by_authorities = !tls ||
	    !(tls->server_certificate || tls->server_fingerprint || tls->insecure);
	if (connect_first(client, &client, err) < 0)
		return -1;
	pin(client);
	*ret = client;
	return 0;
}

void incus_client_free(incus_client *client)
{
	if (!client)
		return;
	g_slist_free_full(client->lost, connection_free);
	connection_end(&(Connection){ client->channel, client->pump });
	g_mutex_clear(&client->lock);
	tls_free(client->tls);
	g_free(client->socket);
	g_free(client->url);
	g_free(client->project);
	g_free(client->target);
	g_free(client->if_match);
	g_free(client->server_certificate);
	g_free(client);
}

static void replace(char **field, const char *value)
{
	g_free(*field);
	*field = g_strdup(value ? value : "");
}

void incus_client_set_project(incus_client *client, const char *project)
{
	replace(&client->project, project);
}

void incus_client_set_target(incus_client *client, const char *target)
{
	replace(&client->target, target);
}

void incus_client_set_if_match(incus_client *client, const char *etag)
{
	replace(&client->if_match, etag);
}

void incus_client_set_timeout(incus_client *client, int timeout_ms)
{
	client->timeout_ms = timeout_ms;
}

const char *incus_client_project(const incus_client *client)
{
	return client->project;
}

const char *incus_client_target(const incus_client *client)
{
	return client->target;
}

const char *incus_client_server_certificate(const incus_client *client)
{
	return client->server_certificate;
}

const char *incus_client_url(const incus_client *client)
{
	return client->url;
}
