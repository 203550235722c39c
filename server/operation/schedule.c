#include "server/operation/schedule.h"
#include "sdk/base/log.h"
#include "sdk/base/own.h"
#include "server/daemon.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

enum { JOBS_MAX = 16 };
#define REST_US (600 * (gint64)G_USEC_PER_SEC) /* after a failure */

typedef struct Entry {
	struct Schedule *schedule;
	const ScheduleJob *job;
	gint64 not_before;
	gboolean running;
} Entry;

typedef struct Schedule {
	Daemon *daemon;
	GMutex lock; /* of the entries */
	Entry entries[JOBS_MAX];
	unsigned n;
	int timer, wake; /* timerfd, eventfd */
	gboolean stopping;
	GThread *thread;
	int refs; /* the daemon's, and one a running operation */
} Schedule;

static void schedule_unref(Schedule *schedule)
{
	if (!g_atomic_int_dec_and_test(&schedule->refs))
		return;
	close(schedule->timer);
	close(schedule->wake);
	g_mutex_clear(&schedule->lock);
	g_free(schedule);
}

static void wake(Schedule *schedule)
{
	uint64_t one = 1;
	/* Full means that it will wake anyway. */
	if (write(schedule->wake, &one, sizeof(one)) < 0 && errno != EAGAIN)
		log_warn("Cannot wake the schedule", "err", g_strerror(errno));
}

static void entry_unref(void *data)
{
	schedule_unref(((Entry *)data)->schedule);
}

static void ended(Entry *entry, gint64 not_before)
{
	g_mutex_lock(&entry->schedule->lock);
	entry->not_before = not_before;
	entry->running = FALSE;
	g_mutex_unlock(&entry->schedule->lock);
}

static int run(Operation *op, void *data, Error **err)
{
	Entry *entry = data;
	int result = entry->job->run(op, NULL, err);
	ended(entry, result < 0 ? g_get_real_time() + REST_US : 0);
	wake(entry->schedule);
	return result;
}

static void start(Schedule *schedule, Entry *entry)
{
	g_autoptr(Error) error = NULL;
	OperationSpec spec = {.op_class = OPERATION_TASK,
	    .description = entry->job->description,
	    .project = "",
	    .run = run,
	    .data = entry,
	    .destroy = entry_unref};
	g_mutex_lock(&schedule->lock);
	entry->running = TRUE;
	g_mutex_unlock(&schedule->lock);
	g_atomic_int_inc(&schedule->refs);
	if (operation_create(schedule->daemon, NULL, &spec, NULL, NULL, &error) == 0)
		return;
	/* Only while the daemon stops. */
	log_debug("Not started", "job", entry->job->description, "err", error->message);
	ended(entry, G_MAXINT64);
}

/* Starts what is due; gives when the next one is. */
static gint64 start_due(Schedule *schedule)
{
	gint64 next = G_MAXINT64;
	g_mutex_lock(&schedule->lock);
	unsigned n = schedule->n;
	g_mutex_unlock(&schedule->lock);
	for (unsigned i = 0; i < n; i++) {
		Entry *entry = &schedule->entries[i];
		gint64 now = g_get_real_time();
		g_mutex_lock(&schedule->lock);
		gboolean running = entry->running;
		gint64 not_before = entry->not_before;
		g_mutex_unlock(&schedule->lock);
		if (running)
			continue;
		gint64 due = MAX(entry->job->due(schedule->daemon, now), not_before);
		if (due <= now)
			start(schedule, entry);
		else
			next = MIN(next, due);
	}
	return next;
}

/* A timer by the wall clock, which also fires when the clock is set. */
static void set_timer(Schedule *schedule, gint64 at)
{
	struct itimerspec spec = {0};
	if (at != G_MAXINT64) {
		spec.it_value.tv_sec = at / G_USEC_PER_SEC;
		spec.it_value.tv_nsec = at % G_USEC_PER_SEC * 1000;
	}
	if (timerfd_settime(
		schedule->timer, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &spec, NULL) < 0)
		log_warn("Cannot set the schedule's timer", "err", g_strerror(errno));
}

static void drain(int fd)
{
	uint64_t count;
	while (read(fd, &count, sizeof(count)) > 0)
		;
}

static gpointer sleep_and_start(gpointer data)
{
	Schedule *schedule = data;
	struct pollfd fds[] = {{schedule->timer, POLLIN, 0}, {schedule->wake, POLLIN, 0}};
	while (!g_atomic_int_get(&schedule->stopping)) {
		set_timer(schedule, start_due(schedule));
		if (poll(fds, G_N_ELEMENTS(fds), -1) < 0 && errno != EINTR)
			log_warn("Cannot wait for the schedule's timer", "err", g_strerror(errno));
		drain(schedule->timer);
		drain(schedule->wake);
	}
	return NULL;
}

int schedule_start(Daemon *d, Error **err)
{
	autofd int timer = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	autofd int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (timer < 0 || event < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot make the schedule's timer");
	Schedule *schedule = g_new0(Schedule, 1);
	schedule->daemon = d;
	schedule->refs = 1;
	schedule->timer = own_steal_fd(&timer);
	schedule->wake = own_steal_fd(&event);
	g_mutex_init(&schedule->lock);
	d->schedule = schedule;
	schedule->thread = g_thread_new("schedule", sleep_and_start, schedule);
	return 0;
}

void schedule_stop(Daemon *d)
{
	Schedule *schedule = g_steal_pointer(&d->schedule);
	g_atomic_int_set(&schedule->stopping, TRUE);
	wake(schedule);
	g_thread_join(schedule->thread);
	schedule_unref(schedule);
}

void schedule_add(Daemon *d, const ScheduleJob *job)
{
	Schedule *schedule = d->schedule;
	g_mutex_lock(&schedule->lock);
	g_assert(schedule->n < JOBS_MAX);
	schedule->entries[schedule->n++] = (Entry){.schedule = schedule, .job = job};
	g_mutex_unlock(&schedule->lock);
	wake(schedule);
}

void schedule_changed(Daemon *d)
{
	if (d->schedule)
		wake(d->schedule);
}
