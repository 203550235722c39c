/* /dev/incus/sock in the guest: its root's connections wait here until the host takes them. */
#include "incus/v1/agent_handlers.h"
#include "sdk/base/own.h"
#include "sdk/base/unix_socket.h"
#include "server/agent/agent.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WAIT_S = 10, REST_US = 200000 };

static const char *place = "/dev/incus/sock";
static GMutex lock;
static GCond changed;
static int listener = -1;
static gboolean sweeping;

static struct Waiting {
	uint64_t id; /* 0: none */
	int fd;
	gint64 since_us;
	gboolean told; /* the host knows */
} waiting[GUEST_API_WAITING];

void guest_api_place(const char *path)
{
	place = path;
}

/* ---- those who wait ---- */

static void drop_old(gint64 now)
{
	for (int n = 0; n < GUEST_API_WAITING; n++) {
		if (!waiting[n].id || now - waiting[n].since_us < WAIT_S * G_USEC_PER_SEC)
			continue;
		close(waiting[n].fd);
		waiting[n].id = 0;
	}
}

static gboolean anybody(void)
{
	for (int n = 0; n < GUEST_API_WAITING; n++)
		if (waiting[n].id)
			return TRUE;
	return FALSE;
}

/* Closes what a host does not take; ends when nobody waits. */
static gpointer sweep(gpointer data)
{
	g_mutex_lock(&lock);
	while (anybody()) {
		gint64 now = g_get_monotonic_time();
		drop_old(now);
		g_cond_wait_until(&changed, &lock, now + G_USEC_PER_SEC);
	}
	sweeping = FALSE;
	g_mutex_unlock(&lock);
	return NULL;
}

/* Takes fd. */
static void keep(int fd)
{
	static uint64_t last;
	uint64_t id = 0;
	g_mutex_lock(&lock);
	for (int n = 0; n < GUEST_API_WAITING && !id; n++) {
		if (waiting[n].id)
			continue;
		id = ++last;
		waiting[n] = (struct Waiting){ id, fd, g_get_monotonic_time(), FALSE };
	}
	if (id && !sweeping) {
		sweeping = TRUE;
		g_thread_unref(g_thread_new("guest-api-sweep", sweep, NULL));
	}
	g_mutex_unlock(&lock);
	if (!id) /* there is no room */
		close(fd);
}

void guest_api_announce(void)
{
	g_mutex_lock(&lock);
	for (int n = 0; n < GUEST_API_WAITING; n++)
		if (waiting[n].id && !waiting[n].told)
			waiting[n].told = watch_tell_guest_api(waiting[n].id);
	g_mutex_unlock(&lock);
}

/* -1: it does not wait any more. */
static int take(uint64_t id)
{
	int fd = -1;
	g_mutex_lock(&lock);
	for (int n = 0; n < GUEST_API_WAITING && id; n++) {
		if (waiting[n].id != id)
			continue;
		fd = waiting[n].fd;
		waiting[n].id = 0;
	}
	g_cond_signal(&changed);
	g_mutex_unlock(&lock);
	return fd;
}

int agent_connect_guest_api(Request *rq, const Pb__AgentBytes *in, Stream *stream, Error **err)
{
	autofd int fd = take(in->id);
	if (fd < 0)
		return error_set(err, ERROR_NOT_FOUND, "The connection has ended");
	relay_run(stream, in, fd);
	return 0;
}

/* ---- the socket ---- */

static void attend(int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || peer.uid != 0) {
		close(fd);
		return;
	}
	keep(fd);
	guest_api_announce();
}

static gpointer accept_main(gpointer data)
{
	int from = GPOINTER_TO_INT(data);
	for (;;) {
		int fd = accept4(from, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			attend(fd);
		else if (errno == EINVAL) /* it was shut down */
			break;
		else if (errno != EINTR && errno != ECONNABORTED) /* no descriptors, no memory */
			g_usleep(REST_US);
	}
	close(from);
	return NULL;
}

static int listen_at(const char *path)
{
	g_autofree char *folder = g_path_get_dirname(path);
	mkdir(folder, 0755);
	unlink(path);
	autofd int fd = unix_bind(path, 0);
	if (fd < 0 || chmod(path, 0600) < 0 || listen(fd, 16) < 0)
		return -1;
	return g_steal_fd(&fd);
}

void guest_api_offer(gboolean wanted)
{
	g_mutex_lock(&lock);
	if (wanted && listener < 0 && (listener = listen_at(place)) >= 0)
		g_thread_unref(g_thread_new("guest-api", accept_main, GINT_TO_POINTER(listener)));
	if (!wanted && listener >= 0) {
		shutdown(listener, SHUT_RDWR); /* its thread closes it */
		listener = -1;
		unlink(place);
	}
	g_mutex_unlock(&lock);
}
