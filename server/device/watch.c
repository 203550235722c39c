#include "server/device/watch.h"
#include "sdk/base/log.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

/* udev makes a node, changes its owner and adds links: one look after all of it. */
enum { SETTLE_MS = 50 };

typedef struct Watched {
	char *project, *instance, *device, *path;
	dev_t seen; /* of the device that was there, or of a folder's content; 0: nothing */
} Watched;

static struct {
	GMutex lock;
	Daemon *daemon;
	DeviceChanged changed;
	GHashTable *all; /* key -> Watched */
	GThread *thread;
	int inotify, wake, ending;
} watch;

static void watched_free(void *data)
{
	Watched *w = data;
	g_free(w->project);
	g_free(w->instance);
	g_free(w->device);
	g_free(w->path);
	g_free(w);
}

static char *key_of(const char *project, const char *instance, const char *device)
{
	return g_strdup_printf("%s/%s/%s", project, instance, device);
}

static const uint32_t mask = IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE_SELF;

/* Of a folder what is in it and in its folders, as one number. */
static dev_t look_below(const char *path, int depth)
{
	dev_t seen = 1;
	struct stat st;
	g_autoptr(GDir) folder = g_dir_open(path, 0, NULL);
	for (const char *name; folder && (name = g_dir_read_name(folder));) {
		g_autofree char *inside = g_build_filename(path, name, NULL);
		if (stat(inside, &st) < 0)
			continue;
		/* In any order: folders have none. */
		seen += (g_str_hash(name) | 1) * (dev_t)(st.st_rdev + (dev_t)st.st_ino + 1);
		if (S_ISDIR(st.st_mode) && depth > 0)
			seen += look_below(inside, depth - 1);
	}
	return seen;
}

static dev_t look(const char *path)
{
	struct stat st;
	if (stat(path, &st) < 0)
		return 0;
	return S_ISDIR(st.st_mode) ? look_below(path, 1) : st.st_rdev;
}

/* Of a folder itself and the folders in it. lock held. */
static void watch_below(const char *path)
{
	g_autoptr(GDir) folder = g_dir_open(path, 0, NULL);
	if (!folder || inotify_add_watch(watch.inotify, path, mask | IN_ONLYDIR) < 0)
		return;
	for (const char *name; (name = g_dir_read_name(folder));) {
		g_autofree char *inside = g_build_filename(path, name, NULL);
		inotify_add_watch(watch.inotify, inside, mask | IN_ONLYDIR);
	}
}

/* The folder, or the nearest one above it that is there. lock held. */
static void watch_folder(const Watched *w)
{
	g_autofree char *folder = g_path_get_dirname(w->path);
	watch_below(w->path);
	while (inotify_add_watch(watch.inotify, folder, mask | IN_ONLYDIR) < 0 &&
	    strcmp(folder, "/") != 0) {
		char *up = g_path_get_dirname(folder);
		g_free(folder);
		folder = up;
	}
}

/* Those whose device came, went or is another one. lock held while they are gathered. */
static GPtrArray *changes(void)
{
	GPtrArray *list = g_ptr_array_new_with_free_func(watched_free);
	GHashTableIter iter;
	void *data;
	g_hash_table_iter_init(&iter, watch.all);
	while (g_hash_table_iter_next(&iter, NULL, &data)) {
		Watched *w = data, *copy;
		watch_folder(w);
		dev_t now = look(w->path);
		if (now == w->seen)
			continue;
		w->seen = now;
		copy = g_new0(Watched, 1);
		copy->project = g_strdup(w->project);
		copy->instance = g_strdup(w->instance);
		copy->device = g_strdup(w->device);
		g_ptr_array_add(list, copy);
	}
	return list;
}

static void tell(void)
{
	g_mutex_lock(&watch.lock);
	g_autoptr(GPtrArray) list = changes();
	g_mutex_unlock(&watch.lock);
	for (guint i = 0; i < list->len; i++) {
		const Watched *w = list->pdata[i];
		watch.changed(watch.daemon, w->project, w->instance, w->device);
	}
}

static void *run(void *data)
{
	char events[4096];
	struct pollfd polled[] = { { .fd = watch.inotify, .events = POLLIN },
		{ .fd = watch.wake, .events = POLLIN } };
	gboolean settling = FALSE;
	for (;;) {
		int ready = poll(polled, 2, settling ? SETTLE_MS : -1);
		if (ready < 0 && errno != EINTR)
			return NULL;
		if (g_atomic_int_get(&watch.ending))
			return NULL;
		if (ready == 0)
			tell();
		settling = ready > 0;
		if (ready > 0 && polled[0].revents)
			while (read(watch.inotify, events, sizeof(events)) > 0)
				;
		uint64_t count;
		if (ready > 0 && polled[1].revents &&
		    read(watch.wake, &count, sizeof(count)) != sizeof(count))
			return NULL;
	}
}

void device_watch_open(Daemon *daemon, DeviceChanged changed)
{
	g_mutex_lock(&watch.lock);
	watch.daemon = daemon;
	watch.changed = changed;
	watch.all = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, watched_free);
	g_mutex_unlock(&watch.lock);
}

/* lock held. */
static gboolean begin(void)
{
	if (watch.thread)
		return TRUE;
	watch.inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	watch.wake = eventfd(0, EFD_CLOEXEC);
	if (watch.inotify < 0 || watch.wake < 0) {
		log_warn("Devices are not waited for", "err", g_strerror(errno));
		return FALSE;
	}
	watch.thread = g_thread_new("devices", run, NULL);
	return TRUE;
}

static void wake(void)
{
	uint64_t one = 1;
	if (write(watch.wake, &one, sizeof(one)) != sizeof(one))
		log_warn("Devices are not waited for");
}

void device_watch_close(void)
{
	if (watch.thread) {
		g_atomic_int_set(&watch.ending, 1);
		wake();
		g_thread_join(watch.thread);
		close(watch.inotify);
		close(watch.wake);
	}
	watch.thread = NULL;
	watch.ending = 0;
	g_clear_pointer(&watch.all, g_hash_table_unref);
}

void device_watch_add(const DeviceHost *host, const char *device, const char *path)
{
	g_mutex_lock(&watch.lock);
	if (watch.all && begin()) {
		Watched *w = g_new0(Watched, 1);
		w->project = g_strdup(host->project);
		w->instance = g_strdup(host->instance);
		w->device = g_strdup(device);
		w->path = g_strdup(path);
		w->seen = look(path);
		g_hash_table_replace(watch.all, key_of(host->project, host->instance, device), w);
		watch_folder(w);
		wake(); /* what changed before the folder was watched */
	}
	g_mutex_unlock(&watch.lock);
}

void device_watch_remove(const DeviceHost *host, const char *device)
{
	g_autofree char *key = key_of(host->project, host->instance, device);
	g_mutex_lock(&watch.lock);
	if (watch.all)
		g_hash_table_remove(watch.all, key);
	g_mutex_unlock(&watch.lock);
}
