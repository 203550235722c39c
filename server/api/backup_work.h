#pragma once
/* What requests for backups of instances and of volumes have in common. All take the owner. */
#include "google/protobuf/timestamp.pb-c.h"
#include "incus/v1/operation.pb-c.h"
#include "server/api/upload.h"
#include "server/rpc/request.h"
#include "server/rpc/stream.h"
#include "server/storage/backup.h"

/* What both kinds of requests for a new one say. */
typedef struct BackupPost {
	const char *name; /* "": the next that is free */
	const Google__Protobuf__Timestamp *expires_at;
	gboolean only, optimized;
	const char *compression;
} BackupPost;
int backup_work_create(
    Request *rq, BackupOwner *owner, const BackupPost *post, Pb__Operation *out, Error **err);
int backup_work_rename(Request *rq, BackupOwner *owner, const char *name, const char *new_name,
    Pb__Operation *out, Error **err);
int backup_work_delete(
    Request *rq, BackupOwner *owner, const char *name, Pb__Operation *out, Error **err);
/* Pb__BackupFile messages, from there on where a client goes on after a cut. */
typedef struct BackupRest {
	uint64_t offset;
	const char *version; /* of what it has */
} BackupRest;
int backup_work_send(Request *rq, BackupOwner *owner, const char *name, const BackupRest *rest,
    Stream *stream, Error **err);

/* What a client sends, in a file that has no name, so that nothing of it stays whatever happens; it
 * is read from its start. *ret_turn: how it becomes known what became of it. The fd, or -1. */
typedef struct UploadAsk {
	const char *id;
	uint64_t offset;
} UploadAsk;
int backup_work_receive(
    Request *rq, const UploadAsk *ask, Stream *stream, UploadTurn **ret_turn, Error **err);
