#pragma once
/*
 * The instance behind the opaque type, for the files of this folder only. Everybody else uses
 * instance.h and the flows' headers.
 */
#include "sdk/base/log.h"
#include "sdk/base/own.h"
#include "server/db/db.h"
#include "server/device/device.h"
#include "server/event/event.h"
#include "server/helper/client.h"
#include "server/instance/cgroup.h"
#include "server/instance/instance.h"
#include "server/rpc/request.h"
#include "server/storage/pool.h"

/* A running instance as the kernel shows it: a container's init and monitor, a virtual machine's
 * QEMU (which is both). Immutable once published, but for the counters and `frozen`. */
typedef struct Runtime {
	gint refs;
	pid_t init, monitor;
	uint64_t init_start, monitor_start; /* clock ticks since boot: tells a reused pid */
	int init_fd, monitor_fd;            /* pidfds */
	int netlink_fd;                     /* NETLINK_ROUTE inside; -1 when it could not be made */
	GMutex netlink_lock;
	char *cgroup; /* "/lxc.payload.c1", the same in every hierarchy; "" of virtual machines */
	CgroupMeters *meters; /* of it */
	gint frozen;                        /* of virtual machines */
	struct Guest *guest;                /* of virtual machines: closed with the last reference */
} Runtime;

struct Instance {
	gint refs;
	Daemon *daemon;
	int64_t id;
	InstanceType type;
	GMutex change;            /* one flow at a time */
	GMutex lock;              /* the fields below */
	const char *name, *project; /* interned */
	int64_t architecture;
	gboolean ephemeral, stateful, gone;
	gboolean creating;        /* under the table's lock */
	gint moving;              /* it stands still, to go to another server */
	char *description;
	int64_t created, last_used; /* seconds since 1970 */
	Config *config, *expanded;
	Devices *devices, *expanded_devices;
	char **profiles;
	GHashTable *dirty;        /* volatile keys not yet in the database; NULL: write through */
	InstanceStatus transition; /* STARTING, STOPPING, or 0 */
	Runtime *runtime;
	GHashTable *mounts;       /* pools' custom volumes mounted for it: owned by disk devices */
};

struct InstanceTable {
	Daemon *daemon;
	GMutex lock;
	GHashTable *by_name;      /* "PROJECT/NAME" -> Instance, one reference */
	int epoll_fd, wake_fd;    /* the watcher's */
	int timer_fd;             /* ticks while virtual machines run */
	gint machines;            /* that run */
	GThread *watcher;
	GMutex watch_lock;
	GHashTable *watches;      /* one for each monitor waited for */
	gint stopping;
	gint tasks;               /* background threads still running */
};

/* row.c: the database's side. `Instance` fields are read without lock: callers hold `change`. */
int row_load_all(Daemon *d, GPtrArray **ret_instances, Error **err);
int row_insert(Instance *i, Error **err);           /* sets id */
/* Within another transaction, with the date that it has. */
int row_insert_in(Tx *tx, void *instance, Error **err);
int row_update(Instance *i, Error **err);           /* everything below the row too */
int row_rename(Instance *i, const char *name, Error **err);
/* The row as the fields now say, name and project too; the root disks of its snapshots get `pool`
 * (NULL: stay). */
int row_move(Instance *i, const char *pool, Error **err);
int row_delete(Instance *i, Error **err);
int row_set_stateful(Instance *i, Error **err); /* as the field says */
int row_delete_in(Tx *tx, void *instance, Error **err); /* within another transaction */
int row_config_write(Instance *i, GHashTable *keys, gboolean used_now, Error **err);
/* Config and devices that the named profiles give, in order. ERROR_NOT_FOUND names one that is
 * missing. `project` is the instance's. replaced (may be NULL) stands for one profile with other
 * content. */
typedef struct ProfileReplacement {
	const char *name;
	const Config *config;
	const Devices *devices;
} ProfileReplacement;
int row_expand_from(const ProfileSet *set, const char *project, char *const *profiles,
    const Config *config, const Devices *devices, Config **ret_config, Devices **ret_devices,
    Error **err);
int row_expand(Daemon *d, const char *project, char *const *profiles, const Config *config,
    const Devices *devices, const ProfileReplacement *replaced, Config **ret_config,
    Devices **ret_devices, Error **err);

/* table.c */
Instance *instance_new(Daemon *d, const char *project, const char *name);
/* Puts a new instance into the table; ERROR_EXISTS "Instance \"NAME\" already exists". */
int table_add(Instance *i, Error **err);
void table_remove(Instance *i);
void table_show(Instance *i); /* it is made: lookups and lists may find it */
/* Finds it running, when it does, and holds its root volume mounted. */
void table_adopt_running(Instance *i);
int table_rename(Instance *i, const char *name, Error **err);
/* Name and project (interned by this). */
int table_move(Instance *i, const char *project, const char *name, Error **err);
/* Locks `change` and checks that it was not deleted meanwhile; instance_unlock() ends. */
int instance_lock(Instance *i, Error **err);
/* ERROR_BUSY instead of waiting: for the second of two. */
int instance_trylock(Instance *i, Error **err);
void instance_unlock(Instance *i);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GMutex, g_mutex_unlock)
/* Between these, volatile keys stay in memory; flush writes all in one transaction. */
void volatile_defer(Instance *i);
int volatile_flush(Instance *i, gboolean used_now, Error **err);
int volatile_sync(Instance *i, Error **err); /* writes, and goes on keeping; under `change` */
/* What devices get to see; valid while `change` is held. */
void instance_host(Instance *i, DeviceHost *ret_host, GArray *idmap);
void instance_host_clear(DeviceHost *host);

/* create.c: keys, devices, id map and project limits of an expanded configuration. `before`: the
 * devices of an instance that is there, or NULL. Of one that goes back to a snapshot what is not
 * built here is only refused when it starts: its data may be all that is wanted. */
int instance_check(Daemon *d, const char *project, const char *name, InstanceType type,
    const Config *config, const Devices *devices, const Devices *before, Error **err);
int instance_check_restored(
    const Instance *i, const Config *config, const Devices *devices, Error **err);
/* backup_restore.c: the root volume with its snapshots and their rows; size: bytes it may have, 0
 * any. */
struct InstanceArchive;
struct Operation;
int restore_root(Instance *i, Pool *pool, const struct InstanceArchive *archive, int64_t size,
    struct Operation *op, Error **err);
/* update.c */
struct InstanceChange;
int instance_update_locked(Instance *i, const struct InstanceChange *change, Error **err);
/* update.c: expands again from what the database and the local fields say. */
int instance_reexpand(Instance *i, Error **err);

/* runtime.c */
Runtime *runtime_new(void);
Runtime *runtime_ref(Runtime *r);
void runtime_unref(Runtime *r);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Runtime, runtime_unref)
Runtime *instance_runtime(Instance *i); /* new reference or NULL */
/* Writes and reads INCUS_DIR/run/NAME/state. */
char *runtime_directory(const Instance *i);
void runtime_directory_remove(Instance *i);
/* Of a container that runs or has just ended: it was started from state, in control groups that
 * liblxc knows in part. */
gboolean runtime_was_restored(const Instance *i);
int runtime_adopt(Instance *i, Runtime **ret_runtime, Error **err); /* NULL: not running */
/* What DIRECTORY/state tells of a container, NULL when that is not alive. */
int lxc_adopt(Instance *i, Runtime **ret_runtime, Error **err);
void runtime_publish(Instance *i, Runtime *runtime); /* takes the reference; watches it */
/* Waits for the monitor's end; FALSE on timeout. -1: for ever. */
gboolean runtime_wait(Runtime *r, int timeout_ms);
gboolean runtime_wait_init(Runtime *r, int timeout_ms);
int watcher_start(InstanceTable *table, Error **err);
void watcher_stop(InstanceTable *table);
void watcher_add(InstanceTable *table, Instance *i, Runtime *r);

struct InstanceSnapshotSpec;
/* snapshot_tasks.c: the schedule of an instance may be another one now. */
void snapshot_schedule_changed(Instance *i);
/* @startup of snapshots.schedule; under `change`. Failures are logged: they keep nothing from
 * starting. */
void snapshot_at_startup(Instance *i);
/* snapshot.c: instance_snapshot_create() under `change`, without its event; *ret_name is for
 * g_free. */
int snapshot_create_locked(
    Instance *i, const struct InstanceSnapshotSpec *spec, char **ret_name, Error **err);
void snapshot_tell_created(Instance *i, const char *name, const Caller *caller);

/* devices.c */
/* All or none: one that was not started must not be stopped, for what it counts may be another's.
 */
int devices_start(const DeviceHost *host, DeviceStart *out, Error **err);
/* Once its first process is there. */
int devices_started(const DeviceHost *host, Error **err);
void devices_stop(const DeviceHost *host);
/* At the server's start, of an instance that runs since before, with its lock held. */
void devices_adopt(Instance *i);
void devices_left(Instance *i);
/* Of device/watch.h. */
void devices_changed(Daemon *d, const char *project, const char *instance, const char *device);

/* power.c */
int power_start_locked(Instance *i, Error **err);
/* A start from state whose processes wait, restored, until wait() has returned 0; when it does not,
 * nothing has run. */
typedef struct StartGate {
	int (*wait)(void *data, Error **err);
	void *data;
	/* Of what comes while it runs elsewhere: the stream that it comes by. NULL: from state. */
	struct MigrationPeer *peer;
	struct Operation *op;
} StartGate;
int power_restore_locked(Instance *i, const StartGate *gate, Error **err);
/* Its processes ended for good since they run elsewhere now. */
void power_left_locked(Instance *i);
/* What is shown as its status meanwhile; 0: as it is. */
void power_transition(Instance *i, InstanceStatus status);
/* Stops it with its processes kept on disk (checkpoint.h). */
int power_save_locked(Instance *i, Error **err);
int power_stop_locked(Instance *i, int timeout_s, gboolean force, Error **err);
/* Stops the (running) instance's tasks for a moment, or lets them go on. */
int power_freeze_locked(Instance *i, gboolean frozen, Error **err);
/* After the monitor ended: devices, mounts, files. */
void power_cleanup_locked(Instance *i);
/* The watcher saw the end of an instance that nobody stopped. */
void power_ended(Instance *i, Runtime *r);

/* idmap.c */
/* Ranges for the instance (empty: privileged), and their text for the spawner ("" privileged). */
int idmap_for(const Config *expanded, GArray **ret_ranges, char **ret_text, Error **err);
/* The same of the instance as it is now: while it runs, the map it was started with. */
int instance_idmap(Instance *i, GArray **ret_ranges, char **ret_text, Error **err);
/* Sets volatile.idmap.base: a range of its own for an isolated instance, else "0". */
int idmap_choose(Instance *i, Error **err);
/* Gives the instance's directory to the host's uid of its root, and lets nobody else in: what is
 * set-uid inside must not be reachable for the host's users. */
int idmap_own(const char *directory, const GArray *ranges, Error **err);

/* owners.c: whose ids a container's files have on disk (volatile.last_state.idmap; storage/shift.h);
 * none: the same as inside. */
int owners_of(const Config *config, GArray **ret_map, Error **err); /* of a snapshot's keys, too */
int owners_now(Instance *i, GArray **ret_map, Error **err);
int owners_of_snapshots(const GPtrArray *snapshots, GPtrArray **ret_maps, Error **err);
/* For a start, of the volume mounted at `path`: *ret_mapped tells that the mount maps; otherwise
 * they are on disk what `idmap` says. ERROR_INVALID with security.protection.shift. */
int owners_settle(Instance *i, Pool *pool, const char *path, const GArray *idmap,
    gboolean *ret_mapped, Error **err);
/* Before other files take their place whose owners are of this map, so that at no moment the note
 * and the files disagree. */
int owners_become(Instance *i, Pool *pool, const GArray *map, Error **err);
/* What was interrupted, of one, or (at the server's start) of all. */
int owners_finish(Instance *i, Pool *pool, Error **err);
void owners_repair(Daemon *d);

/* lxc_config.c */
/* key, value, key, value, ... of everything but the root file system and the devices. */
/* Appends what allows a device ("c 10:200 rwm"). */
void lxc_config_device_rule(GPtrArray *pairs, const char *rule);
int lxc_config_build(
    Instance *i, const Config *expanded, const char *idmap, GPtrArray *pairs, Error **err);
/* Asks liblxc whether it takes raw.lxc. */
int lxc_config_check(Daemon *d, const Config *expanded, Error **err);

/* seccomp.c: writes the profile; *ret_path NULL when none is wanted. */
int seccomp_write(Instance *i, const Config *expanded, char **ret_path, Error **err);
void seccomp_remove(Instance *i);

/* apparmor.c */
/* Loads the profile; *ret_label is what liblxc is told ("unconfined" on a host without AppArmor).
 */
int apparmor_load(Instance *i, const Config *expanded, char **ret_label, Error **err);
/* Replaces the running container's profile where the change concerns it. */
int apparmor_reload(Instance *i, const Config *before, const Config *after, Error **err);
void apparmor_unload(Instance *i);

/* template_apply.c */
int template_apply(Instance *i, const char *directory, const char *trigger, Error **err);

/* limits.c */
/* Start settings as liblxc keys into pairs. */
int limits_lxc(const Config *expanded, GPtrArray *pairs, Error **err);
/* Writes the difference to the running container. */
int limits_apply(Instance *i, const Config *before, const Config *after, Error **err);
/* Spreads counted CPUs over all running instances. */
void limits_balance(Daemon *d);
