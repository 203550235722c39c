#pragma once
/*
 * Instances and custom volumes from one server to another: a copy, a refresh of a copy, a move. The servers' daemons
 * do the work; the caller holds a connection to both.
 */
#include <incus/client.h>
#include <incus/operation.h>
#include "incus/v1/instance.pb-c.h"
#include "incus/v1/operation.pb-c.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Who connects to whom. */
typedef enum incus_copy_mode {
	INCUS_COPY_PULL = 0, /* the target connects to the source */
	INCUS_COPY_PUSH,     /* the source connects to the target */
	INCUS_COPY_RELAY,    /* neither: the data goes through the caller */
} incus_copy_mode;

/* How a copy is made. All zeros are good values. */
typedef struct incus_copy {
	incus_copy_mode mode;
	/* What the copy will be, with name, configuration, devices and profiles; its `source` is
	 * filled in by the call. NULL: as the source is, under the same name, with new volatile
	 * keys. */
	const Pb__InstancesPost *instance;
	const char *project;	 /* of the copy; NULL: that of the target's client */
	bool instance_only;	 /* leave the snapshots */
	bool refresh;		 /* bring an instance that exists up to date */
	bool allow_inconsistent; /* a running source does not stand still */
	bool stateless;		 /* leave the running state: a move stops the instance by force first */
	/* Of the operations on both servers; on threads of the call, never two at once. */
	incus_operation_progress progress;
	void *data;
} incus_copy;

/* Copies `name` (INSTANCE or INSTANCE/SNAPSHOT) of the server `from` to the server `to`. NULL
 * options are all zeros. 0 once the target has all; else nothing of it is left there. */
int incus_copy_instance(incus_client *from, const char *name, incus_client *to,
    const incus_copy *options, incus_error **err);
/* The same, and it is deleted at `from` once the target has all. One that runs goes with its state
 * where its `migration.stateful` is set (a copy's original goes on, a move's stands still until the
 * target runs it), a container that moves also where it is unset; else it has to be stopped. The copy
 * keeps the volatile keys (MAC addresses) unless options->instance says otherwise. One that was
 * stopped for it (stateless) is started again when the move fails. */
int incus_migrate_instance(incus_client *from, const char *name, incus_client *to,
    const incus_copy *options, incus_error **err);

/* How a volume is copied. All zeros are good values. */
typedef struct incus_volume_copy {
	incus_copy_mode mode;
	const char *pool, *name; /* of the copy; NULL: as the source's */
	const char *project;	 /* of the copy; NULL: that of the target's client */
	bool volume_only;	 /* leave the snapshots */
	bool refresh;		 /* bring a volume that exists up to date */
	/* Of the operations on both servers; on threads of the call, never two at once. */
	incus_operation_progress progress;
	void *data;
} incus_volume_copy;

/* The same of the custom volume `name` (VOLUME or VOLUME/SNAPSHOT) in `pool`. */
int incus_copy_storage_pool_volume(incus_client *from, const char *pool, const char *name,
    incus_client *to, const incus_volume_copy *options, incus_error **err);
/* Deletes it at `from` once the target has all; nothing may use it there. */
int incus_migrate_storage_pool_volume(incus_client *from, const char *pool, const char *name,
    incus_client *to, const incus_volume_copy *options, incus_error **err);

#ifdef __cplusplus
}
#endif
