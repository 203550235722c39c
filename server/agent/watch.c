/* What the host and the guest tell each other about themselves. */
#include "incus/v1/agent_handlers.h"
#include "sdk/base/file.h"
#include "server/agent/agent.h"
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

enum {
	CLOCK_SLACK_NS = 2000000000LL,
	FAREWELL_MS = 500, /* that watchers have to be told the end */
};

/* --- Hello --- */

static void set_host_name(const char *name)
{
	static const char *const unset[] = { "", "(none)", "localhost", "localhost.localdomain",
		NULL };
	struct utsname u;
	if (*name && uname(&u) == 0 && g_strv_contains(unset, u.nodename) &&
	    sethostname(name, strlen(name)) < 0)
		g_debug("Cannot set the host name");
}

static void set_clock(int64_t time)
{
	struct timespec now;
	if (time <= 0 || clock_gettime(CLOCK_REALTIME, &now) < 0)
		return;
	int64_t off = time - (now.tv_sec * 1000000000LL + now.tv_nsec);
	struct timespec wanted = { time / 1000000000LL, time % 1000000000LL };
	if (llabs(off) > CLOCK_SLACK_NS && clock_settime(CLOCK_REALTIME, &wanted) < 0)
		g_debug("Cannot set the clock");
}

/* KEY=VALUE or KEY="VALUE" among the lines of os-release; quotes inside values are left alone. */
static char *release_value(const char *text, const char *key, Arena *arena)
{
	size_t length = strlen(key);
	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, key, length) != 0 || line[length] != '=')
			continue;
		const char *value = line + length + 1;
		size_t n = strcspn(value, "\n");
		if (n >= 2 && (*value == '"' || *value == '\'') && value[n - 1] == *value)
			value++, n -= 2;
		return arena_strndup(arena, value, n);
	}
	return (char *)"";
}

static void describe_system(Arena *arena, Pb__AgentHelloReply *out)
{
	g_autofree char *text = NULL;
	if (file_read(AT_FDCWD, "/etc/os-release", FILE_LINKS_NONE, 65536, &text, NULL, NULL) < 0 &&
	    file_read(AT_FDCWD, "/usr/lib/os-release", FILE_LINKS_NONE, 65536, &text, NULL, NULL) <
		0)
		return;
	if (!g_utf8_validate(text, -1, NULL))
		return;
	out->os = release_value(text, "ID", arena);
	out->os_version = release_value(text, "VERSION_ID", arena);
	out->os_name = release_value(text, "PRETTY_NAME", arena);
}

static char *read_boot(Arena *arena)
{
	g_autofree char *text = NULL;
	if (file_read(AT_FDCWD, "/proc/sys/kernel/random/boot_id", FILE_LINKS_NONE, 256, &text,
		NULL, NULL) < 0)
		return (char *)"";
	return arena_strdup(arena, g_strchomp(text));
}

int agent_hello(Request *rq, const Pb__AgentHelloRequest *in, Pb__AgentHelloReply *out, Error **err)
{
	struct utsname u;
	set_host_name(in->host_name);
	set_clock(in->time);
	guest_api_offer(in->guest_api);
	describe_system(rq->arena, out);
	out->boot = read_boot(rq->arena);
	out->version = (char *)INCUS_VERSION;
	if (uname(&u) < 0)
		return 0;
	out->kernel = arena_strdup(rq->arena, u.release);
	out->architecture = arena_strdup(rq->arena, u.machine);
	if (g_utf8_validate(u.nodename, -1, NULL))
		out->host_name = arena_strdup(rq->arena, u.nodename);
	return 0;
}

/* --- Watch --- */

static GMutex lock;
static GPtrArray *watchers; /* Stream * */

static int tell(Stream *stream, Pb__AgentNotice__WhatCase what, Error **err)
{
	Pb__AgentNotice notice = PB__AGENT_NOTICE__INIT;
	notice.what_case = what;
	if (what == PB__AGENT_NOTICE__WHAT_READY)
		notice.ready = TRUE;
	else
		notice.shutdown = TRUE;
	return stream_send(stream, &notice, err);
}

/* The newest watcher is the host that is there; older ones may be of connections that are dead. */
gboolean watch_tell_guest_api(uint64_t id)
{
	Pb__AgentNotice notice = PB__AGENT_NOTICE__INIT;
	notice.what_case = PB__AGENT_NOTICE__WHAT_GUEST_API;
	notice.guest_api = id;
	g_mutex_lock(&lock);
	gboolean told = watchers && watchers->len > 0 &&
	    stream_send(watchers->pdata[watchers->len - 1], &notice, NULL) == 0;
	g_mutex_unlock(&lock);
	return told;
}

int agent_watch(Request *rq, const Google__Protobuf__Empty *in, Stream *stream, Error **err)
{
	const void *message;
	if (tell(stream, PB__AGENT_NOTICE__WHAT_READY, err) < 0)
		return -1;
	g_mutex_lock(&lock);
	if (!watchers)
		watchers = g_ptr_array_new();
	g_ptr_array_add(watchers, stream);
	g_mutex_unlock(&lock);
	guest_api_announce();
	while (stream_recv(stream, -1, &message, NULL) == 1)
		;
	g_mutex_lock(&lock);
	g_ptr_array_remove(watchers, stream);
	g_mutex_unlock(&lock);
	return 0;
}

static gpointer tell_all(gpointer done)
{
	g_mutex_lock(&lock);
	for (guint i = 0; watchers && i < watchers->len; i++)
		tell(watchers->pdata[i], PB__AGENT_NOTICE__WHAT_SHUTDOWN, NULL);
	g_mutex_unlock(&lock);
	eventfd_write(GPOINTER_TO_INT(done), 1);
	return NULL;
}

/* A host that does not take it must not hold up the guest's shutdown. */
void watch_shutdown(void)
{
	struct pollfd done = { .fd = eventfd(0, EFD_CLOEXEC), .events = POLLIN };
	g_thread_unref(g_thread_new("farewell", tell_all, GINT_TO_POINTER(done.fd)));
	poll(&done, 1, FAREWELL_MS);
}
