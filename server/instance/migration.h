#pragma once
/*
 * Stateless copies of instances to and from other servers: the two sides of migration.proto. Which
 * of them connects to which, and whether somebody relays between them, is the peer's affair.
 */
#include "server/instance/copy.h"
#include "server/instance/migration_peer.h"

/* Gives the other side what it asks for of the instance, until it says that it has all, or the
 * stream fails. A running source stands still where trees are read. The source is unchanged
 * whatever happens. */
int migration_send(MigrationPeer *peer, const InstanceOrigin *origin, Operation *op, Error **err);

/* What to take of what is offered. */
typedef struct MigrationWish {
	gboolean instance_only;
} MigrationWish;

/* Makes the instance that `spec` describes with the root volume and snapshots that come. Tells the
 * other side how it ended. */
int migration_receive(MigrationPeer *peer, Daemon *d, const InstanceSpec *spec,
    const MigrationWish *wish, Operation *op, Error **err);
/* Brings a stopped instance up to date. */
int migration_refresh(
    MigrationPeer *peer, Instance *target, const MigrationWish *wish, Operation *op, Error **err);
