/* Running containers: finding them again, watching their monitors, waiting for their ends. */
#include "server/instance/checkpoint.h"
#include "server/guest/guest.h"
#include "server/instance/flow.h"
#include "server/instance/vm.h"
#include "server/sys/process.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

Runtime *runtime_ref(Runtime *r)
{
	g_atomic_int_inc(&r->refs);
	return r;
}

void runtime_unref(Runtime *r)
{
	if (!r || !g_atomic_int_dec_and_test(&r->refs))
		return;
	guest_close(r->guest);
	own_close_fd(&r->init_fd);
	own_close_fd(&r->monitor_fd);
	own_close_fd(&r->netlink_fd);
	g_mutex_clear(&r->netlink_lock);
	g_free(r->cgroup);
	cgroup_meters_close(r->meters);
	g_free(r->meters);
	g_free(r);
}

Runtime *runtime_new(void)
{
	Runtime *r = g_new0(Runtime, 1);
	r->refs = 1;
	r->init_fd = r->monitor_fd = r->netlink_fd = -1;
	r->meters = g_new0(CgroupMeters, 1);
	g_mutex_init(&r->netlink_lock);
	return r;
}

Runtime *instance_runtime(Instance *i)
{
	g_mutex_lock(&i->lock);
	Runtime *r = i->runtime ? runtime_ref(i->runtime) : NULL;
	g_mutex_unlock(&i->lock);
	return r;
}

gboolean instance_running(Instance *i)
{
	g_autoptr(Runtime) r = instance_runtime(i);
	return r != NULL;
}

pid_t instance_init_pid(Instance *i)
{
	g_autoptr(Runtime) r = instance_runtime(i);
	return r ? r->init : 0;
}

char *runtime_directory(const Instance *i)
{
	g_autofree char *name = instance_file_name(i);
	return g_build_filename(i->daemon->dir, "run", name, NULL);
}

static void netlink_open(Daemon *d, Runtime *r)
{
	Packet *rq = packet_new(SPAWN_NETLINK);
	g_autoptr(Packet) answer = NULL;
	packet_add_fd(rq, r->init_fd);
	SpawnerCall call = { .timeout_ms = 10000 };
	if (spawner_call(d->spawner, rq, &call, &answer, NULL) == 0)
		r->netlink_fd = packet_take_fd(answer, 0);
}

/* The runtime that DIRECTORY/state tells of, NULL when that is not alive. */
static Runtime *read_state(Daemon *d, const char *directory)
{
	autofd int dir = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return NULL;
	flock(dir, LOCK_EX); /* a start that a killed daemon asked for may still be on its way */
	g_autofree char *path = g_build_filename(directory, "state", NULL);
	g_autofree char *text = NULL;
	if (!g_file_get_contents(path, &text, NULL, NULL))
		return NULL;
	g_autoptr(Runtime) r = runtime_new();
	long long init, monitor, init_start, monitor_start;
	int used = 0;
	if (sscanf(text, "%lld %lld %lld %lld %n", &init, &monitor, &init_start, &monitor_start,
		&used) != 4 ||
	    !used)
		return NULL;
	r->init = (pid_t)init;
	r->monitor = (pid_t)monitor;
	r->init_start = (uint64_t)init_start;
	r->monitor_start = (uint64_t)monitor_start;
	r->cgroup = g_strchomp(g_strdup(text + used));
	r->monitor_fd = process_open(r->monitor, r->monitor_start);
	if (r->monitor_fd < 0)
		return NULL;
	r->init_fd = process_open(r->init, r->init_start);
	/* On its way out, or nobody has waited for it yet: nothing may start beside it, and its
	 * state is not to be dropped. */
	if (r->init_fd < 0 || process_has_ended(r->init_fd)) {
		runtime_wait(r, 10000);
		return NULL;
	}
	netlink_open(d, r);
	return g_steal_pointer(&r);
}

int lxc_adopt(Instance *i, Runtime **ret_runtime, Error **err)
{
	g_autofree char *directory = runtime_directory(i);
	*ret_runtime = read_state(i->daemon, directory);
	return 0;
}

int runtime_adopt(Instance *i, Runtime **ret_runtime, Error **err)
{
	g_autofree char *directory = runtime_directory(i);
	*ret_runtime = NULL;
	if (!g_file_test(directory, G_FILE_TEST_IS_DIR))
		return 0;
	if (instance_driver(i)->adopt(i, ret_runtime, err) < 0)
		return -1;
	if (!*ret_runtime) { /* it ended while nobody looked */
		checkpoint_settle(i);
		power_cleanup_locked(i);
	}
	return 0;
}

static void remove_directory(const char *directory)
{
	static const char *const files[] = { "state", "state.new", "stopped", "mounts", "console",
		"criu.conf", "stats-dump", "stats-restore" };
	for (guint n = 0; n < G_N_ELEMENTS(files); n++) {
		g_autofree char *path = g_build_filename(directory, files[n], NULL);
		remove(path);
	}
	rmdir(directory);
}

gboolean runtime_was_restored(const Instance *i)
{
	g_autofree char *directory = runtime_directory(i);
	g_autofree char *console = g_build_filename(directory, "console", NULL);
	return access(console, F_OK) == 0;
}

void runtime_directory_remove(Instance *i)
{
	g_autofree char *directory = runtime_directory(i);
	remove_directory(directory);
}

void runtime_kill_orphan(Daemon *d, const char *file_name)
{
	g_autofree char *directory = g_build_filename(d->dir, "run", file_name, NULL);
	g_autoptr(Runtime) r = read_state(d, directory);
	if (r) {
		syscall(SYS_pidfd_send_signal, r->init_fd, SIGKILL, NULL, 0);
		runtime_wait(r, 30000);
	}
	remove_directory(directory);
}

static gboolean wait_fd(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	gint64 end = g_get_monotonic_time() + timeout_ms * (gint64)1000;
	for (;;) {
		gint64 left = (end - g_get_monotonic_time() + 999) / 1000;
		int ready = poll(&p, 1, timeout_ms < 0 ? -1 : (int)MAX(left, 0));
		if (ready < 0 && errno == EINTR)
			continue;
		return ready > 0;
	}
}

gboolean runtime_wait(Runtime *r, int timeout_ms) { return wait_fd(r->monitor_fd, timeout_ms); }
gboolean runtime_wait_init(Runtime *r, int timeout_ms) { return wait_fd(r->init_fd, timeout_ms); }

/* What guests write to their consoles is looked at twice a minute, and only while there are some. */
static void count_machines(InstanceTable *table, int more)
{
	enum { TICK_S = 30 };
	struct itimerspec tick = { 0 };
	g_mutex_lock(&table->watch_lock);
	gboolean before = table->machines > 0;
	table->machines += more;
	gboolean now = table->machines > 0;
	tick.it_value.tv_sec = tick.it_interval.tv_sec = now ? TICK_S : 0;
	if (now != before)
		timerfd_settime(table->timer_fd, 0, &tick, NULL);
	g_mutex_unlock(&table->watch_lock);
}

void runtime_publish(Instance *i, Runtime *r)
{
	g_mutex_lock(&i->lock);
	Runtime *old = i->runtime;
	i->runtime = r;
	g_mutex_unlock(&i->lock);
	if (i->type == INSTANCE_MACHINE)
		count_machines(i->daemon->instances, (r != NULL) - (old != NULL));
	runtime_unref(old);
	if (r)
		watcher_add(i->daemon->instances, i, r);
}

/* The watcher: one thread that sleeps until a monitor ends. */

typedef struct Watch {
	Instance *i;
	Runtime *r;
} Watch;

static void watch_free(void *data)
{
	Watch *w = data;
	instance_unref(w->i);
	runtime_unref(w->r);
	g_free(w);
}

static void *ended_main(void *data)
{
	Watch *w = data;
	InstanceTable *table = w->i->daemon->instances;
	power_ended(w->i, w->r);
	watch_free(w);
	g_atomic_int_add(&table->tasks, -1);
	return NULL;
}

static void watch_fired(InstanceTable *table, Watch *w)
{
	epoll_ctl(table->epoll_fd, EPOLL_CTL_DEL, w->r->monitor_fd, NULL);
	g_mutex_lock(&table->watch_lock);
	g_hash_table_steal(table->watches, w);
	g_mutex_unlock(&table->watch_lock);
	g_mutex_lock(&w->i->lock);
	gboolean current = w->i->runtime == w->r;
	g_mutex_unlock(&w->i->lock);
	if (current && !g_atomic_int_get(&table->stopping)) {
		g_atomic_int_inc(&table->tasks);
		g_thread_unref(g_thread_new("ended", ended_main, w));
		return;
	}
	watch_free(w);
}

static void trim_consoles(InstanceTable *table)
{
	uint64_t ticks;
	if (read(table->timer_fd, &ticks, sizeof(ticks)) < 0)
		return;
	g_autoptr(GPtrArray) all = instance_list(table->daemon, NULL);
	for (guint n = 0; n < all->len; n++)
		if (instance_type(all->pdata[n]) == INSTANCE_MACHINE &&
		    instance_running(all->pdata[n]))
			vm_logs_trim(all->pdata[n]);
}

static void *watcher_main(void *data)
{
	InstanceTable *table = data;
	struct epoll_event events[16];
	while (!g_atomic_int_get(&table->stopping)) {
		int n = epoll_wait(table->epoll_fd, events, G_N_ELEMENTS(events), -1);
		for (int k = 0; k < n; k++)
			if (events[k].data.ptr == table)
				trim_consoles(table);
			else if (events[k].data.ptr)
				watch_fired(table, events[k].data.ptr);
	}
	return NULL;
}

void watcher_add(InstanceTable *table, Instance *i, Runtime *r)
{
	Watch *w = g_new0(Watch, 1);
	w->i = instance_ref(i);
	w->r = runtime_ref(r);
	struct epoll_event event = { .events = EPOLLIN | EPOLLONESHOT, .data.ptr = w };
	/* Held over both: the watcher takes one out as soon as it is in. */
	g_mutex_lock(&table->watch_lock);
	g_hash_table_add(table->watches, w);
	if (epoll_ctl(table->epoll_fd, EPOLL_CTL_ADD, r->monitor_fd, &event) < 0) {
		log_error("Instance is not watched", "instance", i->name, "err", g_strerror(errno));
		g_hash_table_remove(table->watches, w);
	}
	g_mutex_unlock(&table->watch_lock);
}

int watcher_start(InstanceTable *table, Error **err)
{
	g_mutex_init(&table->watch_lock);
	table->watches = g_hash_table_new_full(NULL, NULL, watch_free, NULL);
	table->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	table->wake_fd = eventfd(0, EFD_CLOEXEC);
	table->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };
	struct epoll_event tick = { .events = EPOLLIN, .data.ptr = table };
	if (table->epoll_fd < 0 || table->wake_fd < 0 || table->timer_fd < 0 ||
	    epoll_ctl(table->epoll_fd, EPOLL_CTL_ADD, table->timer_fd, &tick) < 0 ||
	    epoll_ctl(table->epoll_fd, EPOLL_CTL_ADD, table->wake_fd, &event) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot watch instances");
	table->watcher = g_thread_new("watcher", watcher_main, table);
	return 0;
}

void watcher_stop(InstanceTable *table)
{
	uint64_t one = 1;
	g_atomic_int_set(&table->stopping, 1);
	if (table->wake_fd >= 0 && write(table->wake_fd, &one, sizeof(one)) != sizeof(one))
		log_warn("Watcher is not woken");
	if (table->watcher)
		g_thread_join(table->watcher);
	for (int n = 0; g_atomic_int_get(&table->tasks) > 0 && n < 3000; n++)
		g_usleep(10000);
	own_close_fd(&table->epoll_fd);
	own_close_fd(&table->wake_fd);
	own_close_fd(&table->timer_fd);
	g_clear_pointer(&table->watches, g_hash_table_unref);
	g_mutex_clear(&table->watch_lock);
}
