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

int incus_connect_unix(const char *path, incus_client **ret, incus_error **err)
{
	g_autofree char *chosen = path ? g_strdup(path) : default_socket();
	int fd = connect_path(chosen, err);
	if (fd < 0)
		return -1;
	grpc_once();
	incus_client *client = client_new(g_strconcat("unix:", chosen, NULL));
	client->channel = channel_from_fd("localhost", fd, &server_limits);
	*ret = client;
	return 0;
}

int incus_connect_tls(const char *url, const incus_tls *tls, incus_client **ret, incus_error **err)
{
	g_autofree char *host = NULL, *port = NULL;
	if (tls_parse_url(url, &host, &port, err) < 0)
		return -1;
	SSL *ssl = NULL;
	if (tls_connect(host, port, tls, TRUE, &ssl, err) < 0)
		return -1;
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
		int code = errno;
		close(SSL_get_fd(ssl));
		SSL_free(ssl);
		return sdk_error_errno(err, ERROR_INTERNAL, code, "Cannot make a socket pair");
	}
	gboolean v6 = strchr(host, ':') != NULL;
	incus_client *client = client_new(
	    g_strdup_printf(v6 ? "https://[%s]:%s" : "https://%s:%s", host, port));
	X509 *certificate = SSL_get1_peer_certificate(ssl);
	client->server_certificate = tls_certificate_pem(certificate);
	client->by_authorities = !tls ||
	    !(tls->server_certificate || tls->server_fingerprint || tls->insecure);
	X509_free(certificate);
	grpc_once();
	client->pump = pump_open(ssl, pair[1]);
	client->channel = channel_from_fd(host, pair[0], &server_limits);
	*ret = client;
	return 0;
}

void incus_client_free(incus_client *client)
{
	if (!client)
		return;
	if (client->channel) {
		grpc_channel_destroy(client->channel);
		grpc_shutdown();
	}
	pump_close(client->pump);
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
