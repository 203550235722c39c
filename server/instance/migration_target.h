#pragma once
/*
 * The receiving side of a migration: a volume with its snapshots, whatever it belongs to, from a
 * peer, which may be a stranger.
 */
#include "server/instance/migration_peer.h"
#include "server/instance/snapshot.h"
#include "server/storage/volume_stream.h"

typedef struct MigrationTarget MigrationTarget;
struct MigrationTarget {
	MigrationPeer *peer;
	const char *type;      /* that is wanted: "container", "custom", ... */
	VolumeContent content; /* likewise */
	gboolean alone;	       /* without snapshots */
	/* Whether an offered snapshot's keys and devices could be of ours. */
	int (*check)(const MigrationTarget *target, const InstanceSnapshot *snapshot, Error **err);
	/* Of an instance that runs and whose state is wanted: whether it can be had; NULL: it is not
	 * wanted. */
	int (*check_live)(MigrationTarget *target, const Pb__MigrationLive *live, Error **err);
	Daemon *daemon;
	Operation *op;
	const char *shown; /* what progress calls the volume itself; NULL: by what it is */
	/* From the offer: */
	char *live_id; /* its state may be had; NULL: not */
	gboolean live_stays, heard; /* it was heard how it ended here */
	gboolean live_carries;	    /* the disk comes with the state */
	gboolean live_ahead;	    /* the last of the volume is asked for before it is held */
	VolumeArrival *last;	    /* that, asked for; and what its tree had then */
	GPtrArray *last_had;
	size_t offered;	      /* snapshots that came, wanted or not */
	GPtrArray *snapshots; /* InstanceSnapshot *, oldest first */
	GPtrArray *rows;      /* SnapshotRow *, their volume's, in the same order */
	GHashTable *row_of;   /* the same by their names */
	char *description;    /* of the volume's row; may be NULL, as the next */
	Config *config;
	char *native;	      /* method of the sender's driver; NULL: none */
	uint64_t size;	      /* of a disk; what it says */
	struct Pb__PeerHeader *header; /* of an Incus server (migration_incus.h) */
};

MigrationTarget migration_target_new(MigrationPeer *peer, const char *type, Operation *op);
/* The offer of a peer that is open. */
int migration_target_offer(MigrationTarget *target, Error **err);
/* For whoever reads an offer: a snapshot of it, checked. Takes both; row NULL: as the snapshot
 * says. */
int migration_target_add(
    MigrationTarget *target, InstanceSnapshot *snapshot, SnapshotRow *row, Error **err);
/* The configuration that the offered volume has, as one in `pool` could have it. For a root volume:
 * its size is its instance's affair. */
int migration_target_config(
    const MigrationTarget *target, Pool *pool, Config **ret_config, Error **err);
/* The data of a new volume with the snapshots that were offered, not yet in its place.
 * limit: bytes that it may have; 0: none. */
int migration_target_fill(MigrationTarget *target, Pool *pool, const Volume *volume,
    const Config *config, uint64_t limit, VolumeArrival **ret, Error **err);
/* Brings an existing volume up to date, taking `fresh` (of the offered snapshots) on the way. */
int migration_target_renew(MigrationTarget *target, Pool *pool, const Volume *volume,
    const GPtrArray *fresh, uint64_t limit, Error **err);
/* The same of a tree, in two parts: asks, and takes the answer, which comes once the source's
 * instance is held. */
int migration_target_ask_last(
    MigrationTarget *target, Pool *pool, const Volume *volume, Error **err);
int migration_target_take_last(MigrationTarget *target, uint64_t limit, Error **err);
/* Tells the other side how it ended, and frees; takes `failure`. */
int migration_target_end(MigrationTarget *target, int result, Error *failure, Error **err);

/* The row of its volume's snapshot; borrowed. */
const SnapshotRow *migration_target_row(
    const MigrationTarget *target, const InstanceSnapshot *snapshot);
