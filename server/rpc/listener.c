#include "server/rpc/listener.h"
#include "sdk/base/log.h"
#include "sdk/base/own.h"
#include "server/key/server.h"
#include "server/rpc/address.h"
#include "server/rpc/grpc.h"
#include "server/rpc/identity.h"
#include "server/rpc/pump.h"
#include "server/rpc/rest.h"
#include "server/rpc/route.h"
#include "server/rpc/tls.h"
#include "server/rpc/worker.h"
#include <errno.h>
#include <openssl/err.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

enum {
	HANDSHAKE_S =
	    10, /* from the first byte (TLS: from accept) to a complete preface, hello or head */
	STRANGER_IDLE_S = 60,	  /* untrusted TLS clients may stay idle this long */
	RECHECK_US = 50000,	  /* how often an incomplete preface is looked at again */
	ACCEPT_PAUSE_US = 200000, /* after running out of descriptors */
};

/* What epoll's events point to. */
typedef struct Source {
	void (*ready)(struct Listener *listener, struct Source *source);
	int fd;
} Source;

typedef enum Stage { STAGE_PEEK, STAGE_HANDSHAKE, STAGE_HTTP } Stage;

/* A connection that no door has taken away: with epoll, or with the one worker that got its event.
 */
typedef struct Client {
	Source source;
	Conn *conn;
	Stage stage;
	char *address;
	gboolean metrics;       /* came through that port */
	int64_t deadline_us;    /* while with epoll; under the lock */
	gboolean recheck;       /* under the lock: not armed, the sweep arms it */
	gboolean added;         /* epoll knows it */
	GList link;
} Client;

/* The TLS ports. That for metrics shows nothing else: access.c refuses the rest. */
typedef enum TlsPort { TLS_HTTPS, TLS_METRICS, TLS_PORTS } TlsPort;

static const struct {
	const char *key;
	int default_port;
} tls_ports[TLS_PORTS] = {
	[TLS_HTTPS] = { "core.https_address", ADDRESS_DEFAULT_PORT },
	[TLS_METRICS] = { "core.metrics_address", ADDRESS_METRICS_PORT },
};

typedef struct Port {
	Source source;
	char *address;          /* as bound; NULL for the unix socket */
	gboolean metrics;
	gboolean resting;       /* under the lock: out of descriptors, the sweep arms it */
	gboolean closed;        /* under the lock */
} Port;

typedef struct Listener {
	Daemon *daemon;
	int epoll;
	Workers workers;
	GrpcDoor *grpc;
	Pump *pump;
	SSL_CTX *tls;
	Source timer, wake;
	GMutex lock;
	GQueue clients;
	int64_t timer_us;       /* when the timer is set to; G_MAXINT64 off */
	Port *unix_port, *tls_port[TLS_PORTS];
	GSList *old_ports;      /* closed, but an event may still point there: freed at the end */
	char *socket_path;      /* ours to unlink */
} Listener;

static int arm(Listener *listener, Source *source, uint32_t events, int operation)
{
	struct epoll_event event = { .events = events | EPOLLONESHOT | EPOLLET,
		.data.ptr = source };
	return epoll_ctl(listener->epoll, operation, source->fd, &event);
}

/* Under the lock. A client is added only now: epoll tells of a hangup even where nothing was asked.
 */
static void client_arm(Listener *listener, Client *client, uint32_t events)
{
	arm(listener, &client->source, events, client->added ? EPOLL_CTL_MOD : EPOLL_CTL_ADD);
	client->added = TRUE;
}

/* --- deadlines --- */

/* Under the lock: the timer rings at due_us at the latest. */
static void set_timer(Listener *listener, int64_t due_us)
{
	if (due_us >= listener->timer_us)
		return;
	listener->timer_us = due_us;
	struct itimerspec spec = { .it_value = { due_us / G_USEC_PER_SEC,
				       (due_us % G_USEC_PER_SEC) * 1000 } };
	timerfd_settime(listener->timer.fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

static int64_t sweep_client(Listener *listener, Client *client, int64_t now)
{
	if (client->deadline_us <= now) {
		client->deadline_us = G_MAXINT64;
		conn_cancel(client->conn);
		client->recheck = TRUE; /* its event brings it to a worker, which closes it */
	}
	if (client->recheck) {
		client->recheck = FALSE;
		client_arm(listener, client, EPOLLIN);
	}
	return client->deadline_us;
}

static void sweep(Listener *listener, Source *source)
{
	uint64_t rings;
	ssize_t ignored = read(source->fd, &rings, sizeof(rings));
	(void)ignored;
	g_mutex_lock(&listener->lock);
	int64_t now = g_get_monotonic_time(), next = G_MAXINT64;
	listener->timer_us = G_MAXINT64;
	for (GList *link = listener->clients.head; link; link = link->next)
		next = MIN(next, sweep_client(listener, link->data, now));
	Port *ports[] = { listener->unix_port, listener->tls_port[TLS_HTTPS],
		listener->tls_port[TLS_METRICS] };
	for (size_t i = 0; i < G_N_ELEMENTS(ports); i++)
		if (ports[i] && ports[i]->resting) {
			ports[i]->resting = FALSE;
			arm(listener, &ports[i]->source, EPOLLIN, EPOLL_CTL_MOD);
		}
	set_timer(listener, next);
	arm(listener, source, EPOLLIN, EPOLL_CTL_MOD);
	g_mutex_unlock(&listener->lock);
}

/* --- one client --- */

static void client_free(Listener *listener, Client *client)
{
	g_mutex_lock(&listener->lock);
	g_queue_unlink(&listener->clients, &client->link);
	g_mutex_unlock(&listener->lock);
	conn_free(client->conn);
	g_free(client->address);
	g_free(client);
}

/* Back to epoll. The client is another thread's from here on. */
static void client_park(
    Listener *listener, Client *client, uint32_t events, gboolean recheck, int64_t deadline_us)
{
	conn_trim(client->conn);
	g_mutex_lock(&listener->lock);
	client->deadline_us = deadline_us;
	client->recheck = recheck;
	set_timer(listener, recheck ? g_get_monotonic_time() + RECHECK_US : deadline_us);
	if (!recheck)
		client_arm(listener, client, events);
	g_mutex_unlock(&listener->lock);
}

static void client_to_grpc(Listener *listener, Client *client)
{
	g_autoptr(Error) err = NULL;
	Conn *conn = client->conn;
	int fd = conn->fd;
	if (client->added)
		epoll_ctl(listener->epoll, EPOLL_CTL_DEL, fd, NULL);
	if (conn->ssl && pump_add(listener->pump, conn->fd, conn->ssl, &fd, &err) < 0) {
		log_warn("Failed to serve a gRPC connection", "err", err->message);
	} else {
		grpc_door_add(listener->grpc, fd, g_steal_pointer(&conn->caller));
		conn->ssl = NULL;
		conn->fd = -1;
	}
	client_free(listener, client);
}

static void client_http(Listener *listener, Client *client, int64_t head_deadline_us)
{
	Conn *conn = client->conn;
	if (rest_serve(listener->daemon, conn) == REST_CLOSE) {
		client_free(listener, client);
		return;
	}
	int64_t deadline = G_MAXINT64;
	if (conn->start < conn->end) /* part of a head: it must come whole in time */
		deadline = head_deadline_us != G_MAXINT64 ? head_deadline_us :
							    conn_deadline(HANDSHAKE_S);
	else if (conn->caller->kind == CALLER_UNTRUSTED)
		deadline = conn_deadline(STRANGER_IDLE_S);
	client_park(listener, client, EPOLLIN | EPOLLRDHUP, FALSE, deadline);
}

static void client_handshake(Listener *listener, Client *client, int64_t deadline_us)
{
	Conn *conn = client->conn;
	ERR_clear_error();
	int done = SSL_do_handshake(conn->ssl);
	if (done != 1) {
		int problem = SSL_get_error(conn->ssl, done);
		ERR_clear_error();
		if (problem == SSL_ERROR_WANT_READ)
			client_park(listener, client, EPOLLIN | EPOLLRDHUP, FALSE, deadline_us);
		else if (problem == SSL_ERROR_WANT_WRITE)
			client_park(listener, client, EPOLLOUT, FALSE, deadline_us);
		else
			client_free(listener, client);
		return;
	}
	conn->caller = tls_caller(listener->daemon, conn->ssl, client->address);
	conn->caller->metrics_port = client->metrics;
	client->stage = STAGE_HTTP;
	if (tls_is_grpc(conn->ssl))
		client_to_grpc(listener, client);
	else
		client_http(listener, client, G_MAXINT64);
}

/* "PRI * HTTP/2.0" is gRPC; no HTTP/1 method begins like that. Three bytes decide. */
static void client_peek(Listener *listener, Client *client, int64_t deadline_us)
{
	char start[3];
	ssize_t n = recv(client->conn->fd, start, sizeof(start), MSG_PEEK | MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		client_park(listener, client, EPOLLIN | EPOLLRDHUP, FALSE, deadline_us);
	} else if (n <= 0) {
		client_free(listener, client);
	} else if (memcmp(start, "PRI", (size_t)n)) {
		client->stage = STAGE_HTTP;
		client_http(listener, client, G_MAXINT64);
	} else if (n == sizeof(start)) {
		client_to_grpc(listener, client);
	} else {
		/* Readable, but not enough: epoll would only spin. */
		client_park(listener, client, 0, TRUE,
		    deadline_us == G_MAXINT64 ? conn_deadline(HANDSHAKE_S) : deadline_us);
	}
}

static void client_ready(Listener *listener, Source *source)
{
	Client *client = (Client *)source;
	g_mutex_lock(&listener->lock);
	int64_t deadline = client->deadline_us;
	client->deadline_us = G_MAXINT64;
	g_mutex_unlock(&listener->lock);
	if (g_atomic_int_get(&client->conn->cancelled))
		client_free(listener, client);
	else if (client->stage == STAGE_PEEK)
		client_peek(listener, client, deadline);
	else if (client->stage == STAGE_HANDSHAKE)
		client_handshake(listener, client, deadline);
	else
		client_http(listener, client, deadline);
}

static Client *client_new(Listener *listener, Port *port, int fd)
{
	Client *client = g_new0(Client, 1);
	gboolean tls = port->address != NULL;
	client->source = (Source){ client_ready, fd };
	client->stage = tls ? STAGE_HANDSHAKE : STAGE_PEEK;
	client->deadline_us = G_MAXINT64;
	client->link.data = client;
	SSL *ssl = NULL;
	if (tls) {
		client->address = address_of_peer(fd);
		client->metrics = port->metrics;
		g_mutex_lock(&listener->lock);
		ssl = SSL_new(listener->tls);
		g_mutex_unlock(&listener->lock);
		SSL_set_fd(ssl, fd);
		SSL_set_accept_state(ssl);
	}
	client->conn = conn_new(fd, ssl, tls ? NULL : identity_unix_caller(listener->daemon, fd));
	client->conn->local = !tls;
	g_mutex_lock(&listener->lock);
	g_queue_push_tail_link(&listener->clients, &client->link);
	g_mutex_unlock(&listener->lock);
	return client;
}

/* One connection, served here and now: another worker waits for the next one. */
static void port_ready(Listener *listener, Source *source)
{
	Port *port = (Port *)source;
	int fd = accept4(source->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	int problem = errno;
	g_mutex_lock(&listener->lock);
	if (!port->closed) {
		if (fd < 0 &&
		    (problem == EMFILE || problem == ENFILE || problem == ENOMEM ||
			problem == ENOBUFS)) {
			port->resting = TRUE;
			set_timer(listener, g_get_monotonic_time() + ACCEPT_PAUSE_US);
		} else {
			arm(listener, source, EPOLLIN, EPOLL_CTL_MOD);
		}
	}
	g_mutex_unlock(&listener->lock);
	if (fd < 0)
		return;
	Client *client = client_new(listener, port, fd);
	if (client->stage == STAGE_HANDSHAKE)
		client_handshake(listener, client, conn_deadline(HANDSHAKE_S));
	else
		client_peek(listener, client, G_MAXINT64);
}

static gboolean step(Workers *workers)
{
	Listener *listener = workers->data;
	struct epoll_event event;
	workers_idle(workers);
	int n = epoll_wait(listener->epoll, &event, 1, WORKERS_IDLE_MS);
	Source *source = n == 1 ? event.data.ptr : NULL;
	gboolean work = source && source->ready;
	workers_woke(workers, work);
	if (work)
		source->ready(listener, source);
	return work;
}

/* --- ports --- */

static Port *port_new(Listener *listener, int fd, char *address)
{
	Port *port = g_new0(Port, 1);
	port->source = (Source){ port_ready, fd };
	port->address = address;
	arm(listener, &port->source, EPOLLIN, EPOLL_CTL_ADD);
	return port;
}

static Port *tls_port_new(Listener *listener, TlsPort which, int fd, char *address)
{
	Port *port = port_new(listener, fd, address);
	port->metrics = which == TLS_METRICS;
	return port;
}

/* Under the lock. */
static void port_close(Listener *listener, Port *port)
{
	if (!port)
		return;
	port->closed = TRUE;
	epoll_ctl(listener->epoll, EPOLL_CTL_DEL, port->source.fd, NULL);
	close(port->source.fd);
	port->source.fd = -1;
	listener->old_ports = g_slist_prepend(listener->old_ports, port);
}

static void port_free(gpointer data)
{
	Port *port = data;
	g_free(port->address);
	g_free(port);
}

/* Binds the new address. Where it only differs in the host, the old one holds the port: then that
 * is closed first, and bound again if the new one fails. */
static int rebind(Listener *listener, TlsPort which, const char *address, int *ret_fd,
    char **ret_bound, Error **err)
{
	Port **port = &listener->tls_port[which];
	g_autoptr(Error) problem = NULL;
	if (address_listen(address, ret_fd, ret_bound, &problem) == 0)
		return 0;
	g_mutex_lock(&listener->lock);
	g_autofree char *old = *port ? g_strdup((*port)->address) : NULL;
	if (old && address_same_port(old, address))
		port_close(listener, g_steal_pointer(port));
	else
		g_clear_pointer(&old, g_free);
	g_mutex_unlock(&listener->lock);
	if (!old)
		return error_propagate(err, g_steal_pointer(&problem));
	if (address_listen(address, ret_fd, ret_bound, err) == 0)
		return 0;
	int fd;
	char *bound;
	if (address_listen(old, &fd, &bound, NULL) == 0)
		*port = tls_port_new(listener, which, fd, bound);
	return -1;
}

int listener_reload_certificate(Daemon *daemon, Error **err)
{
	Listener *listener = daemon->listener;
	g_autofree char *cert = g_build_filename(daemon->dir, "server.crt", NULL);
	g_autofree char *key = g_build_filename(daemon->dir, "server.key", NULL);
	SSL_CTX *context;
	if (tls_context_new(cert, key, &context, err) < 0)
		return -1;
	g_mutex_lock(&listener->lock);
	SSL_CTX *old = listener->tls;
	listener->tls = context;
	g_mutex_unlock(&listener->lock);
	SSL_CTX_free(old);
	return 0;
}

/* Only who listens needs TLS: setting it up is a third of a start. */
static int need_certificate(Listener *listener, Error **err)
{
	g_mutex_lock(&listener->lock);
	gboolean loaded = listener->tls != NULL;
	g_mutex_unlock(&listener->lock);
	return loaded ? 0 : listener_reload_certificate(listener->daemon, err);
}

/* As it is bound; NULL: not open. */
static char *tls_port_address(Listener *listener, TlsPort which)
{
	g_mutex_lock(&listener->lock);
	Port *port = listener->tls_port[which];
	char *address = port ? g_strdup(port->address) : NULL;
	g_mutex_unlock(&listener->lock);
	return address;
}

/* "" or NULL: closed. */
static int tls_port_set(Listener *listener, TlsPort which, const char *value, Error **err)
{
	int fd = -1;
	char *bound = NULL;
	if (value && *value) {
		g_autofree char *address = address_complete(value, tls_ports[which].default_port);
		g_autofree char *now = tls_port_address(listener, which);
		if (now && address_equal(now, address))
			return 0;
		if (need_certificate(listener, err) < 0 ||
		    rebind(listener, which, address, &fd, &bound, err) < 0)
			return -1;
	}
	g_mutex_lock(&listener->lock);
	Port *old = listener->tls_port[which];
	listener->tls_port[which] = fd >= 0 ? tls_port_new(listener, which, fd, bound) : NULL;
	port_close(listener, old);
	g_mutex_unlock(&listener->lock);
	return 0;
}

char *listener_https_address(Daemon *daemon)
{
	return daemon->listener ? tls_port_address(daemon->listener, TLS_HTTPS) : NULL;
}

char **listener_https_addresses(Daemon *daemon)
{
	g_autofree char *bound = listener_https_address(daemon);
	return bound ? address_reachable(bound) : g_new0(char *, 1);
}

/* --- start and stop --- */

/* Sockets that systemd (or a test) hands over: LISTEN_FDS from descriptor 3 on. */
static int take_sockets(Listener *listener, Error **err)
{
	const char *pid = g_getenv("LISTEN_PID"), *count = g_getenv("LISTEN_FDS");
	int n = count && (!pid || atoi(pid) == getpid()) ? atoi(count) : 0;
	g_unsetenv("LISTEN_PID");
	g_unsetenv("LISTEN_FDS");
	g_unsetenv("LISTEN_FDNAMES");
	for (int fd = 3; fd < 3 + n; fd++) {
		int family = 0;
		socklen_t length = sizeof(family);
		if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &length) < 0)
			return error_errno(
			    err, ERROR_INTERNAL, errno, "Inherited descriptor %d is no socket", fd);
		address_prepare_inherited(fd);
		if (family != AF_UNIX && need_certificate(listener, err) < 0)
			return -1;
		if (family == AF_UNIX && !listener->unix_port)
			listener->unix_port = port_new(listener, fd, NULL);
		else if (family != AF_UNIX && !listener->tls_port[TLS_HTTPS])
			listener->tls_port[TLS_HTTPS] = tls_port_new(
			    listener, TLS_HTTPS, fd, address_of_socket(fd));
	}
	return 0;
}

static void open_tls_port(Listener *listener, TlsPort which)
{
	g_autoptr(Error) problem = NULL;
	g_autofree char *address = server_config_get(
	    listener->daemon->config, tls_ports[which].key);
	if (!listener->tls_port[which] && address && *address &&
	    tls_port_set(listener, which, address, &problem) < 0)
		/* The unix socket must stay usable to repair this. */
		log_error("Failed to listen", "key", tls_ports[which].key, "address", address,
		    "err", problem->message);
}

static int open_ports(Listener *listener, Error **err)
{
	Daemon *daemon = listener->daemon;
	if (take_sockets(listener, err) < 0)
		return -1;
	if (!listener->unix_port) {
		int fd;
		g_autofree char *path = g_build_filename(daemon->dir, "unix.socket", NULL);
		if (address_listen_unix(path, daemon->group, &fd, err) < 0)
			return -1;
		listener->socket_path = g_steal_pointer(&path);
		listener->unix_port = port_new(listener, fd, NULL);
	}
	for (int which = 0; which < TLS_PORTS && daemon->config; which++)
		open_tls_port(listener, which);
	return 0;
}

static int open_epoll(Listener *listener, Error **err)
{
	listener->epoll = epoll_create1(EPOLL_CLOEXEC);
	listener->timer = (Source){ sweep,
		timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC) };
	listener->wake = (Source){ NULL, eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) };
	if (listener->epoll < 0 || listener->timer.fd < 0 || listener->wake.fd < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Failed to set up epoll");
	arm(listener, &listener->timer, EPOLLIN, EPOLL_CTL_ADD);
	/* Level-triggered and never read: at the end it wakes every worker. */
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = &listener->wake };
	epoll_ctl(listener->epoll, EPOLL_CTL_ADD, listener->wake.fd, &event);
	return 0;
}

static int address_changed(Daemon *daemon, const char *key, const char *value, Error **err)
{
	int which = 0;
	while (strcmp(tls_ports[which].key, key) != 0)
		which++;
	return daemon->listener ? tls_port_set(daemon->listener, which, value, err) : 0;
}

int listener_start(Daemon *daemon, Error **err)
{
	Listener *listener = g_new0(Listener, 1);
	daemon->listener = listener;
	listener->daemon = daemon;
	listener->epoll = listener->timer.fd = listener->wake.fd = -1;
	listener->timer_us = G_MAXINT64;
	g_mutex_init(&listener->lock);
	g_queue_init(&listener->clients);
	route_start();
	for (int which = 0; which < TLS_PORTS && daemon->config; which++)
		server_config_on_change(daemon->config, tls_ports[which].key, address_changed);
	if (open_epoll(listener, err) < 0 || pump_start(&listener->pump, err) < 0 ||
	    grpc_door_start(daemon, &listener->grpc, err) < 0 || open_ports(listener, err) < 0 ||
	    workers_start(&listener->workers, "rest", step, listener, err) < 0) {
		listener_stop(daemon);
		return -1;
	}
	return 0;
}

static void wake_workers(void *data)
{
	Listener *listener = data;
	uint64_t one = 1;
	ssize_t ignored = write(listener->wake.fd, &one, sizeof(one));
	(void)ignored;
	g_mutex_lock(&listener->lock);
	for (GList *link = listener->clients.head; link; link = link->next)
		conn_cancel(((Client *)link->data)->conn);
	g_mutex_unlock(&listener->lock);
}

void listener_stop(Daemon *daemon)
{
	Listener *listener = daemon->listener;
	if (!listener)
		return;
	g_mutex_lock(&listener->lock);
	port_close(listener, g_steal_pointer(&listener->unix_port));
	for (int which = 0; which < TLS_PORTS; which++)
		port_close(listener, g_steal_pointer(&listener->tls_port[which]));
	g_mutex_unlock(&listener->lock);
	if (listener->socket_path)
		unlink(listener->socket_path);
	if (listener->workers.name[0])
		workers_stop(&listener->workers, wake_workers);
	grpc_door_stop(listener->grpc);
	pump_stop(listener->pump);
	while (listener->clients.head)
		client_free(listener, listener->clients.head->data);
	g_slist_free_full(listener->old_ports, port_free);
	SSL_CTX_free(listener->tls);
	own_close_fd(&listener->epoll);
	own_close_fd(&listener->timer.fd);
	own_close_fd(&listener->wake.fd);
	g_free(listener->socket_path);
	g_mutex_clear(&listener->lock);
	g_free(listener);
	daemon->listener = NULL;
}
