#pragma once
/*
 * The bytes of one volume between a pipe and a migration's messages: compressed (zstd), in pieces
 * that fit a frame, counted. The pipe's other end is worked on by a thread of its own, so that
 * packing, compressing and sending overlap.
 */
#include "server/daemon.h"
#include "server/instance/migration_peer.h"

/* Reads from or writes to `fd`, which is its to close. */
typedef int (*MigrationWork)(int fd, void *data, Error **err);

/* The server's choice (core.compression): a level of zstd, 0 for none, -1 for the best. */
int migration_data_level(Daemon *d);
/* Sends what `work` writes, then the end. ERROR_UNSUPPORTED of `work` before its first byte is no
 * failure: the end then says `refused`. name is for the progress. */
int migration_data_send(MigrationPeer *peer, MigrationWork work, void *data, Operation *op,
    const char *name, Error **err);
/* Feeds `work` until the end. limit: bytes that may come where `work` does not count; 0: none.
 * *ret_refused: the other side cannot send it in this way. */
int migration_data_receive(MigrationPeer *peer, MigrationWork work, void *data, Operation *op,
    const char *name, uint64_t limit, gboolean *ret_refused, Error **err);
