#pragma once
/*
 * Locks by name, shared or exclusive, that exist only while somebody holds or waits for them: one
 * table for all volumes of a pool. Several may be held by one thread only in the order image
 * volume, then instance or custom volume.
 */
#include <glib.h>

typedef struct VolumeLocks VolumeLocks;
typedef struct VolumeLock VolumeLock;

VolumeLocks *volume_locks_new(void);
void volume_locks_free(VolumeLocks *locks); /* nobody holds any */
VolumeLock *volume_lock(VolumeLocks *locks, const char *name, gboolean shared);
void volume_unlock(VolumeLock *lock); /* NULL is fine */
/* An exclusive one becomes a shared one, without letting anybody in between. */
void volume_lock_share(VolumeLock *lock);
/* Whether somebody waits for the one that is held exclusively. */
gboolean volume_lock_awaited(VolumeLock *lock);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VolumeLock, volume_unlock)
