#pragma once
/*
 * The sending side of a migration: a volume with its snapshots, whatever it belongs to, to a peer
 * that asks for what it wants of it.
 */
#include "server/instance/migration_peer.h"
#include "server/storage/snapshot.h"

typedef struct MigrationSource {
	const char *type; /* "container", "virtual-machine", "custom" */
	const char *name; /* as people call it */
	Pool *pool;
	const Volume *whole;	    /* with its content type */
	const char *snapshot;	    /* this one of its snapshots is sent in its place; NULL: not */
	const GPtrArray *snapshots; /* InstanceSnapshot *, oldest first: what goes with it */
	/* Whose ids (IdRange) the files of what stands first and of `snapshots` have on disk; those
	 * of inside go out. */
	const GArray *owners;
	const GPtrArray *snapshot_owners;
	struct LiveSource *live; /* it runs, and its state goes, too; NULL: not */
	int64_t size; /* bytes of a disk */
	int architecture; /* as the instance's row has it; 0: none */
	/* Makes those who write stand still while a tree or disk is read; NULL: nobody does, or it
	 * does not matter. */
	int (*still)(void *data, gboolean still, Error **err);
	void *data;
	Operation *op;
} MigrationSource;

/* What the rows of the volume that is sent, and of all its snapshots, say beside the data. */
typedef struct MigrationRows {
	char *description;
	Config *config;
	GHashTable *snapshots; /* SnapshotRow * by its name */
} MigrationRows;
int migration_rows_load(const MigrationSource *source, MigrationRows *ret_rows, Error **err);
const SnapshotRow *migration_rows_find(const MigrationRows *rows, const char *name);
void migration_rows_clear(MigrationRows *rows);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(MigrationRows, migration_rows_clear)

/* Until the other side says that it has all, or the stream fails. The peer is open. */
int migration_source_run(MigrationPeer *peer, const MigrationSource *source, Error **err);
