#pragma once
/*
 * Work of the daemon's own that comes again. A job says when it is due next; one thread sleeps
 * until the earliest of these times, until somebody says that something has changed, or until the
 * clock is set. What is due runs as an operation; a job never overlaps itself.
 */
#include "server/daemon.h"
#include "server/operation/operation.h"

typedef struct ScheduleJob {
	const char *description; /* of the operation: "Updating images" */
	/* When it is to run next, g_get_real_time() scale: a time that is over means now,
	 * G_MAXINT64 never. Asked on the schedule's thread after each run and each
	 * schedule_changed(). */
	gint64 (*due)(Daemon *d, gint64 now_us);
	/* As an operation's, data is NULL. After a failure the job rests for ten minutes. */
	int (*run)(Operation *op, void *data, Error **err);
} ScheduleJob;

int schedule_start(Daemon *d, Error **err);
/* Nothing is started any more; what runs are operations and end with them. */
void schedule_stop(Daemon *d);
/* Job rows must outlive the daemon. */
void schedule_add(Daemon *d, const ScheduleJob *job);
/* Something that jobs look at has changed: they are asked anew. Any thread. */
void schedule_changed(Daemon *d);
