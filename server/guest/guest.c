#include "server/guest/guest.h"
#include "sdk/base/log.h"
#include "sdk/base/own.h"
#include "sdk/base/unix_socket.h"
#include "server/guest/mount.h"
#include "google/protobuf/empty.pb-c.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>

enum {
	STALE_MAX = 16 << 20,		  /* bytes of old connections before a guest's sync */
	RETRY_MS = 100,			  /* at first; then twice as long each time ... */
	RETRY_MAX_MS = 30000,		  /* ... up to this, for a guest that breaks connections */
	LASTING_US = 10 * G_USEC_PER_SEC, /* a connection that did any good */
	MESSAGE_MAX = 1 << 20,
	METADATA_MAX = 8 << 10,
	VISITORS_MAX = 32, /* connections to the guest API at once */
};

struct Guest {
	gint refs; /* atomic */
	char *name, *socket;
	void (*changed)(void *data, GuestEvent event);
	void (*connected)(void *data, int fd);
	GPtrArray *(*mounts)(void *data);
	void *data;
	void (*data_free)(void *data);
	int stop_fd;
	GThread *thread;
	GMutex lock;
	GCond turned;
	GuestLink *link; /* while it is online */
	GuestInfo info;
	char boot[64]; /* as the agent said last */
	guint visitors;
	gboolean paused, closed;
};

/* --- references --- */

Guest *guest_ref(Guest *guest)
{
	g_atomic_int_inc(&guest->refs);
	return guest;
}

void guest_unref(Guest *guest)
{
	if (!guest || !g_atomic_int_dec_and_test(&guest->refs))
		return;
	close(guest->stop_fd);
	g_mutex_clear(&guest->lock);
	g_cond_clear(&guest->turned);
	g_free(guest->name);
	g_free(guest->socket);
	if (guest->data_free)
		guest->data_free(guest->data);
	g_free(guest);
}

GuestLink *guest_link_ref(GuestLink *link)
{
	g_atomic_int_inc(&link->refs);
	return link;
}

void guest_link_unref(GuestLink *link)
{
	if (!link || !g_atomic_int_dec_and_test(&link->refs))
		return;
	incus_client_free(link->client);
	guest_unref(link->guest);
	g_free(link);
}

int guest_link(Guest *guest, GuestLink **ret_link, Error **err)
{
	g_mutex_lock(&guest->lock);
	GuestLink *link = guest->link ? guest_link_ref(guest->link) : NULL;
	g_mutex_unlock(&guest->lock);
	if (!link)
		return error_set(err, ERROR_INVALID, "VM agent isn't currently running");
	*ret_link = link;
	return 0;
}

/* --- one connection --- */

/* FALSE when the guest is being closed, or nothing came in time (-1: for ever). */
static gboolean wait_for(Guest *guest, int fd, short events, int timeout_ms)
{
	struct pollfd polls[] = { { .fd = fd, .events = events },
		{ .fd = guest->stop_fd, .events = POLLIN } };
	int ready;
	do
		ready = poll(polls, 2, timeout_ms);
	while (ready < 0 && errno == EINTR);
	return ready > 0 && !polls[1].revents;
}

/* QEMU takes as much as the guest has room for: with no agent there, this waits. */
static int send_all(Guest *guest, int fd, const uint8_t *bytes, size_t length)
{
	while (length > 0) {
		ssize_t n = send(fd, bytes, length, MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN && wait_for(guest, fd, POLLOUT, -1))
			continue;
		if (n < 0)
			return -1;
		bytes += n;
		length -= (size_t)n;
	}
	return 0;
}

/* Until the guest says our number; what came before is of older connections. */
static int hear_sync(Guest *guest, LinkPair *link, const uint8_t *number)
{
	for (size_t stale = 0; stale < STALE_MAX;) {
		const uint8_t *data;
		size_t length;
		ssize_t n = link->n_unread ? 0 : read(link->port, link->in, sizeof(link->in));
		if (n < 0 && errno == EAGAIN && wait_for(guest, link->port, POLLIN, -1))
			continue;
		if (n < 0 || (n == 0 && !link->n_unread))
			return -1;
		if (n > 0) {
			stale += (size_t)n;
			link->unread = link->in;
			link->n_unread = (size_t)n;
		}
		LinkEvent event = link_read(
		    &link->reader, &link->unread, &link->n_unread, &data, &length);
		if (event != LINK_SYNCED)
			continue;
		if (memcmp(link->reader.number, number, LINK_NUMBER) == 0)
			return 0;
		link->reader = (LinkReader){ 0 };
	}
	return -1;
}

static int greet(Guest *guest, LinkPair *link)
{
	static const uint8_t zeros[LINK_ZEROS];
	uint8_t number[LINK_NUMBER], sync[LINK_SYNC];
	if (getrandom(number, sizeof(number), 0) != sizeof(number))
		return -1;
	link_sync(sync, number);
	if (send_all(guest, link->port, zeros, sizeof(zeros)) < 0 ||
	    send_all(guest, link->port, sync, sizeof(sync)) < 0)
		return -1;
	return hear_sync(guest, link, number);
}

static gpointer carry(gpointer data)
{
	LinkPair *link = data;
	LinkEnd end = link_carry(link);
	shutdown(link->plain, SHUT_RDWR); /* gRPC's calls end */
	return GINT_TO_POINTER(end);
}

static GuestLink *link_new(Guest *guest, int fd)
{
	static const ClientLimits limits = { .message = MESSAGE_MAX, .metadata = METADATA_MAX };
	GuestLink *link = g_new0(GuestLink, 1);
	link->refs = 1;
	link->guest = guest_ref(guest);
	link->client = client_from_fd("guest", fd, &limits);
	g_mutex_lock(&guest->lock);
	link->guard.paused = guest->paused;
	g_mutex_unlock(&guest->lock);
	return link;
}

static void keep(char *to, size_t size, const char *from)
{
	g_autofree char *text = guest_text(from);
	g_strlcpy(to, text, size);
	/* What was cut may have been a character. */
	const char *end;
	if (!g_utf8_validate(to, -1, &end))
		to[end - to] = '\0';
}

static int say_hello(GuestLink *link, Error **err)
{
	Guest *guest = link->guest;
	Pb__AgentHelloRequest in = PB__AGENT_HELLO_REQUEST__INIT;
	Pb__AgentHelloReply *reply = NULL;
	in.host_name = guest->name;
	in.time = g_get_real_time() * 1000;
	in.version = (char *)INCUS_VERSION;
	in.guest_api = guest->connected != NULL;
	if (guest_call(link, AGENT_HELLO, &in, GUEST_CALL_MS, (void **)&reply, err) < 0)
		return -1;
	GuestInfo info;
	keep(info.version, sizeof(info.version), reply->version);
	keep(info.os, sizeof(info.os), reply->os);
	keep(info.os_version, sizeof(info.os_version), reply->os_version);
	keep(info.os_name, sizeof(info.os_name), reply->os_name);
	keep(info.kernel, sizeof(info.kernel), reply->kernel);
	keep(info.architecture, sizeof(info.architecture), reply->architecture);
	keep(info.host_name, sizeof(info.host_name), reply->host_name);
	char boot[sizeof(guest->boot)];
	keep(boot, sizeof(boot), reply->boot);
	incus_message_free(reply);
	g_mutex_lock(&guest->lock);
	gboolean rebooted = *guest->boot && strcmp(guest->boot, boot) != 0;
	guest->info = info;
	g_strlcpy(guest->boot, boot, sizeof(guest->boot));
	g_mutex_unlock(&guest->lock);
	if (rebooted && guest->changed)
		guest->changed(guest->data, GUEST_REBOOTED);
	return 0;
}

static void turn(Guest *guest, GuestLink *link)
{
	g_mutex_lock(&guest->lock);
	guest->link = link;
	g_cond_broadcast(&guest->turned);
	g_mutex_unlock(&guest->lock);
	if (guest->changed)
		guest->changed(guest->data, link ? GUEST_ONLINE : GUEST_OFFLINE);
}

/* --- the guest API --- */

typedef struct Visitor {
	GuestLink *link;
	uint64_t id;
} Visitor;

static gboolean visitor_enter(Guest *guest)
{
	g_mutex_lock(&guest->lock);
	gboolean may = !guest->closed && guest->visitors < VISITORS_MAX;
	guest->visitors += may;
	g_mutex_unlock(&guest->lock);
	return may;
}

static void visitor_leave(Guest *guest)
{
	g_mutex_lock(&guest->lock);
	guest->visitors--;
	g_cond_broadcast(&guest->turned);
	g_mutex_unlock(&guest->lock);
}

static gpointer serve_visitor(gpointer data)
{
	Visitor *visitor = data;
	g_autoptr(Guest) guest = guest_ref(visitor->link->guest);
	Pb__AgentBytes first = PB__AGENT_BYTES__INIT;
	int fd;
	first.id = visitor->id;
	if (guest_relay(visitor->link, AGENT_CONNECT_GUEST_API, &first, &fd, NULL) == 0)
		guest->connected(guest->data, fd);
	guest_link_unref(visitor->link);
	g_free(visitor);
	visitor_leave(guest);
	return NULL;
}

/* One too many finds its connection closed, once the agent does not wait for us any more. */
static void admit(GuestLink *link, uint64_t id)
{
	if (!link->guest->connected || !visitor_enter(link->guest))
		return;
	Visitor *visitor = g_new0(Visitor, 1);
	*visitor = (Visitor){ guest_link_ref(link), id };
	g_thread_unref(g_thread_new("guest-visitor", serve_visitor, visitor));
}

/* Until the connection ends. */
static void watch(GuestLink *link)
{
	incus_stream *stream = NULL;
	Pb__AgentNotice *notice;
	Google__Protobuf__Empty in = GOOGLE__PROTOBUF__EMPTY__INIT;
	if (incus_stream_open(
		link->client, &schema_agent_methods[AGENT_WATCH], &in, &stream, NULL) < 0)
		return;
	while (incus_stream_recv(stream, -1, (void **)&notice, NULL) == 1) {
		Guest *guest = link->guest;
		if (notice->what_case == PB__AGENT_NOTICE__WHAT_SHUTDOWN && guest->changed)
			guest->changed(guest->data, GUEST_SHUTDOWN);
		else if (notice->what_case == PB__AGENT_NOTICE__WHAT_GUEST_API)
			admit(link, notice->guest_api);
		incus_message_free(notice);
	}
	incus_stream_free(stream);
}

/* Before it is online for others: who gets an answer finds the folders there. */
static void mount_all(GuestLink *link)
{
	Guest *guest = link->guest;
	g_autoptr(GPtrArray) list = guest->mounts ? guest->mounts(guest->data) : NULL;
	for (guint i = 0; list && i < list->len; i++) {
		const GuestMount *mount = list->pdata[i];
		g_autoptr(Error) err = NULL;
		if (guest_mount_on(link, mount, 0, &err) < 0)
			log_warn("A folder is not mounted in the virtual machine", "instance",
			    guest->name, "path", mount->path, "err", err->message);
	}
}

static void talk(Guest *guest, GuestLink *link)
{
	g_autoptr(Error) err = NULL;
	if (say_hello(link, &err) < 0) {
		log_debug("Agent does not answer", "instance", guest->name, "err", err->message);
		return;
	}
	mount_all(link);
	turn(guest, link);
	watch(link);
	turn(guest, NULL);
}

static void serve(Guest *guest, LinkPair *link)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return;
	g_autoptr(GuestLink) shared = link_new(guest, pair[1]);
	link->plain = shared->plain = pair[0];
	link->stop_fd = guest->stop_fd;
	link->guard = &shared->guard;
	GThread *thread = g_thread_new("guest-link", carry, link);
	talk(guest, shared);
	shutdown(pair[0], SHUT_RDWR); /* the carrier ends, if it has not */
	LinkEnd end = (LinkEnd)GPOINTER_TO_INT(g_thread_join(thread));
	g_mutex_lock(&guest->lock);
	shared->plain = -1;
	g_mutex_unlock(&guest->lock);
	close(pair[0]);
	log_debug(
	    "Connection to the agent ended", "instance", guest->name, "why", link_end_text(end));
}

/* --- one after the other --- */

static gboolean is_closed(Guest *guest)
{
	g_mutex_lock(&guest->lock);
	gboolean closed = guest->closed;
	g_mutex_unlock(&guest->lock);
	return closed;
}

static gpointer run(gpointer data)
{
	Guest *guest = data;
	int pause_ms = RETRY_MS;
	while (!is_closed(guest)) {
		g_autofree LinkPair *link = g_new0(LinkPair, 1);
		autofd int fd = link->port = unix_connect(guest->socket, SOCK_NONBLOCK);
		gint64 since = g_get_monotonic_time();
		if (fd >= 0 && greet(guest, link) == 0) {
			since = g_get_monotonic_time();
			serve(guest, link);
		}
		if (g_get_monotonic_time() - since > LASTING_US)
			pause_ms = RETRY_MS;
		wait_for(guest, -1, 0, pause_ms);
		pause_ms = MIN(2 * pause_ms, RETRY_MAX_MS);
	}
	guest_unref(guest);
	return NULL;
}

Guest *guest_new(const GuestSpec *spec)
{
	Guest *guest = g_new0(Guest, 1);
	guest->refs = 2; /* the caller's and the thread's */
	guest->name = g_strdup(spec->name);
	guest->socket = g_strdup(spec->socket);
	guest->changed = spec->changed;
	guest->connected = spec->connected;
	guest->mounts = spec->mounts;
	guest->data = spec->data;
	guest->data_free = spec->data_free;
	guest->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	g_mutex_init(&guest->lock);
	g_cond_init(&guest->turned);
	guest->thread = g_thread_new("guest", run, guest);
	return guest;
}

void guest_close(Guest *guest)
{
	if (!guest)
		return;
	g_mutex_lock(&guest->lock);
	guest->closed = TRUE;
	g_cond_broadcast(&guest->turned);
	g_mutex_unlock(&guest->lock);
	eventfd_write(guest->stop_fd, 1);
	g_thread_join(guest->thread);
	g_mutex_lock(&guest->lock);
	while (guest->visitors > 0)
		g_cond_wait(&guest->turned, &guest->lock);
	g_mutex_unlock(&guest->lock);
	guest_unref(guest);
}

gboolean guest_online(Guest *guest)
{
	return guest_info(guest, NULL);
}

gboolean guest_info(Guest *guest, GuestInfo *ret_info)
{
	g_mutex_lock(&guest->lock);
	gboolean online = guest->link != NULL;
	if (online && ret_info)
		*ret_info = guest->info;
	g_mutex_unlock(&guest->lock);
	return online;
}

gboolean guest_wait_online(Guest *guest, int timeout_ms)
{
	gint64 until = g_get_monotonic_time() + timeout_ms * (gint64)1000;
	gboolean in_time = TRUE;
	g_mutex_lock(&guest->lock);
	while (!guest->link && !guest->closed && in_time) {
		if (timeout_ms < 0)
			g_cond_wait(&guest->turned, &guest->lock);
		else
			in_time = g_cond_wait_until(&guest->turned, &guest->lock, until);
	}
	gboolean online = guest->link != NULL;
	g_mutex_unlock(&guest->lock);
	return online;
}

static gpointer say_hello_again(gpointer data)
{
	say_hello(data, NULL);
	guest_link_unref(data);
	return NULL;
}

void guest_hang_up(Guest *guest)
{
	g_mutex_lock(&guest->lock);
	if (guest->link && guest->link->plain >= 0)
		shutdown(guest->link->plain, SHUT_RDWR);
	g_mutex_unlock(&guest->lock);
}

void guest_pause(Guest *guest, gboolean paused)
{
	g_mutex_lock(&guest->lock);
	guest->paused = paused;
	GuestLink *link = guest->link ? guest_link_ref(guest->link) : NULL;
	g_mutex_unlock(&guest->lock);
	if (!link)
		return;
	g_atomic_int_set(&link->guard.paused, paused);
	if (paused)
		guest_link_unref(link);
	else
		g_thread_unref(g_thread_new("guest-hello", say_hello_again, link));
}
