#include "server/storage/volume_lock.h"

struct VolumeLocks {
	GMutex lock;
	GCond changed;
	GHashTable *by_name;
};

struct VolumeLock {
	VolumeLocks *locks;
	char *name;
	unsigned users;   /* holders and waiters */
	unsigned readers;
	gboolean writer;
};

VolumeLocks *volume_locks_new(void)
{
	VolumeLocks *locks = g_new0(VolumeLocks, 1);
	g_mutex_init(&locks->lock);
	g_cond_init(&locks->changed);
	locks->by_name = g_hash_table_new(g_str_hash, g_str_equal);
	return locks;
}

void volume_locks_free(VolumeLocks *locks)
{
	if (!locks)
		return;
	g_hash_table_unref(locks->by_name);
	g_mutex_clear(&locks->lock);
	g_cond_clear(&locks->changed);
	g_free(locks);
}

VolumeLock *volume_lock(VolumeLocks *locks, const char *name, gboolean shared)
{
	g_mutex_lock(&locks->lock);
	VolumeLock *lock = g_hash_table_lookup(locks->by_name, name);
	if (!lock) {
		lock = g_new0(VolumeLock, 1);
		lock->locks = locks;
		lock->name = g_strdup(name);
		g_hash_table_insert(locks->by_name, lock->name, lock);
	}
	lock->users++;
	while (lock->writer || (!shared && lock->readers > 0))
		g_cond_wait(&locks->changed, &locks->lock);
	if (shared)
		lock->readers++;
	else
		lock->writer = TRUE;
	g_mutex_unlock(&locks->lock);
	return lock;
}

void volume_unlock(VolumeLock *lock)
{
	if (!lock)
		return;
	VolumeLocks *locks = lock->locks;
	g_mutex_lock(&locks->lock);
	if (lock->writer)
		lock->writer = FALSE;
	else
		lock->readers--;
	if (--lock->users == 0) {
		g_hash_table_remove(locks->by_name, lock->name);
		g_free(lock->name);
		g_free(lock);
	}
	g_cond_broadcast(&locks->changed);
	g_mutex_unlock(&locks->lock);
}

void volume_lock_share(VolumeLock *lock)
{
	g_mutex_lock(&lock->locks->lock);
	lock->writer = FALSE;
	lock->readers++;
	g_cond_broadcast(&lock->locks->changed);
	g_mutex_unlock(&lock->locks->lock);
}

gboolean volume_lock_awaited(VolumeLock *lock)
{
	g_mutex_lock(&lock->locks->lock);
	gboolean awaited = lock->users > 1;
	g_mutex_unlock(&lock->locks->lock);
	return awaited;
}
