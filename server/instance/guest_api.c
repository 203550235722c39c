/* Connections of guests: the containers' socket, who is at its other end, and how many there may
 * be. */
#include "server/instance/guest_api_private.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "sdk/base/unix_socket.h"
#include "server/rpc/http.h"
#include "server/sys/process.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum {
	CONNECTIONS_MAX = 512, /* of all instances */
	CONNECTIONS_EACH = 32,
	IDLE_S = 60,	      /* between two requests */
	NAMESPACES_DEEP = 32, /* the kernel's limit */
	REST_US = 200000,     /* after running out of descriptors or threads */
};

typedef struct GuestApi {
	EventHub *events;
	int listener;
	GThread *thread;
	GMutex lock;
	GCond ended;
	GHashTable *connections; /* Conn -> Instance, both borrowed */
	guint pending;		 /* accepted, not in the table yet */
	gboolean closing;
} GuestApi;

/* ---- one connection ---- */

static gboolean enter(GuestApi *api, Conn *conn, Instance *i)
{
	guint same = 0;
	GHashTableIter iter;
	void *other;
	g_mutex_lock(&api->lock);
	g_hash_table_iter_init(&iter, api->connections);
	while (g_hash_table_iter_next(&iter, NULL, &other))
		same += other == i;
	gboolean may = !api->closing && same < CONNECTIONS_EACH &&
	    g_hash_table_size(api->connections) < CONNECTIONS_MAX;
	if (may)
		g_hash_table_insert(api->connections, conn, i);
	g_mutex_unlock(&api->lock);
	return may;
}

static void leave(GuestApi *api, Conn *conn)
{
	g_mutex_lock(&api->lock);
	g_hash_table_remove(api->connections, conn);
	g_cond_broadcast(&api->ended);
	g_mutex_unlock(&api->lock);
}

/* One request whose head is complete; FALSE: that was the last. i NULL: a process that may not
 * ask. */
static gboolean serve_one(Conn *conn, Daemon *d, Instance *i, size_t length)
{
	g_autoptr(Arena) arena = arena_new();
	Exchange ex = { 0 };
	char *head = arena_memdup(arena, conn->in + conn->start, length);
	conn->start += length;
	int status = http_head_parse(head, length, &ex.head);
	if (status) {
		ex.head = (HttpHead){
			.method = "", .path = "", .query = "", .host = "", .content_length = -1
		};
		exchange_start(&ex, d, conn, arena);
		exchange_reply(&ex, status, "text/plain", http_status_text(status),
		    strlen(http_status_text(status)), NULL);
	} else {
		exchange_start(&ex, d, conn, arena);
		GuestRequest rq = { .ex = &ex, .instance = i };
		guest_api_answer(&rq);
		exchange_drain(&ex);
	}
	exchange_clear(&ex);
	return !status && i && ex.keep_alive;
}

static void serve(Conn *conn, Daemon *d, Instance *i)
{
	for (;;) {
		size_t have = conn->end - conn->start;
		size_t length = have ? http_head_length(conn->in + conn->start, have) : 0;
		g_autoptr(Error) err = NULL;
		if (length > HTTP_HEAD_MAX || (!length && have > HTTP_HEAD_MAX))
			return;
		if (length && !serve_one(conn, d, i, length))
			return;
		if (!length && conn_fill(conn, conn_deadline(IDLE_S), &err) <= 0)
			return;
	}
}

static Conn *connection_new(int fd)
{
	Caller *caller = g_new0(Caller, 1);
	caller->kind = CALLER_UNIX;
	caller->username = g_strdup("guest");
	caller->fingerprint = g_strdup("");
	caller->address = g_strdup("@");
	caller->socket = -1;
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	return conn_new(fd, NULL, caller);
}

void guest_api_serve(Instance *i, int fd)
{
	GuestApi *api = i->daemon->guest_api;
	g_autoptr(Conn) conn = connection_new(fd);
	if (!enter(api, conn, i))
		return;
	serve(conn, i->daemon, i);
	leave(api, conn);
}

/* ---- who it is ---- */

static gboolean namespace_of(pid_t pid, const char *kind, struct stat *ret_stat, int *ret_fd)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/ns/%s", (int)pid, kind);
	autofd int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, ret_stat) < 0)
		return FALSE;
	if (ret_fd)
		*ret_fd = g_steal_fd(&fd);
	return TRUE;
}

static gboolean runs_in(Instance *i, const struct stat *ns)
{
	struct stat its;
	pid_t init = instance_type(i) == INSTANCE_CONTAINER ? instance_init_pid(i) : 0;
	return init > 0 && namespace_of(init, "pid", &its, NULL) && its.st_ino == ns->st_ino &&
	    its.st_dev == ns->st_dev;
}

/* The container whose PID namespace it is; NULL: none. */
static Instance *owner_of(const GPtrArray *all, const struct stat *ns)
{
	for (guint n = 0; n < all->len; n++)
		if (runs_in(all->pdata[n], ns))
			return all->pdata[n];
	return NULL;
}

/* By the namespaces around it, for a container inside a container has one of its own. */
static Instance *find_instance(Daemon *d, pid_t pid)
{
	g_autoptr(GPtrArray) all = instance_list(d, NULL);
	struct stat ns;
	autofd int fd = -1;
	if (pid <= 0 || !namespace_of(pid, "pid", &ns, &fd))
		return NULL;
	for (int depth = 0; depth < NAMESPACES_DEEP; depth++) {
		Instance *i = owner_of(all, &ns);
		if (i)
			return instance_ref(i);
		int parent = ioctl(fd, NS_GET_PARENT);
		own_close_fd(&fd);
		fd = parent;
		if (fd < 0 || fstat(fd, &ns) < 0)
			return NULL;
	}
	return NULL;
}

/* The host's id of the container's root, by its init's map: "INSIDE OUTSIDE COUNT". */
static gboolean is_root(Instance *i, uid_t uid)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/uid_map", (int)instance_init_pid(i));
	g_autofree char *text = NULL;
	if (!g_file_get_contents(path, &text, NULL, NULL))
		return FALSE;
	g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
	for (char **line = lines; *line; line++) {
		unsigned long inside, outside, count;
		if (sscanf(*line, "%lu %lu %lu", &inside, &outside, &count) == 3 && inside == 0)
			return uid == outside;
	}
	return FALSE;
}

/* ---- the containers' socket ---- */

typedef struct Visitor {
	Daemon *daemon;
	int fd;
} Visitor;

/* The instance whose root is at the other end; NULL: somebody else. The number of a process that has
 * ended may be another's by now, and then says nothing: whoever connects does not end before its
 * first answer. (Before Linux 6.5 that cannot be seen.) */
static Instance *root_behind(Daemon *d, int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return NULL;
	autofd int process = process_open_peer(fd);
	if (process < 0 && errno != ENOPROTOOPT)
		return NULL;
	g_autoptr(Instance) i = find_instance(d, peer.pid);
	if (!i || !is_root(i, peer.uid) || (process >= 0 && process_has_ended(process)))
		return NULL;
	return g_steal_pointer(&i);
}

static void attend(Daemon *d, int fd)
{
	g_autoptr(Instance) i = root_behind(d, fd);
	if (i) {
		guest_api_serve(i, fd);
		return;
	}
	g_autoptr(Conn) stranger = connection_new(fd);
	if (!enter(d->guest_api, stranger, NULL))
		return;
	serve(stranger, d, NULL);
	leave(d->guest_api, stranger);
}

static gboolean count_visitor(GuestApi *api)
{
	g_mutex_lock(&api->lock);
	gboolean may = !api->closing && api->pending < CONNECTIONS_MAX;
	api->pending += may;
	g_mutex_unlock(&api->lock);
	return may;
}

static void uncount_visitor(GuestApi *api)
{
	g_mutex_lock(&api->lock);
	api->pending--;
	g_cond_broadcast(&api->ended);
	g_mutex_unlock(&api->lock);
}

static gpointer attend_main(gpointer data)
{
	Visitor *visitor = data;
	attend(visitor->daemon, visitor->fd);
	uncount_visitor(visitor->daemon->guest_api);
	g_free(visitor);
	return NULL;
}

/* Takes fd. */
static gboolean receive_visitor(Daemon *d, int fd)
{
	if (!count_visitor(d->guest_api)) {
		close(fd);
		return TRUE;
	}
	Visitor *visitor = g_new0(Visitor, 1);
	*visitor = (Visitor){ d, fd };
	GThread *thread = g_thread_try_new("guest-api", attend_main, visitor, NULL);
	if (thread) {
		g_thread_unref(thread);
		return TRUE;
	}
	uncount_visitor(d->guest_api);
	g_free(visitor);
	close(fd);
	return FALSE;
}

static gpointer accept_main(gpointer data)
{
	Daemon *d = data;
	for (;;) {
		int fd = accept4(d->guest_api->listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0 && errno == EINVAL)
			return NULL; /* it was shut down */
		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd < 0 || !receive_visitor(d, fd))
			g_usleep(REST_US);
	}
}

int guest_api_listen(Daemon *d, Error **err)
{
	g_autofree char *path = g_build_filename(d->dir, "guestapi", "sock", NULL);
	unlink(path);
	autofd int fd = unix_bind(path, 0);
	if (fd < 0 || chmod(path, 0666) < 0 || listen(fd, SOMAXCONN) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot listen on \"%s\"", path);
	d->guest_api->listener = g_steal_fd(&fd);
	d->guest_api->thread = g_thread_new("guest-api-socket", accept_main, d);
	return 0;
}

void guest_api_hang_up(Daemon *d)
{
	GuestApi *api = d->guest_api;
	g_mutex_lock(&api->lock);
	api->closing = TRUE;
	GHashTableIter iter;
	void *conn;
	g_hash_table_iter_init(&iter, api->connections);
	while (g_hash_table_iter_next(&iter, &conn, NULL))
		conn_cancel(conn);
	g_mutex_unlock(&api->lock);
	shutdown(api->listener, SHUT_RDWR);
	g_thread_join(api->thread);
	event_hub_close(api->events);
	g_mutex_lock(&api->lock);
	while (api->pending > 0 || g_hash_table_size(api->connections) > 0)
		g_cond_wait(&api->ended, &api->lock);
	g_mutex_unlock(&api->lock);
	close(api->listener);
}

int guest_api_start(Daemon *d, Error **err)
{
	GuestApi *api = g_new0(GuestApi, 1);
	api->events = event_hub_new();
	api->connections = g_hash_table_new(NULL, NULL);
	g_mutex_init(&api->lock);
	g_cond_init(&api->ended);
	d->guest_api = api;
	return 0;
}

void guest_api_stop(Daemon *d)
{
	GuestApi *api = d->guest_api;
	event_hub_free(api->events);
	g_hash_table_unref(api->connections);
	g_mutex_clear(&api->lock);
	g_cond_clear(&api->ended);
	g_free(api);
	d->guest_api = NULL;
}

EventHub *guest_api_hub(Daemon *d)
{
	return d->guest_api->events;
}

/* ---- readiness ---- */

gboolean guest_api_is_ready(Instance *i)
{
	g_autofree char *ready = instance_volatile_get(i, "last_state.ready");
	return g_strcmp0(ready, "true") == 0;
}

void guest_api_forget_ready(Instance *i)
{
	g_autofree char *ready = instance_volatile_get(i, "last_state.ready");
	if (ready)
		instance_volatile_set(i, "last_state.ready", NULL, NULL);
}
