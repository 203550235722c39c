#pragma once
/*
 * What can be done with an instance: create, start, stop, change, delete. Each takes the instance's
 * flow lock, sends its lifecycle events, and leaves nothing half-done behind when it fails.
 */
#include "server/device/device.h"
#include "server/instance/instance.h"
#include "server/rpc/request.h"
#include "server/storage/pool.h"

struct Operation;

/* What a new instance is to be. Borrowed. */
typedef struct InstanceSpec {
	const char *project, *name;
	InstanceType type;
	const char *architecture;      /* NULL or "": the host's */
	const char *description;
	gboolean ephemeral;
	const Config *config;          /* local */
	const Devices *devices;        /* local */
	char *const *profiles;
	const char *image;             /* fingerprint; NULL: empty */
	const Config *image_properties; /* become image.* keys; may be NULL */
	const struct InstanceOrigin *origin; /* copy.h: the root volume is a copy; NULL: not */
	gboolean same; /* who arrives is who was elsewhere: keeps its identity, and knows no template */
	const struct InstanceArchive *archive; /* backup.h: it is in a backup; NULL: not */
	/* Lays the root volume of the new, locked instance down in `pool`, with the rows of its
	 * snapshots, or leaves nothing; for what comes from elsewhere. NULL: by image and origin.
	 */
	int (*arrive)(Instance *i, Pool *pool, void *arrival, struct Operation *op, Error **err);
	void *arrival;
	const Caller *caller;
} InstanceSpec;

/* Checks what can be checked before anything is made: names, keys, devices, profiles, root disk. */
int instance_create_check(Daemon *d, const InstanceSpec *spec, Error **err);
/* Makes rows, root volume and volatile keys. ERROR_EXISTS when the name is taken. ret may be NULL.
 */
int instance_create(Daemon *d, const InstanceSpec *spec, struct Operation *op,
    Instance **ret_instance, Error **err);
int instance_delete(Instance *i, const Caller *caller, Error **err);
/* Deletes, whatever its keys say, one that did not come to be. */
int instance_discard(Instance *i, Error **err);
int instance_rename(Instance *i, const char *name, const Caller *caller, Error **err);
/* A fresh root file system: image fingerprint or NULL for an empty one. */
int instance_rebuild(Instance *i, const char *image, const Config *image_properties,
    struct Operation *op, const Caller *caller, Error **err);

/* What a start begins with where there is saved state: that, that or an error, or not that (it is
 * thrown away). */
typedef enum StartFrom { START_ANY, START_STATE, START_NOTHING } StartFrom;
int instance_start(Instance *i, StartFrom from, const Caller *caller, Error **err);
/* Stops it with its processes kept on disk; it goes on running when that fails. */
int instance_save(Instance *i, const Caller *caller, Error **err);
/* timeout_s below 1: wait for ever; force: at once. A stopped instance is ERROR_INVALID. */
int instance_stop(Instance *i, int timeout_s, gboolean force, const Caller *caller, Error **err);
int instance_restart(Instance *i, int timeout_s, gboolean force, const Caller *caller, Error **err);
int instance_freeze(Instance *i, const Caller *caller, Error **err);
int instance_unfreeze(Instance *i, const Caller *caller, Error **err);

/* Whole new content (PUT). NULL members stay as they are (PATCH fills them itself). */
typedef struct InstanceChange {
	const Config *config;
	const Devices *devices;
	char *const *profiles;
	const char *description;       /* NULL: keep */
	const char *architecture;      /* NULL or "": keep */
	int ephemeral;                 /* -1: keep */
	gboolean restored;             /* from a snapshot */
	/* Runs under the flow lock before anything changes (ETag). May be NULL. */
	int (*check)(Instance *i, void *data, Error **err);
	void *data;
} InstanceChange;
int instance_update(Instance *i, const InstanceChange *change, const Caller *caller, Error **err);

/* The pool of the root disk. */
int instance_pool(Instance *i, Pool **ret_pool, Error **err);
/* Into and out of the running container. */
int instance_mount_add(Instance *i, const DeviceMount *mount, Error **err);
int instance_mount_remove(Instance *i, const char *target, Error **err);
int instance_device_rule(Instance *i, const char *rule, gboolean allow, Error **err);
/* Ends what runs below INCUS_DIR/run/NAME and removes that. */
void runtime_kill_orphan(Daemon *d, const char *file_name);
