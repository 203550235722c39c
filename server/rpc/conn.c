#include "server/rpc/conn.h"
#include "sdk/base/own.h"
#include "sdk/client.h"
#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

Conn *conn_new(int fd, struct ssl_st *ssl, Caller *caller)
{
	Conn *conn = g_new0(Conn, 1);
	conn->fd = fd;
	conn->ssl = ssl;
	conn->caller = caller;
	g_mutex_init(&conn->tls);
	return conn;
}

void conn_free(Conn *conn)
{
	if (!conn)
		return;
	if (conn->ssl) {
		if (!g_atomic_int_get(&conn->cancelled) && SSL_is_init_finished(conn->ssl))
			SSL_shutdown(conn->ssl);
		ERR_clear_error();
		SSL_free(conn->ssl);
	}
	if (conn->fd >= 0)
		close(conn->fd);
	if (conn->memory)
		g_byte_array_unref(conn->memory);
	caller_free(conn->caller);
	g_free(conn->in);
	g_mutex_clear(&conn->tls);
	g_free(conn);
}

void conn_cancel(Conn *conn)
{
	g_atomic_int_set(&conn->cancelled, 1);
	if (conn->fd >= 0)
		shutdown(conn->fd, SHUT_RDWR);
}

int conn_wait(Conn *conn, short events, int64_t deadline_us, Error **err)
{
	for (;;) {
		if (g_atomic_int_get(&conn->cancelled))
			return error_set(err, ERROR_CANCELLED, "Connection closed");
		int64_t left = deadline_us - g_get_monotonic_time();
		if (deadline_us != G_MAXINT64 && left <= 0)
			return 0;
		int ms = deadline_us == G_MAXINT64 ? -1 : (int)MIN(left / 1000 + 1, 60000);
		struct pollfd pfd = { .fd = conn->fd, .events = events };
		int n = poll(&pfd, 1, ms);
		if (n > 0)
			return 1;
		if (n < 0 && errno != EINTR)
			return error_errno(
			    err, ERROR_INTERNAL, errno, "Failed to wait for the client");
	}
}

/* One attempt: >0 bytes, 0 at the end, -1 would block (*ret_events says for what), -2 broken. */
static ssize_t read_once(Conn *conn, void *data, size_t n, short *ret_events)
{
	*ret_events = POLLIN;
	if (!conn->ssl) {
		ssize_t got;
		do
			got = recv(conn->fd, data, n, MSG_DONTWAIT);
		while (got < 0 && errno == EINTR);
		if (got >= 0)
			return got;
		return errno == EAGAIN ? -1 : -2;
	}
	g_mutex_lock(&conn->tls);
	ERR_clear_error();
	int got = SSL_read(conn->ssl, data, (int)MIN(n, 1 << 20));
	int problem = got > 0 ? SSL_ERROR_NONE : SSL_get_error(conn->ssl, got);
	g_mutex_unlock(&conn->tls);
	if (got > 0)
		return got;
	if (problem == SSL_ERROR_WANT_WRITE)
		*ret_events = POLLOUT;
	if (problem == SSL_ERROR_WANT_READ || problem == SSL_ERROR_WANT_WRITE)
		return -1;
	return problem == SSL_ERROR_ZERO_RETURN ? 0 : -2;
}

static ssize_t read_wait(Conn *conn, void *data, size_t n, int64_t deadline_us, Error **err)
{
	for (;;) {
		short events;
		if (conn->fd < 0)
			return 0;
		ssize_t got = read_once(conn, data, n, &events);
		if (got >= 0)
			return got;
		if (got == -2)
			return error_set(err, ERROR_CANCELLED, "Connection closed by the client");
		if (!deadline_us)
			return -1;
		int ready = conn_wait(conn, events, deadline_us, err);
		if (ready < 0)
			return -1;
		if (!ready)
			return error_set(err, ERROR_TIMEOUT, "Client sent nothing in time");
	}
}

int conn_fill(Conn *conn, int64_t deadline_us, Error **err)
{
	if (conn->start == conn->end)
		conn->start = conn->end = 0;
	if (conn->end == conn->capacity) {
		if (conn->start > 0) {
			memmove(conn->in, conn->in + conn->start, conn->end - conn->start);
			conn->end -= conn->start;
			conn->start = 0;
		} else {
			conn->capacity = MAX(conn->capacity * 2, 4096);
			conn->in = g_realloc(conn->in, conn->capacity);
		}
	}
	ssize_t got = read_wait(
	    conn, conn->in + conn->end, conn->capacity - conn->end, deadline_us, err);
	if (got > 0)
		conn->end += (size_t)got;
	return got > 0 ? 1 : (int)got;
}

ssize_t conn_read(Conn *conn, void *data, size_t n, int64_t deadline_us, Error **err)
{
	if (conn->start < conn->end) {
		n = MIN(n, conn->end - conn->start);
		memcpy(data, conn->in + conn->start, n);
		conn->start += n;
		return (ssize_t)n;
	}
	return read_wait(conn, data, n, deadline_us, err);
}

static ssize_t write_once(Conn *conn, struct iovec *parts, int n_parts, short *ret_events)
{
	*ret_events = POLLOUT;
	if (!conn->ssl) {
		struct msghdr message = { .msg_iov = parts, .msg_iovlen = (size_t)n_parts };
		ssize_t sent;
		do
			sent = sendmsg(conn->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
		while (sent < 0 && errno == EINTR);
		return sent >= 0 ? sent : errno == EAGAIN ? -1 : -2;
	}
	g_mutex_lock(&conn->tls);
	ERR_clear_error();
	ssize_t sent = tls_write(conn->ssl, parts, n_parts);
	int problem = sent > 0 ? SSL_ERROR_NONE : SSL_get_error(conn->ssl, (int)sent);
	g_mutex_unlock(&conn->tls);
	if (sent > 0)
		return sent;
	if (problem == SSL_ERROR_WANT_READ)
		*ret_events = POLLIN;
	return problem == SSL_ERROR_WANT_READ || problem == SSL_ERROR_WANT_WRITE ? -1 : -2;
}

/* Drops `sent` bytes from the front of the parts; empty parts go too. */
static void advance(struct iovec **parts, int *n_parts, size_t sent)
{
	while (*n_parts > 0 && sent >= (*parts)->iov_len) {
		sent -= (*parts)->iov_len;
		(*parts)++;
		(*n_parts)--;
	}
	if (*n_parts > 0) {
		(*parts)->iov_base = (char *)(*parts)->iov_base + sent;
		(*parts)->iov_len -= sent;
	}
}

static int wait_writable(Conn *conn, short events, Error **err)
{
	int ready = conn_wait(conn, events, conn_deadline(CONN_IDLE_LIMIT_S), err);
	if (ready < 0)
		return -1;
	return ready ? 0 : error_set(err, ERROR_TIMEOUT, "Client does not read");
}

int conn_write(Conn *conn, const struct iovec *parts, int n_parts, Error **err)
{
	struct iovec copy[8];
	struct iovec *left = copy;

	g_assert(n_parts <= (int)G_N_ELEMENTS(copy));
	if (conn->memory) {
		for (int i = 0; i < n_parts; i++)
			g_byte_array_append(
			    conn->memory, parts[i].iov_base, (guint)parts[i].iov_len);
		return 0;
	}
	memcpy(copy, parts, sizeof(*parts) * (size_t)n_parts);
	advance(&left, &n_parts, 0);
	while (n_parts > 0) {
		short events;
		ssize_t sent = write_once(conn, left, n_parts, &events);
		if (sent >= 0)
			advance(&left, &n_parts, (size_t)sent);
		else if (sent == -2)
			return error_set(err, ERROR_CANCELLED, "Connection closed by the client");
		else if (wait_writable(conn, events, err) < 0)
			return -1;
	}
	return 0;
}

gboolean conn_network_wait(const Conn *conn, int64_t *ret_us)
{
	struct tcp_info info = { 0 };
	socklen_t size = sizeof(info);
	if (conn->fd < 0 || getsockopt(conn->fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0 ||
	    size < offsetof(struct tcp_info, tcpi_delivered))
		return FALSE;
	*ret_us = (int64_t)(info.tcpi_busy_time - info.tcpi_rwnd_limited -
	    info.tcpi_sndbuf_limited);
	return TRUE;
}

int conn_sendfile(Conn *conn, int file, uint64_t offset, uint64_t length, Error **err)
{
	off_t position = (off_t)offset;
	while (length > 0) {
		ssize_t sent = sendfile(conn->fd, file, &position, MIN(length, 1 << 30));
		if (sent > 0)
			length -= (uint64_t)sent;
		else if (sent == 0)
			return error_set(
			    err, ERROR_INTERNAL, "File became shorter while it was sent");
		else if (errno == EAGAIN) {
			if (wait_writable(conn, POLLOUT, err) < 0)
				return -1;
		} else if (errno == EPIPE || errno == ECONNRESET) {
			return error_set(err, ERROR_CANCELLED, "Connection closed by the client");
		} else if (errno != EINTR) {
			return error_errno(err, ERROR_INTERNAL, errno, "Failed to send the file");
		}
	}
	return 0;
}

gboolean conn_gone(Conn *conn)
{
	if (g_atomic_int_get(&conn->cancelled))
		return TRUE;
	if (conn->fd < 0)
		return FALSE;
	struct pollfd pfd = { .fd = conn->fd, .events = POLLRDHUP };
	return poll(&pfd, 1, 0) > 0;
}

void conn_linger(Conn *conn)
{
	enum { LINGER_S = 2, SCRAP = 64 * 1024 };
	if (conn->fd < 0)
		return;
	/* Only this side is closed; with TLS 1.3 the other may go on. */
	if (conn->ssl)
		SSL_shutdown(conn->ssl);
	shutdown(conn->fd, SHUT_WR);
	g_autofree char *scrap = g_malloc(SCRAP);
	int64_t until = conn_deadline(LINGER_S);
	conn->start = conn->end = 0;
	while (conn_read(conn, scrap, SCRAP, until, NULL) > 0 && g_get_monotonic_time() < until)
		;
}

void conn_trim(Conn *conn)
{
	if (conn->start < conn->end)
		return;
	g_clear_pointer(&conn->in, g_free);
	conn->start = conn->end = conn->capacity = 0;
}
