#pragma once
/*
 * Connections of two programs over the stream of a migration: what connects to a socket at the
 * sender's side goes on as a connection to the receiver's socket of the same number, compressed.
 * migration.proto says what is said (MigrationChannel). What goes over them is the programs'
 * affair.
 */
#include "server/instance/migration_peer.h"

enum { CARRY_PLACES = 2 };
typedef struct CarryPlace {
	const char *path; /* of the socket: made by the sender, there at the receiver's */
	const char *name; /* what progress calls what goes there */
} CarryPlace;

/* What makes the sender's programs connect and waits until they are done. */
typedef struct CarryWork {
	int (*run)(void *data, Error **err);
	void (*stop)(void *data); /* from another thread: run() is to fail soon */
	void *data;
} CarryWork;

/* The sender's: runs `work` on a thread and carries what connects meanwhile. When that has failed
 * the other side knows it; when this returns 0, it has all. */
int migration_carry_out(MigrationPeer *peer, const CarryPlace places[CARRY_PLACES],
    const CarryWork *work, Operation *op, Error **err);
/* The receiver's: until the sender has said how it ended, or it fails otherwise. */
int migration_carry_in(
    MigrationPeer *peer, const CarryPlace places[CARRY_PLACES], Operation *op, Error **err);
