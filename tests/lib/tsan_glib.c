/*
 * For the tsan build only: GLib's locks are futexes in a library that ThreadSanitizer does not see
 * into, so that everything they guard would look like a race. These functions stand before GLib's,
 * tell ThreadSanitizer what they do, and let GLib do it.
 */
#include <dlfcn.h>
#include <glib.h>
#include <sanitizer/tsan_interface.h>

#undef g_once_init_enter
#undef g_once_init_leave

static void find(void **slot, const char *name, void *ret_function)
{
	void *function = __atomic_load_n(slot, __ATOMIC_RELAXED);
	if (!function) {
		function = dlsym(RTLD_NEXT, name);
		__atomic_store_n(slot, function, __ATOMIC_RELAXED);
	}
	*(void **)ret_function = function;
}

/* Declares `next`, GLib's own function of that name. */
#define REAL(name)                                                                                 \
	static void *slot;                                                                         \
	__typeof__(&name) next;                                                                    \
	find(&slot, #name, &next)

void g_mutex_lock(GMutex *mutex)
{
	REAL(g_mutex_lock);
	__tsan_mutex_pre_lock(mutex, 0);
	next(mutex);
	__tsan_mutex_post_lock(mutex, 0, 0);
}

gboolean g_mutex_trylock(GMutex *mutex)
{
	REAL(g_mutex_trylock);
	__tsan_mutex_pre_lock(mutex, __tsan_mutex_try_lock);
	gboolean locked = next(mutex);
	__tsan_mutex_post_lock(
	    mutex, __tsan_mutex_try_lock | (locked ? 0 : __tsan_mutex_try_lock_failed), 0);
	return locked;
}

void g_mutex_unlock(GMutex *mutex)
{
	REAL(g_mutex_unlock);
	__tsan_mutex_pre_unlock(mutex, 0);
	next(mutex);
	__tsan_mutex_post_unlock(mutex, 0);
}

void g_mutex_clear(GMutex *mutex)
{
	REAL(g_mutex_clear);
	__tsan_mutex_destroy(
	    mutex, __tsan_mutex_linker_init); /* one that was never locked is unknown */
	next(mutex);
}

void g_cond_wait(GCond *cond, GMutex *mutex)
{
	REAL(g_cond_wait);
	__tsan_mutex_pre_unlock(mutex, 0);
	__tsan_mutex_post_unlock(mutex, 0);
	next(cond, mutex);
	__tsan_mutex_pre_lock(mutex, 0);
	__tsan_mutex_post_lock(mutex, 0, 0);
}

gboolean g_cond_wait_until(GCond *cond, GMutex *mutex, gint64 end)
{
	REAL(g_cond_wait_until);
	__tsan_mutex_pre_unlock(mutex, 0);
	__tsan_mutex_post_unlock(mutex, 0);
	gboolean signalled = next(cond, mutex, end);
	__tsan_mutex_pre_lock(mutex, 0);
	__tsan_mutex_post_lock(mutex, 0, 0);
	return signalled;
}

gpointer g_once_impl(GOnce *once, GThreadFunc function, gpointer data)
{
	REAL(g_once_impl);
	__tsan_release(once);
	gpointer value = next(once, function, data);
	__tsan_acquire(once);
	return value;
}

/* The reader's quick look is an atomic load that ThreadSanitizer sees. */
void g_once_init_leave(volatile void *location, gsize result)
{
	REAL(g_once_init_leave);
	__tsan_release((void *)location);
	next(location, result);
}

void g_rw_lock_reader_lock(GRWLock *lock)
{
	REAL(g_rw_lock_reader_lock);
	__tsan_mutex_pre_lock(lock, __tsan_mutex_read_lock);
	next(lock);
	__tsan_mutex_post_lock(lock, __tsan_mutex_read_lock, 0);
}

void g_rw_lock_reader_unlock(GRWLock *lock)
{
	REAL(g_rw_lock_reader_unlock);
	__tsan_mutex_pre_unlock(lock, __tsan_mutex_read_lock);
	next(lock);
	__tsan_mutex_post_unlock(lock, __tsan_mutex_read_lock);
}

void g_rw_lock_writer_lock(GRWLock *lock)
{
	REAL(g_rw_lock_writer_lock);
	__tsan_mutex_pre_lock(lock, 0);
	next(lock);
	__tsan_mutex_post_lock(lock, 0, 0);
}

void g_rw_lock_writer_unlock(GRWLock *lock)
{
	REAL(g_rw_lock_writer_unlock);
	__tsan_mutex_pre_unlock(lock, 0);
	next(lock);
	__tsan_mutex_post_unlock(lock, 0);
}

/* What a pool or queue hands over happens before it is taken. */

typedef struct Pool {
	GFunc function;
	gpointer data;
} Pool;

static void run_in_pool(gpointer data, gpointer user_data)
{
	const Pool *pool = user_data;
	__tsan_acquire(data);
	pool->function(data, pool->data);
	__tsan_release(user_data);
}

/* The last thread of the pool frees it, ordered by GLib's own lock that TSan does not see. */
__attribute__((no_sanitize("thread"))) void g_thread_pool_free(
    GThreadPool *pool, gboolean immediate, gboolean wait)
{
	REAL(g_thread_pool_free);
	gpointer user_data = pool->user_data;
	next(pool, immediate, wait);
	__tsan_acquire(user_data);
}

GThreadPool *g_thread_pool_new(
    GFunc function, gpointer data, gint max, gboolean exclusive, GError **error)
{
	REAL(g_thread_pool_new);
	Pool *pool = g_new0(Pool, 1); /* for the life of the program */
	pool->function = function;
	pool->data = data;
	return next(run_in_pool, pool, max, exclusive, error);
}

gboolean g_thread_pool_push(GThreadPool *pool, gpointer data, GError **error)
{
	REAL(g_thread_pool_push);
	__tsan_release(data);
	return next(pool, data, error);
}

void g_async_queue_push(GAsyncQueue *queue, gpointer data)
{
	REAL(g_async_queue_push);
	__tsan_release(data);
	next(queue, data);
}

gpointer g_async_queue_pop(GAsyncQueue *queue)
{
	REAL(g_async_queue_pop);
	gpointer data = next(queue);
	__tsan_acquire(data);
	return data;
}
