#pragma once
/*
 * What Incus servers say on the WebSockets of a migration (peer_migration.proto): the messages of
 * "control", and objects on "fs". Running state is not taken or given.
 */
#include "incus/v1/peer_migration.pb-c.h"
#include "server/instance/migration_source.h"
#include "server/instance/migration_target.h"

int migration_incus_send_header(MigrationPeer *peer, const Pb__PeerHeader *header, Error **err);
/* For pb__peer_header__free_unpacked(). What says that it failed is a failure. */
int migration_incus_receive_header(MigrationPeer *peer, Pb__PeerHeader **ret, Error **err);
/* The other side's last word: 0 if all went well. */
int migration_incus_receive_control(MigrationPeer *peer, Error **err);
/* Ours; NULL is well. Never fails. */
void migration_incus_report(MigrationPeer *peer, const Error *error);

/* One object on "fs": `work` has the other end of a socket, whose bytes go and come until both
 * sides have ended theirs. limit: bytes that may come; 0: none. */
typedef int (*MigrationIncusWork)(int socket, void *data, Error **err);
int migration_incus_object(MigrationPeer *peer, MigrationIncusWork work, void *data, uint64_t limit,
    Operation *op, const char *name, Error **err);
/* One way only: a disk's bytes, and their end. */
int migration_incus_send(MigrationPeer *peer, MigrationIncusWork work, void *data, Error **err);
int migration_incus_receive(MigrationPeer *peer, MigrationIncusWork work, void *data,
    uint64_t limit, Operation *op, const char *name, Error **err);

/* The options that both rsyncs will have, from what the target answered. */
RsyncOptions migration_incus_rsync(const Pb__PeerHeader *header, Operation *op);
/* What we can do, for a header. */
void migration_incus_features(Pb__PeerRsync *ret, const Pb__PeerRsync *offered);

/* migration_source_run() and migration_target_*() of a peer that is Incus. */
int migration_incus_source(MigrationPeer *peer, const MigrationSource *source, Error **err);
int migration_incus_offer(MigrationTarget *target, Error **err);
/* Says what of the offer is to be sent, and reads the description that comes before it. */
int migration_incus_answer(
    MigrationTarget *target, const GPtrArray *snapshots, gboolean refresh, Error **err);
/* The data, after that. */
int migration_incus_take(MigrationTarget *target, VolumeArrival *arrival,
    const GPtrArray *snapshots, uint64_t limit, Error **err);

/* migration_incus_index.c: what version of the description we read, 0 for none; it completes the
 * snapshots' rows. */
uint32_t migration_incus_index_version(const Pb__PeerHeader *offer);
int migration_incus_index(MigrationTarget *target, gboolean refresh, Error **err);
