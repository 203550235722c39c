#pragma once
/*
 * Handlers' part of copies between servers, of instances and of custom volumes: from requests to
 * operations.
 */
#include "incus/v1/instance.pb-c.h"
#include "incus/v1/storage.pb-c.h"
#include "server/instance/migration.h"
#include "server/operation/operation.h"
#include "server/rpc/request.h"
#include "server/storage/volume.h"

/* An instance or (snapshot not NULL) one of its snapshots goes to another server: waits for it to
 * connect, or with `target` connects to it. */
typedef struct MigrationStart {
	Instance *instance;
	const char *snapshot;
	const Pb__MigrationTarget *target; /* NULL: wait */
	gboolean instance_only, allow_inconsistent;
	gboolean live, stays; /* with its state, if it runs; it goes on here, too */
} MigrationStart;
int instance_migration_start(
    Request *rq, const MigrationStart *start, Pb__Operation *out, Error **err);

/* The other end of a new instance whose source is a migration. */
int instance_migration_source(
    const Pb__InstanceSource *source, MigrationPeer **ret_peer, Error **err);

/* The same of volumes: `volume` may be a snapshot. */
int volume_migration_start(Request *rq, Pool *pool, const Volume *volume, gboolean volume_only,
    const Pb__MigrationTarget *target, Pb__Operation *out, Error **err);
/* A new volume (or with `refresh` one that may be there) whose source is a migration. */
int volume_migration_receive(
    Request *rq, Pool *pool, const Pb__StorageVolumesPost *post, Pb__Operation *out, Error **err);
