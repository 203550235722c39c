#include "server/rpc/pump.h"
#include "sdk/base/own.h"
#include "sdk/client.h"
#include <errno.h>
#include <openssl/err.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum { SCRATCH = 128 * 1024, TURNS = 32 };

/* Bytes that the other side could not take yet; freed when it has. */
typedef struct Rest {
	uint8_t *data;
	size_t start, end;
} Rest;

typedef struct PumpLink {
	int net, plain;
	SSL *ssl;
	Rest up, down;          /* towards gRPC, towards the client */
	gboolean net_ended, plain_ended;
	gboolean queued;        /* has more to do without a new event */
	GList link;
} PumpLink;

struct Pump {
	int epoll, wake;
	pthread_t thread;
	GMutex lock;
	GQueue links;           /* under the lock */
	gint stopping;
	uint8_t scratch[SCRATCH];
};

typedef enum Moved { MOVED_NOTHING, MOVED_SOME, MOVED_END } Moved;

static void keep(Rest *rest, const uint8_t *data, size_t length)
{
	rest->data = g_memdup2(data, length);
	rest->start = 0;
	rest->end = length;
}

static void used(Rest *rest, size_t n)
{
	rest->start += n;
	if (rest->start == rest->end)
		g_clear_pointer(&rest->data, g_free);
}

static gboolean would_block(void)
{
	return errno == EAGAIN || errno == EINTR;
}

/* n>0 written, 0 not now, -1 broken. */
static ssize_t write_plain(PumpLink *link, const uint8_t *data, size_t length)
{
	ssize_t n = send(link->plain, data, length, MSG_NOSIGNAL | MSG_DONTWAIT);
	return n > 0 ? n : n < 0 && would_block() ? 0 : -1;
}

static ssize_t write_tls(PumpLink *link, const uint8_t *data, size_t length)
{
	ERR_clear_error();
	struct iovec part = { (uint8_t *)data, length };
	ssize_t n = tls_write(link->ssl, &part, 1);
	if (n > 0)
		return n;
	int problem = SSL_get_error(link->ssl, (int)n);
	return problem == SSL_ERROR_WANT_READ || problem == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

static ssize_t read_tls(PumpLink *link, uint8_t *data, size_t length)
{
	size_t have = 0;
	while (have < length) {
		ERR_clear_error();
		int n = SSL_read(link->ssl, data + have, (int)(length - have));
		if (n <= 0) {
			int problem = SSL_get_error(link->ssl, n);
			if (problem != SSL_ERROR_WANT_READ && problem != SSL_ERROR_WANT_WRITE)
				link->net_ended = TRUE;
			break;
		}
		have += (size_t)n;
	}
	return (ssize_t)have;
}

static ssize_t read_plain(PumpLink *link, uint8_t *data, size_t length)
{
	ssize_t n = recv(link->plain, data, length, MSG_DONTWAIT);
	if (n == 0 || (n < 0 && !would_block()))
		link->plain_ended = TRUE;
	return MAX(n, 0);
}

typedef ssize_t (*Reader)(PumpLink *link, uint8_t *data, size_t length);
typedef ssize_t (*Writer)(PumpLink *link, const uint8_t *data, size_t length);

static Moved move(
    Pump *pump, PumpLink *link, Rest *rest, Reader reader, Writer writer, const gboolean *ended)
{
	if (rest->data) {
		ssize_t n = writer(link, rest->data + rest->start, rest->end - rest->start);
		if (n > 0)
			used(rest, (size_t)n);
		return n < 0 ? MOVED_END : n ? MOVED_SOME : MOVED_NOTHING;
	}
	size_t have = *ended ? 0 : (size_t)reader(link, pump->scratch, SCRATCH);
	size_t done = 0;
	while (done < have) {
		ssize_t n = writer(link, pump->scratch + done, have - done);
		if (n < 0)
			return MOVED_END;
		if (n == 0) {
			keep(rest, pump->scratch + done, have - done);
			return MOVED_SOME;
		}
		done += (size_t)n;
	}
	return *ended ? MOVED_END : have ? MOVED_SOME : MOVED_NOTHING;
}

static void link_free(Pump *pump, PumpLink *link)
{
	g_mutex_lock(&pump->lock);
	g_queue_unlink(&pump->links, &link->link);
	g_mutex_unlock(&pump->lock);
	ERR_clear_error();
	if (!link->net_ended)
		SSL_shutdown(link->ssl);
	SSL_free(link->ssl);
	close(link->net);
	close(link->plain);
	g_free(link->up.data);
	g_free(link->down.data);
	g_free(link);
}

/* Moves what can be moved: TRUE when there may be more (others get their turn first). */
static gboolean link_run(Pump *pump, PumpLink *link, gboolean *ret_over)
{
	for (int i = 0; i < TURNS; i++) {
		Moved up = move(pump, link, &link->up, read_tls, write_plain, &link->net_ended);
		Moved down = move(
		    pump, link, &link->down, read_plain, write_tls, &link->plain_ended);
		if (up == MOVED_END || down == MOVED_END) {
			*ret_over = TRUE;
			return FALSE;
		}
		if (up == MOVED_NOTHING && down == MOVED_NOTHING)
			return FALSE;
	}
	return TRUE;
}

static void *run(void *data)
{
	Pump *pump = data;
	GQueue busy = G_QUEUE_INIT;
	pthread_setname_np(pthread_self(), "tls-pump");
	while (!g_atomic_int_get(&pump->stopping)) {
		struct epoll_event events[64];
		int n = epoll_wait(
		    pump->epoll, events, G_N_ELEMENTS(events), g_queue_is_empty(&busy) ? -1 : 0);
		for (int i = 0; i < n; i++) {
			PumpLink *link = events[i].data.ptr;
			if (link && !link->queued) {
				link->queued = TRUE;
				g_queue_push_tail(&busy, link);
			}
		}
		for (guint turns = g_queue_get_length(&busy); turns; turns--) {
			PumpLink *link = g_queue_pop_head(&busy);
			gboolean over = FALSE;
			link->queued = link_run(pump, link, &over);
			if (over)
				link_free(pump, link);
			else if (link->queued)
				g_queue_push_tail(&busy, link);
		}
	}
	g_queue_clear(&busy);
	return NULL;
}

int pump_start(Pump **ret_pump, Error **err)
{
	Pump *pump = g_new0(Pump, 1);
	g_mutex_init(&pump->lock);
	g_queue_init(&pump->links);
	pump->epoll = epoll_create1(EPOLL_CLOEXEC);
	pump->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	epoll_ctl(pump->epoll, EPOLL_CTL_ADD, pump->wake, &event);
	int problem = pthread_create(&pump->thread, NULL, run, pump);
	if (problem) {
		close(pump->epoll);
		close(pump->wake);
		g_free(pump);
		return error_errno(err, ERROR_INTERNAL, problem, "Failed to start a thread");
	}
	*ret_pump = pump;
	return 0;
}

void pump_stop(Pump *pump)
{
	uint64_t one = 1;
	if (!pump)
		return;
	g_atomic_int_set(&pump->stopping, 1);
	ssize_t ignored = write(pump->wake, &one, sizeof(one));
	(void)ignored;
	pthread_join(pump->thread, NULL);
	while (pump->links.head)
		link_free(pump, pump->links.head->data);
	close(pump->epoll);
	close(pump->wake);
	g_mutex_clear(&pump->lock);
	g_free(pump);
}

int pump_add(Pump *pump, int fd, SSL *ssl, int *ret_fd, Error **err)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Failed to make a socket pair");
	PumpLink *link = g_new0(PumpLink, 1);
	link->net = fd;
	link->plain = pair[0];
	link->ssl = ssl;
	link->link.data = link;
	tls_set_bulk(ssl);
	g_mutex_lock(&pump->lock);
	g_queue_push_tail_link(&pump->links, &link->link);
	*ret_fd = pair[1];
	/* Edge-triggered: every change on either side makes the link run until neither side moves.
	 * The first event comes at once, for what TLS has already read. */
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
		.data.ptr = link };
	epoll_ctl(pump->epoll, EPOLL_CTL_ADD, link->net, &event);
	epoll_ctl(pump->epoll, EPOLL_CTL_ADD, link->plain, &event);
	/* Until here the pump cannot free the link, however early its peer leaves. */
	g_mutex_unlock(&pump->lock);
	return 0;
}
