#pragma once
/* Handlers' part of copies between servers: from requests to operations. */
#include "incus/v1/instance.pb-c.h"
#include "server/instance/migration.h"
#include "server/operation/operation.h"
#include "server/rpc/request.h"

/* An instance or (snapshot not NULL) one of its snapshots goes to another server: waits for it to
 * connect, or with `target` connects to it. */
typedef struct MigrationStart {
	Instance *instance;
	const char *snapshot;
	const Pb__MigrationTarget *target; /* NULL: wait */
	gboolean instance_only, allow_inconsistent, live;
} MigrationStart;
int instance_migration_start(
    Request *rq, const MigrationStart *start, Pb__Operation *out, Error **err);

/* The other end of a new instance whose source is a migration. */
int instance_migration_source(
    const Pb__InstanceSource *source, MigrationPeer **ret_peer, Error **err);
