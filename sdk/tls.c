/* TLS 1.3 to a server that is recognised by its certificate. */
#include "sdk/client.h"
#include "sdk/base/own.h"
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

G_DEFINE_AUTOPTR_CLEANUP_FUNC(SSL_CTX, SSL_CTX_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SSL, SSL_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(X509, X509_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(EVP_PKEY, EVP_PKEY_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BIO, BIO_free)

static int tls_error(incus_error **err, ErrorKind kind, const char *what)
{
	unsigned long code = ERR_get_error();
	const char *reason = code ? ERR_reason_error_string(code) : NULL;
	ERR_clear_error();
	return sdk_error(err, kind, reason ? "%s: %s" : "%s", what, reason);
}

int tls_parse_url(const char *url, char **ret_host, char **ret_port, incus_error **err)
{
	const char *rest = g_str_has_prefix(url, "https://") ? url + strlen("https://") : url;
	g_autofree char *place = g_strndup(rest, strcspn(rest, "/?#"));
	char *host = place, *port = NULL;
	if (*place == '[') {
		char *end = strchr(place, ']');
		if (!end)
			return sdk_error(
			    err, ERROR_INVALID, "The address \"%s\" has no \"]\"", url);
		host = place + 1;
		*end = '\0';
		port = end[1] == ':' ? end + 2 : NULL;
	} else if (strchr(place, ':') && strchr(place, ':') == strrchr(place, ':')) {
		port = strchr(place, ':') + 1;
		port[-1] = '\0';
	}
	if (strstr(rest, "://") || !*host)
		return sdk_error(err, ERROR_INVALID, "\"%s\" is no https address of a server", url);
	*ret_host = g_strdup(host);
	*ret_port = g_strdup(port && *port ? port : "8443");
	return 0;
}

void tls_set_bulk(SSL *ssl)
{
	enum { READ_BUFFER = 96 << 10 };
	SSL_set_mode(ssl,
	    SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
		SSL_MODE_RELEASE_BUFFERS);
	SSL_set_read_ahead(ssl, 1);
	SSL_set_default_read_buffer_len(ssl, READ_BUFFER);
}

enum { RECORD = 16 << 10 }; /* the most that one takes */

/* FALSE: not all. */
static gboolean write_part(SSL *ssl, const char *data, size_t length, ssize_t *done, int *ret_put)
{
	for (size_t at = 0; at < length; at += (size_t)*ret_put) {
		*ret_put = SSL_write(ssl, data + at, (int)MIN(length - at, 1 << 20));
		if (*ret_put <= 0)
			return FALSE;
		*done += *ret_put;
	}
	return TRUE;
}

static ssize_t write_together(SSL *ssl, const struct iovec *parts, int n_parts)
{
	char record[RECORD];
	size_t have = 0;
	for (int i = 0; i < n_parts; have += parts[i++].iov_len)
		if (parts[i].iov_len)
			memcpy(record + have, parts[i].iov_base, parts[i].iov_len);
	return SSL_write(ssl, record, (int)have);
}

static void set_cork(SSL *ssl, int on)
{
	setsockopt(SSL_get_fd(ssl), IPPROTO_TCP, TCP_CORK, &on, sizeof on);
}

ssize_t tls_write(SSL *ssl, const struct iovec *parts, int n_parts)
{
	size_t length = 0;
	ssize_t done = 0;
	int put = 0;
	for (int i = 0; i < n_parts; i++)
		length += parts[i].iov_len;
	if (length <= RECORD)
		return n_parts == 1 ? SSL_write(ssl, parts->iov_base, (int)length) :
				      write_together(ssl, parts, n_parts);
	set_cork(ssl, 1);
	for (int i = 0; i < n_parts; i++)
		if (!write_part(ssl, parts[i].iov_base, parts[i].iov_len, &done, &put))
			break;
	set_cork(ssl, 0);
	return done ? done : put;
}

char *tls_certificate_pem(X509 *certificate)
{
	g_autoptr(BIO) memory = BIO_new(BIO_s_mem());
	PEM_write_bio_X509(memory, certificate);
	char *data;
	long length = BIO_get_mem_data(memory, &data);
	return g_strndup(data, length);
}

void tls_certificate_fingerprint(X509 *certificate, char ret[65])
{
	unsigned char digest[32];
	unsigned length = sizeof digest;
	X509_digest(certificate, EVP_sha256(), digest, &length);
	for (unsigned i = 0; i < sizeof digest; i++)
		g_snprintf(ret + 2 * i, 3, "%02x", digest[i]);
}

static int wait_fd(int fd, short events, int64_t deadline)
{
	struct pollfd poll_fd = { .fd = fd, .events = events };
	int64_t left = (deadline - g_get_monotonic_time()) / 1000;
	int result = poll(&poll_fd, 1, left > 0 ? (int)left : 0);
	if (result == 0)
		errno = ETIMEDOUT;
	return result > 0 ? 0 : -1;
}

static int connect_address(const struct addrinfo *address, int64_t deadline)
{
	autofd int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	if (connect(fd, address->ai_addr, address->ai_addrlen) < 0) {
		if (errno != EINPROGRESS || wait_fd(fd, POLLOUT, deadline) < 0)
			return -1;
		int code = 0;
		socklen_t size = sizeof code;
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size);
		if (code) {
			errno = code;
			return -1;
		}
	}
	int on = 1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
	return own_steal_fd(&fd);
}

static int connect_host(const char *host, const char *port, int64_t deadline, incus_error **err)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;
	int result = getaddrinfo(host, port, &hints, &list);
	if (result != 0)
		return sdk_error(
		    err, ERROR_UNAVAILABLE, "Cannot find \"%s\": %s", host, gai_strerror(result));
	int fd = -1;
	for (struct addrinfo *address = list; address && fd < 0; address = address->ai_next)
		fd = connect_address(address, deadline);
	int code = errno;
	freeaddrinfo(list);
	if (fd < 0)
		return sdk_error_errno(
		    err, ERROR_UNAVAILABLE, code, "Cannot reach \"%s\" on port %s", host, port);
	return fd;
}

static int use_client_certificate(SSL_CTX *context, const incus_tls *tls, incus_error **err)
{
	g_autoptr(BIO) certificate_text = BIO_new_mem_buf(tls->client_certificate, -1);
	g_autoptr(BIO) key_text = BIO_new_mem_buf(tls->client_key ? tls->client_key : "", -1);
	g_autoptr(X509) certificate = PEM_read_bio_X509(certificate_text, NULL, NULL, NULL);
	g_autoptr(EVP_PKEY) key = PEM_read_bio_PrivateKey(key_text, NULL, NULL, NULL);
	if (!certificate || !key || !SSL_CTX_use_certificate(context, certificate) ||
	    !SSL_CTX_use_PrivateKey(context, key))
		return tls_error(err, ERROR_INVALID, "Cannot use the client certificate");
	return 0;
}

/* Certificates are pinned after the handshake; only servers without a pin are checked by OpenSSL.
 */
static SSL_CTX *make_context(const incus_tls *tls, gboolean by_authorities, incus_error **err)
{
	g_autoptr(SSL_CTX) context = SSL_CTX_new(TLS_client_method());
	if (!context) {
		tls_error(err, ERROR_INTERNAL, "Cannot start TLS");
		return NULL;
	}
	SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
	if (tls->client_certificate && use_client_certificate(context, tls, err) < 0)
		return NULL;
	if (by_authorities) {
		SSL_CTX_set_default_verify_paths(context);
		SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
	}
	return g_steal_pointer(&context);
}

static int check_pin(X509 *certificate, const incus_tls *tls, const char *host, incus_error **err)
{
	char shown[65];
	tls_certificate_fingerprint(certificate, shown);
	if (tls->server_fingerprint && g_ascii_strcasecmp(shown, tls->server_fingerprint) != 0)
		return sdk_error(err, ERROR_FORBIDDEN,
		    "The certificate of \"%s\" has fingerprint %s and not %s", host, shown,
		    tls->server_fingerprint);
	if (!tls->server_certificate)
		return 0;
	g_autoptr(BIO) text = BIO_new_mem_buf(tls->server_certificate, -1);
	g_autoptr(X509) wanted = PEM_read_bio_X509(text, NULL, NULL, NULL);
	if (!wanted)
		return tls_error(
		    err, ERROR_INVALID, "Cannot read the server certificate to expect");
	if (X509_cmp(certificate, wanted) != 0)
		return sdk_error(err, ERROR_FORBIDDEN,
		    "The certificate of \"%s\" is not the one that is trusted", host);
	return 0;
}

static int handshake(SSL *ssl, int64_t deadline, const char *host, incus_error **err)
{
	for (;;) {
		int result = SSL_connect(ssl);
		if (result == 1)
			return 0;
		int why = SSL_get_error(ssl, result);
		if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) {
			g_autofree char *what = g_strdup_printf(
			    "Cannot speak TLS with \"%s\"", host);
			return tls_error(err, ERROR_UNAVAILABLE, what);
		}
		if (wait_fd(SSL_get_fd(ssl), why == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT,
			deadline) < 0)
			return sdk_error_errno(
			    err, ERROR_UNAVAILABLE, errno, "Cannot speak TLS with \"%s\"", host);
	}
}

int tls_connect(const char *host, const char *port, const incus_tls *tls, gboolean verify,
    SSL **ret_ssl, incus_error **err)
{
	return tls_connect_for(host, port, tls, verify, "h2", ret_ssl, err);
}

int tls_connect_for(const char *host, const char *port, const incus_tls *tls, gboolean verify,
    const char *protocol, SSL **ret_ssl, incus_error **err)
{
	static const incus_tls none = { 0 };
	tls = tls ? tls : &none;
	int64_t deadline = g_get_monotonic_time() +
	    (tls->connect_timeout_ms ? tls->connect_timeout_ms : 10000) * 1000ll;
	gboolean pinned = tls->server_certificate || tls->server_fingerprint;
	gboolean by_authorities = verify && !pinned && !tls->insecure;
	g_autoptr(SSL_CTX) context = make_context(tls, by_authorities, err);
	if (!context)
		return -1;
	autofd int fd = connect_host(host, port, deadline, err);
	if (fd < 0)
		return -1;
	g_autoptr(SSL) ssl = SSL_new(context);
	SSL_set_fd(ssl, fd);
	g_autofree char *offer = g_strdup_printf("%c%s", (char)strlen(protocol), protocol);
	SSL_set_alpn_protos(ssl, (unsigned char *)offer, (unsigned)strlen(offer));
	if (!strchr(host, ':'))
		SSL_set_tlsext_host_name(ssl, host);
	if (by_authorities) {
		X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
		if (!X509_VERIFY_PARAM_set1_ip_asc(param, host))
			X509_VERIFY_PARAM_set1_host(param, host, 0);
	}
	if (handshake(ssl, deadline, host, err) < 0)
		return -1;
	g_autoptr(X509) certificate = SSL_get1_peer_certificate(ssl);
	if (!certificate)
		return sdk_error(err, ERROR_UNAVAILABLE, "\"%s\" showed no certificate", host);
	if (verify && pinned && check_pin(certificate, tls, host, err) < 0)
		return -1;
	own_steal_fd(&fd);
	*ret_ssl = g_steal_pointer(&ssl);
	return 0;
}
