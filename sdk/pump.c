/*
 * Bytes between a TLS connection and one end of a socket pair whose other end gRPC has. One thread,
 * poll, a buffer each way; ends when either side ends or the stop pipe closes.
 */
#include "sdk/client.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PUMP_BUFFER = 128 << 10 };

typedef struct Way {
	size_t start, end;
	char data[PUMP_BUFFER];
} Way;

struct Pump {
	SSL *ssl;
	int fd, net, stop[2];
	gboolean ssl_wants_write; /* SSL_read or SSL_write waits for room on the network */
	Way in, out;              /* network to gRPC, gRPC to network */
	GThread *thread;
};

/* FALSE when the connection is over. */
static gboolean ssl_goes_on(Pump *pump, int result)
{
	switch (SSL_get_error(pump->ssl, result)) {
	case SSL_ERROR_WANT_WRITE:
		pump->ssl_wants_write = TRUE;
		return TRUE;
	case SSL_ERROR_WANT_READ:
		return TRUE;
	default:
		return FALSE;
	}
}

/* What there is of records, of which each gives 16 KiB at most: what SSL_read() said last. */
static int read_records(Pump *pump, Way *way)
{
	int got = 1;
	way->start = way->end = 0;
	while (way->end < PUMP_BUFFER &&
	    (got = SSL_read(pump->ssl, way->data + way->end, (int)(PUMP_BUFFER - way->end))) > 0)
		way->end += (size_t)got;
	return got;
}

static gboolean network_to_fd(Pump *pump)
{
	Way *way = &pump->in;
	for (;;) {
		if (way->start == way->end) {
			int got = read_records(pump, way);
			if (way->end == 0)
				return ssl_goes_on(pump, got);
		}
		ssize_t put = send(
		    pump->fd, way->data + way->start, way->end - way->start, MSG_NOSIGNAL);
		if (put < 0)
			return errno == EAGAIN || errno == EINTR;
		way->start += put;
	}
}

static gboolean fd_to_network(Pump *pump)
{
	Way *way = &pump->out;
	for (;;) {
		if (way->start == way->end) {
			ssize_t got = recv(pump->fd, way->data, PUMP_BUFFER, 0);
			if (got == 0)
				return FALSE;
			if (got < 0)
				return errno == EAGAIN || errno == EINTR;
			way->start = 0;
			way->end = got;
		}
		struct iovec part = { way->data + way->start, way->end - way->start };
		ssize_t put = tls_write(pump->ssl, &part, 1);
		if (put <= 0)
			return ssl_goes_on(pump, (int)put);
		way->start += put;
	}
}

/* OpenSSL writes by write(2): the program's SIGPIPE is not for a server that went. */
static void block_sigpipe(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static gpointer pump_run(gpointer data)
{
	Pump *pump = data;
	block_sigpipe();
	for (;;) {
		ERR_clear_error();
		pump->ssl_wants_write = FALSE;
		if (!network_to_fd(pump) || !fd_to_network(pump))
			break;
		struct pollfd fds[3] = {
			{ .fd = pump->net },
			{ .fd = pump->fd },
			{ .fd = pump->stop[0], .events = POLLIN },
		};
		gboolean in_full = pump->in.start != pump->in.end,
			 out_full = pump->out.start != pump->out.end;
		fds[0].events = (in_full ? 0 : POLLIN) |
		    (pump->ssl_wants_write || out_full ? POLLOUT : 0);
		fds[1].events = (in_full ? POLLOUT : 0) | (out_full ? 0 : POLLIN);
		if (poll(fds, 3, -1) < 0 && errno != EINTR)
			break;
		if (fds[2].revents)
			break;
	}
	SSL_shutdown(pump->ssl);
	shutdown(pump->net, SHUT_RDWR);
	shutdown(pump->fd, SHUT_RDWR);
	return NULL;
}

Pump *pump_open(SSL *ssl, int fd)
{
	Pump *pump = g_new0(Pump, 1);
	pump->ssl = ssl;
	pump->fd = fd;
	pump->net = SSL_get_fd(ssl);
	fcntl(pump->net, F_SETFL, O_NONBLOCK);
	tls_set_bulk(ssl);
	if (pipe2(pump->stop, O_CLOEXEC) < 0)
		g_error("Cannot make a pipe: %s", g_strerror(errno));
	pump->thread = g_thread_new("incus-tls", pump_run, pump);
	return pump;
}

void pump_close(Pump *pump)
{
	if (!pump)
		return;
	close(pump->stop[1]);
	g_thread_join(pump->thread);
	close(pump->stop[0]);
	close(pump->net);
	close(pump->fd);
	SSL_free(pump->ssl);
	g_free(pump);
}
