#pragma once
/*
 * Copies of instances on this server, across pools and projects, and moves, which are copies that
 * take the original's place. Other servers are the migration's.
 */
#include "server/instance/flow.h"

struct Operation;

/* Where the root volume of a new instance comes from. */
typedef struct InstanceOrigin {
	Instance *source;
	const char *snapshot;         /* one of its snapshots; NULL: the instance as it is */
	gboolean instance_only;       /* leave the source's snapshots */
	gboolean allow_inconsistent;  /* do not stop its tasks while trees are copied */
} InstanceOrigin;

/* The keys and devices that a copy starts from: those of the source (or its snapshot) without what
 * is the source's alone (volatile keys but the image it is from). New objects. */
int instance_copy_base(
    const InstanceOrigin *origin, Config **ret_config, Devices **ret_devices, Error **err);
/* Sets in `config` whose ids the files of origin have on disk, which a copy's have too. */
int copy_owners(const InstanceOrigin *origin, Config *config, Error **err);
/* As instance_create(); spec->origin says what of. A running source stands still while trees are
 * copied. */
int instance_copy(Daemon *d, const InstanceSpec *spec, struct Operation *op,
    Instance **ret_instance, Error **err);
/* Brings a stopped copy up to date: root data, and snapshots that are new, gone or other ones. */
int instance_refresh(Instance *target, const InstanceOrigin *origin, struct Operation *op,
    const Caller *caller, Error **err);

/* Another name, pool or project (NULL: as it is) for a stopped instance, with its snapshots.
 * profiles NULL: the same names, which the project must have. */
typedef struct InstanceMove {
	const char *name, *pool, *project;
	char *const *profiles;
	gboolean instance_only; /* to another pool: without its snapshots */
} InstanceMove;
/* At start: volumes of moves that were cut short. */
int instance_move_repair(Daemon *d, Error **err);
int instance_move(
    Instance *i, const InstanceMove *move, struct Operation *op, const Caller *caller, Error **err);

/* The rest is for create.c and the migration. The volume of the (new, locked) instance in `pool`,
 * with the rows of its snapshots. */
/* The root disk of `devices` gets this pool: its own, or one laid over that of `expanded`. */
void copy_set_root_pool(Devices *devices, const Devices *expanded, const char *pool);
int copy_root(
    Instance *i, Pool *pool, const InstanceOrigin *origin, struct Operation *op, Error **err);

/* The root volume of the instance, were it in that pool. */
struct Volume *copy_root_volume(const Instance *i, const Pool *pool);
struct InstanceSnapshot;
/* InstanceSnapshot *: those of the source that go with it. */
int copy_snapshots_of(const InstanceOrigin *origin, GPtrArray **ret_list, Error **err);
/* Rows like these, of `instance`, whose root disk is in `pool`: a PoolAlso, on a CopiedSnapshots. */
typedef struct CopiedSnapshots {
	Instance *instance;
	Pool *pool;
	const GPtrArray *snapshots; /* InstanceSnapshot * */
} CopiedSnapshots;
int copy_insert_snapshots(struct Tx *tx, void *data, Error **err);
/* Of a target's list those names (char *) that the wanted list has not, or has another of; and of
 * the wanted list what the target has not. Borrowed from the lists. */
GPtrArray *copy_stale(const GPtrArray *there, const GPtrArray *wanted);
GPtrArray *copy_missing(const GPtrArray *there, const GPtrArray *wanted);
struct InstanceSnapshot *copy_find_named(const GPtrArray *list, const char *name);
/* Locks the source for the length of a copy; *ret_frozen: to be let go again. */
int copy_hold(const InstanceOrigin *origin, gboolean *ret_frozen, Error **err);
void copy_release(const InstanceOrigin *origin, gboolean frozen);
