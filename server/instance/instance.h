#pragma once
/*
 * Instances: the table of all of them, held in memory as the database has them, each with one lock
 * and its running state. Flows (create, start, stop, ...) are in the files beside this one:
 * create.h, power.h, update.h, state.h, exec.h, console.h, file.h. Not for wire formats: handlers
 * in server/api do that.
 *
 * Locks: the table's lock guards membership only and is never held while an instance's is waited
 * for. An instance has two: `change` (one flow at a time; held for the flow's length) and a short
 * one for its fields. Getters copy under the short lock, so they never wait for a flow.
 */
#include "sdk/base/arena.h"
#include "sdk/base/error.h"
#include "sdk/base/map.h"
#include "server/daemon.h"
#include <stdint.h>
#include <sys/types.h>

typedef struct Instance Instance;
typedef struct InstanceTable InstanceTable;
struct Pb__Instance;
struct Caller;

typedef enum InstanceType { INSTANCE_CONTAINER = 0, INSTANCE_MACHINE = 1 } InstanceType;
typedef enum InstanceStatus {
	INSTANCE_STOPPED = 102,
	INSTANCE_RUNNING = 103,
	INSTANCE_STARTING = 106,
	INSTANCE_STOPPING = 107,
	INSTANCE_FROZEN = 110,
	INSTANCE_ERROR = 112,
	INSTANCE_READY = 113, /* shown for a running one whose inside said so */
} InstanceStatus;	      /* values are Incus's status codes */

/* Loads all rows, removes half-made instances, finds running containers again and watches them.
 * After pool_table_start and network_table_start. */
int instance_table_start(Daemon *d, Error **err);
/* After SQL by hand: instances whose rows are gone are forgotten; what runs goes on. */
int instance_table_sync(Daemon *d, Error **err);
void instance_table_stop(Daemon *d); /* containers go on */
/* What runs and is no instance's (any more): once, before instances start by themselves. */
void instance_end_orphans(Daemon *d);
/* boot.autostart and last power state, in order of priority; blocks. Call when the daemon is ready.
 */
void instance_autostart(Daemon *d);
/* Stops every running instance (boot.stop.priority, boot.host_shutdown_timeout) and notes that they
 * ran. */
void instance_shutdown_all(Daemon *d);

/* ERROR_NOT_FOUND "Instance not found". */
int instance_get(
    Daemon *d, const char *project, const char *name, Instance **ret_instance, Error **err);
/* New references (Instance *), sorted by project and name; project NULL: all. */
GPtrArray *instance_list(Daemon *d, const char *project);
Instance *instance_ref(Instance *instance);
void instance_unref(Instance *instance);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Instance, instance_unref)

int64_t instance_id(const Instance *instance);
Daemon *instance_daemon(const Instance *instance);
/* Names change by rename: the strings are interned and stay valid. */
const char *instance_name(const Instance *instance);
const char *instance_project(const Instance *instance);
InstanceType instance_type(const Instance *instance);
const char *instance_type_name(InstanceType type); /* "container", "virtual-machine" */
/* Demands on an expanded configuration beyond its keys, as far as they can be told without a
 * server: what cannot be had here (raw.qemu), what does not go together. */
int instance_config_check(InstanceType type, const Config *expanded, Error **err);
/* Whether a virtual machine's firmware that is installed here can go on with the variables that it
 * has in `bytes` bytes. */
gboolean instance_variables_fit(const Config *expanded, int64_t bytes);
/* It stands still, to go to another server: commands in it are ended. */
gboolean instance_moving(Instance *i);
InstanceStatus instance_status(Instance *instance);
InstanceStatus instance_status_shown(Instance *instance);
const char *instance_status_name(InstanceStatus status); /* "Running" */
gboolean instance_running(Instance *instance);     /* Frozen counts as running */
pid_t instance_init_pid(Instance *instance);       /* 0 when not running */
/* "NAME" in project default, else "PROJECT_NAME": names of files, logs, cgroups. */
char *instance_file_name(const Instance *instance);
char *instance_file_name_as(const char *project, const char *name);
char *instance_path(Instance *instance);           /* INCUS_DIR/containers/[PROJECT_]NAME */
/* INCUS_DIR/run: what liblxc takes for its own folder. Images do not reach it. */
char *instance_lxcpath(const Daemon *d);
/* "/lxc.payload.c1": the running container's control group in every hierarchy; "" when it is not
 * known. */
char *instance_cgroup(Instance *instance);
char *instance_log_path(Instance *instance);       /* logs/[PROJECT_]NAME */

/* Copies, to free. Local ones include volatile.*; expanded ones are profiles with local on top. */
Config *instance_config(Instance *instance);
Config *instance_expanded_config(Instance *instance);
Devices *instance_devices(Instance *instance);
Devices *instance_expanded_devices(Instance *instance);
char **instance_profiles(Instance *instance);      /* g_strfreev */
/* One expanded value, g_free; NULL when unset. */
char *instance_expanded_get(Instance *instance, const char *key);
/* `key` without "volatile."; get gives a copy or NULL. set goes to memory and database; NULL
 * removes. */
char *instance_volatile_get(Instance *instance, const char *key);
int instance_volatile_set(Instance *instance, const char *key, const char *value, Error **err);

/* After a profile was changed in the database (api/profile.c): expands every
 * instance using it again and applies the difference live. Failures of single instances are
 * collected in one error; the profile stays changed. check first, with the new content, before
 * storing: refuses what an instance using it could not carry (root disk missing, bad devices). */
int instance_profile_changed(Daemon *d, const char *project, const char *profile, Error **err);
/* After it was renamed there: who has it knows it by its new name. */
void instance_profile_renamed(
    Daemon *d, const char *project, const char *profile, const char *new_name);
int instance_profile_check(Daemon *d, const char *project, const char *profile,
    const Config *config, const Devices *devices, Error **err);

/* Sends a lifecycle event of the instance, or of what is below it ("/logs/lxc.log"). context_json:
 * an object or NULL; caller NULL: the daemon itself. */
void instance_event(Instance *instance, const char *action, const char *context_json,
    const struct Caller *caller);
void instance_event_below(Instance *instance, const char *below, const char *action,
    const char *context_json, const struct Caller *caller);

/* The parts of an instance that cost something; its plain values are always shown. */
typedef enum RenderParts {
	RENDER_CONFIG = 1 << 0,
	RENDER_DEVICES = 1 << 1,
	RENDER_EXPANDED_CONFIG = 1 << 2,
	RENDER_EXPANDED_DEVICES = 1 << 3,
	RENDER_PROFILES = 1 << 4,
	RENDER_STATE = 1 << 5,
	RENDER_ALL = (1 << 6) - 1,
} RenderParts;

/* The parts that a caller who needs these fields must be given; n 0: all. */
RenderParts render_parts(char *const *fields, size_t n);

/* Every profile, read once for the rendering of many snapshots. */
typedef struct ProfileSet ProfileSet;
int profile_set_load(Daemon *d, ProfileSet **ret_set, Error **err);
void profile_set_free(ProfileSet *set);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ProfileSet, profile_set_free)

/* Fills the message as GET /1.0/instances/NAME shows it, without the state. */
void instance_render(Instance *instance, RenderParts parts, Arena *arena, struct Pb__Instance *out);
