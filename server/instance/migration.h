#pragma once
/*
 * Copies and moves of instances to and from other servers, with their state (live.h) or without: the two sides of migration.proto. Which
 * of them connects to which, and whether somebody relays between them, is the peer's affair.
 */
#include "server/instance/copy.h"
#include "server/instance/migration_peer.h"

/* Gives the other side what it asks for of the instance, until it says that it has all, or the
 * stream fails. A running source stands still where trees are read. The source is unchanged
 * whatever happens. */
typedef enum MigrationState {
	MIGRATION_STATELESS,
	MIGRATION_LIVE_COPY, /* it goes on here, too */
	MIGRATION_LIVE_MOVE, /* it is stopped here once it runs there */
} MigrationState;
int migration_send(MigrationPeer *peer, const InstanceOrigin *origin, MigrationState state,
    Operation *op, Error **err);

/* What to take of what is offered. */
typedef struct MigrationWish {
	gboolean live; /* its state too, if it runs */
	gboolean instance_only;
} MigrationWish;

/* Makes the instance that `spec` describes with the root volume and snapshots that come. Tells the
 * other side how it ended. */
int migration_receive(MigrationPeer *peer, Daemon *d, const InstanceSpec *spec,
    const MigrationWish *wish, Operation *op, Error **err);
/* Brings a stopped instance up to date. */
int migration_refresh(
    MigrationPeer *peer, Instance *target, const MigrationWish *wish, Operation *op, Error **err);
