#pragma once
/*
 * Snapshots of instances: what an instance was, its own keys and devices (instances_snapshots),
 * beside the data of its root volume (server/storage/snapshot.h). Profiles are not kept: a snapshot
 * is shown, copied and restored with those that the instance has now.
 *
 * Order: the instance's row, then the volume's row and data; the other way round when deleting. At
 * start an instance's row without the volume's is removed.
 */
#include "sdk/base/moment.h"
#include "server/instance/instance.h"
#include "server/rpc/request.h"

struct Operation;

typedef struct InstanceSnapshot {
	int64_t id, instance_id;
	char *name, *description;
	int64_t created; /* seconds since 1970 */
	Moment expires;	 /* 0: never */
	gboolean stateful;
	Config *config;           /* the instance's own keys then, volatile ones too */
	Devices *devices;
} InstanceSnapshot;
void instance_snapshot_free(InstanceSnapshot *snapshot);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(InstanceSnapshot, instance_snapshot_free)

/* What a snapshot is to be. */
typedef struct InstanceSnapshotSpec {
	const char *name;  /* NULL or "": the next that snapshots.pattern gives */
	gboolean expires_given;
	Moment expires;	   /* when given: 0 is never; else snapshots.expiry decides */
	gboolean stateful; /* with its processes; it must run */
	const char *description;
} InstanceSnapshotSpec;

/* The name that a snapshot without one would get now (g_free). */
int instance_snapshot_next_name(Instance *i, char **ret_name, Error **err);
/* A running instance stands still while its data is copied where the driver has no snapshots of its
 * own. ERROR_EXISTS for a name that is taken; nothing is left on failure. */
int instance_snapshot_create(
    Instance *i, const InstanceSnapshotSpec *spec, const Caller *caller, Error **err);
int instance_snapshot_delete(Instance *i, const char *name, const Caller *caller, Error **err);
int instance_snapshot_rename(
    Instance *i, const char *name, const char *new_name, const Caller *caller, Error **err);
int instance_snapshot_set_expiry(
    Instance *i, const char *name, const Moment *expires, const Caller *caller, Error **err);
/* Root data, own keys and devices as they were; uuid and power state stay. One that runs is stopped
 * at once and started again. With `stateful` the processes of a stateful snapshot run afterwards. */
int instance_snapshot_restore(
    Instance *i, const char *name, gboolean stateful, const Caller *caller, Error **err);

/* ERROR_NOT_FOUND "Instance snapshot not found". */
int instance_snapshot_find(
    Instance *i, const char *name, InstanceSnapshot **ret_snapshot, Error **err);
/* InstanceSnapshot *, oldest first; three statements. */
int instance_snapshot_list(Instance *i, GPtrArray **ret_snapshots, Error **err);
/* Of all instances at once, as a table by instance id (int64_t *) of such arrays; three statements.
 */
int instance_snapshot_list_all(Daemon *d, GHashTable **ret_by_instance, Error **err);
/* Those that will expire, of all instances: id, instance_id, name and expires only; one statement.
 */
int instance_snapshot_expiring(Daemon *d, GPtrArray **ret_snapshots, Error **err);
/* Numbers alone: instance id -> count (GPOINTER_TO_UINT); one statement. */
int instance_snapshot_count_all(Daemon *d, GHashTable **ret_by_instance, Error **err);

struct Pb__InstanceSnapshot;
/* The size is left at -1: asking for it may take time. */
void instance_snapshot_render(Instance *i, const ProfileSet *profiles,
    const InstanceSnapshot *snapshot, Arena *arena, struct Pb__InstanceSnapshot *out);
/* Bytes that it holds alone; -1 when the driver cannot tell. */
int64_t instance_snapshot_size(Instance *i, const char *name);

/* Removes rows whose volume's snapshot is gone: of one instance, locked by the caller, or (0, at start, when
 * interrupted renames and moves are settled) of all. */
int instance_snapshot_repair(Daemon *d, int64_t instance_id, Error **err);
