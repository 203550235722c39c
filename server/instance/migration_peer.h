#pragma once
/*
 * The other end of a migration, whoever connects to whom, and the stream that leads there:
 * messages (migration.proto) both ways, or the two WebSockets of an Incus server
 * (migration_incus.h). What waits is connected to with a secret, through ConnectOperation at either
 * door; what connects does so by WebSocket, over TLS with the certificate that it was told, as
 * nobody. Nothing is known of what is said.
 */
#include "incus/v1/migration.pb-c.h"
#include "sdk/base/map.h"
#include "server/operation/operation.h"

typedef struct MigrationPeer MigrationPeer;

/* Waits for the other side, which is told the secret. */
MigrationPeer *migration_peer_waiting(void);
/* {"control": SECRET, "fs": SECRET} of one that waits (g_free); NULL of one that connects. */
char *migration_peer_secrets(MigrationPeer *peer);
/* Will connect to the operation at that URL; certificate "" is one that the system trusts.
 * ERROR_INVALID for what cannot be. */
int migration_peer_to(const char *operation_url, const char *certificate, const Config *secrets,
    MigrationPeer **ret, Error **err);
void migration_peer_free(MigrationPeer *peer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MigrationPeer, migration_peer_free)

/* `connect` of an operation whose peer waits. */
int migration_peer_accept(MigrationPeer *peer, const char *secret, Stream *stream, Error **err);
/* Connects, or waits for a while. */
int migration_peer_open(MigrationPeer *peer, Error **err);
/* Of an open one: it is an Incus server, with these two streams; the rest of this file is not for
 * it then, but for report and close. */
gboolean migration_peer_is_incus(const MigrationPeer *peer);
Stream *migration_peer_control(MigrationPeer *peer);
Stream *migration_peer_fs(MigrationPeer *peer);
/* From any thread: whoever waits for its "fs" fails. */
void migration_peer_drop(MigrationPeer *peer);
/* A stream that breaks looks cancelled from here: only our own cancel is one. Takes `error`; -1. */
int migration_peer_explain(MigrationPeer *peer, Error *error, Error **err);
/* From any thread: whoever uses it fails. */
void migration_peer_cancel(MigrationPeer *peer);
/* Tells the other side, when all went well, that nothing follows; ends the stream. */
void migration_peer_close(MigrationPeer *peer);

int migration_peer_send(MigrationPeer *peer, const Pb__MigrationMessage *message, Error **err);
/* The same of a message that is nothing but `data`, or `plain`. As many bytes as the name says
 * before those are the peer's to write to: nothing is copied. */
enum { MIGRATION_ROOM = 24 };
int migration_peer_send_data(
    MigrationPeer *peer, uint8_t *bytes, size_t length, gboolean plain, Error **err);
/* The next message, checked, for pb__migration_message__free_unpacked(). The end of the stream and
 * a long silence are failures, and so is a result that says one. */
int migration_peer_receive(MigrationPeer *peer, Pb__MigrationMessage **ret_message, Error **err);
/* Microseconds in which the network was what kept data from going faster; FALSE: it is not known.
 */
gboolean migration_peer_network_wait(const MigrationPeer *peer, int64_t *ret_us);
/* The same where data is awaited: 1 and *ret_data, whose bytes are the peer's until it receives
 * again, or 0 and another message. */
typedef struct MigrationData {
	const uint8_t *bytes;
	size_t length;
	gboolean plain;
} MigrationData;
int migration_peer_receive_data(
    MigrationPeer *peer, MigrationData *ret_data, Pb__MigrationMessage **ret_message, Error **err);
/* Fails when the other side has said that it failed; does not wait. */
int migration_peer_check(MigrationPeer *peer, Error **err);
/* Says how it ended: NULL is well. TRUE when the other side has answered with the same. */
gboolean migration_peer_report(MigrationPeer *peer, const Error *error);
