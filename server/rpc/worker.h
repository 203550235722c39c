#pragma once
/*
 * The threads of a front door. All wait in one place (epoll, a gRPC completion queue), take what
 * comes and serve it themselves, blocking as they must. When the last idle one goes to work another
 * is started; those idle for long end. Calls that stream are counted apart, so that long ones
 * cannot starve the short.
 */
#include "sdk/base/error.h"

enum {
	WORKERS_KEEP = 2,           /* idle threads that stay */
	WORKERS_MAX = 256,          /* at work on calls that do not stream */
	WORKERS_STREAMS_MAX = 2048, /* more are refused */
	WORKERS_IDLE_MS = 10000,
};

typedef struct Workers {
	char name[12];
	gboolean (*step)(struct Workers
		*workers); /* waits for one piece of work and does it; FALSE: none came */
	void *data;
	gint threads, idle, streams, stopping; /* atomic */
	gint worked; /* atomic: since memory was last given back to the system */
	GMutex lock;
	GCond ended;
} Workers;

int workers_start(Workers *workers, const char *name, gboolean (*step)(Workers *workers),
    void *data, Error **err);
/* Sets `stopping`, calls wake() until every thread has ended. */
void workers_stop(Workers *workers, void (*wake)(void *data));
/* A step calls these around its wait; work: something came. */
void workers_idle(Workers *workers);
void workers_woke(Workers *workers, gboolean work);

/* The calling thread begins a call that streams; ERROR_UNAVAILABLE when there are too many. */
int worker_stream_begin(Error **err);
void worker_stream_end(void);
/* TRUE when nobody of the calling thread's door waits for work and none can be added. */
gboolean worker_scarce(void);
