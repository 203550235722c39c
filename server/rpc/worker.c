#include "server/rpc/worker.h"
#include "sdk/base/log.h"
#include <malloc.h>
#include <pthread.h>
#include <string.h>

/* Handlers use alloca-free plain C; deep JSON is bounded. Only touched pages count. */
enum { STACK_SIZE = 2 * 1024 * 1024 };

static _Thread_local Workers *mine;

/* A burst leaves free memory in every thread's arena, which the C library would keep for ever. */
static void give_memory_back(Workers *workers)
{
	if (g_atomic_int_compare_and_exchange(&workers->worked, 1, 0))
		malloc_trim(0);
}

static void *run(void *data)
{
	Workers *workers = data;
	mine = workers;
	pthread_setname_np(pthread_self(), workers->name);
	while (!g_atomic_int_get(&workers->stopping)) {
		if (workers->step(workers)) {
			g_atomic_int_set(&workers->worked, 1);
			continue;
		}
		give_memory_back(workers);
		if (g_atomic_int_get(&workers->idle) >= WORKERS_KEEP)
			break;
	}
	g_mutex_lock(&workers->lock);
	g_atomic_int_add(&workers->threads, -1);
	g_cond_signal(&workers->ended);
	g_mutex_unlock(&workers->lock);
	return NULL;
}

static int spawn(Workers *workers)
{
	pthread_t thread;
	pthread_attr_t attributes;
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	g_atomic_int_inc(&workers->threads);
	int problem = pthread_create(&thread, &attributes, run, workers);
	pthread_attr_destroy(&attributes);
	if (problem)
		g_atomic_int_add(&workers->threads, -1);
	return problem;
}

int workers_start(
    Workers *workers, const char *name, gboolean (*step)(Workers *workers), void *data, Error **err)
{
	g_strlcpy(workers->name, name, sizeof(workers->name));
	workers->step = step;
	workers->data = data;
	workers->stopping = 0;
	g_mutex_init(&workers->lock);
	g_cond_init(&workers->ended);
	int problem = spawn(workers);
	return problem ? error_errno(err, ERROR_INTERNAL, problem, "Failed to start a thread") : 0;
}

void workers_stop(Workers *workers, void (*wake)(void *data))
{
	g_atomic_int_set(&workers->stopping, 1);
	g_mutex_lock(&workers->lock);
	while (g_atomic_int_get(&workers->threads) > 0) {
		wake(workers->data);
		g_cond_wait_until(&workers->ended, &workers->lock, g_get_monotonic_time() + 50000);
	}
	g_mutex_unlock(&workers->lock);
	g_mutex_clear(&workers->lock);
	g_cond_clear(&workers->ended);
}

static gboolean may_grow(Workers *workers)
{
	return g_atomic_int_get(&workers->threads) - g_atomic_int_get(&workers->streams) <
	    WORKERS_MAX;
}

void workers_idle(Workers *workers)
{
	g_atomic_int_inc(&workers->idle);
}

void workers_woke(Workers *workers, gboolean work)
{
	gboolean last = g_atomic_int_dec_and_test(&workers->idle);
	if (last && work && may_grow(workers) && !g_atomic_int_get(&workers->stopping) &&
	    spawn(workers))
		log_warn("Failed to start a thread", "door", workers->name);
}

int worker_stream_begin(Error **err)
{
	if (!mine)
		return 0;
	if (g_atomic_int_add(&mine->streams, 1) >= WORKERS_STREAMS_MAX) {
		g_atomic_int_add(&mine->streams, -1);
		return error_set(err, ERROR_UNAVAILABLE, "Too many streams at once");
	}
	/* This thread is lost for short calls until the stream ends. */
	if (!g_atomic_int_get(&mine->idle) && may_grow(mine) && !g_atomic_int_get(&mine->stopping))
		spawn(mine);
	return 0;
}

void worker_stream_end(void)
{
	if (mine)
		g_atomic_int_add(&mine->streams, -1);
}

gboolean worker_scarce(void)
{
	return mine && !g_atomic_int_get(&mine->idle) && !may_grow(mine);
}
