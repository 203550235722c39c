#pragma once
/*
 * Uploads that may go on after their connection was lost. The client gives one an id (a UUID, which
 * it keeps to itself); when it is cut, what came is kept for a while, in files without names, so
 * that nothing of it outlives the daemon. The client asks how much that is (GetUpload), and sends
 * the rest by another call of the same method. Of one that came whole the operation is remembered,
 * should the reply be what got lost. Only who began it can go on.
 */
#include "server/daemon.h"
#include "server/rpc/request.h"
#include "server/rpc/stream.h"

/* For the daemon: the table, and (later) that what is old goes. */
int upload_table_start(Daemon *d, Error **err);
void upload_table_stop(Daemon *d);
int upload_tasks_start(Daemon *d, Error **err);

/* One call of an upload. NULL, which all functions take, where it has no id. */
typedef struct UploadTurn UploadTurn;
/* offset: bytes that came in earlier turns; 0: it begins (anew). ERROR_NOT_FOUND where nothing was
 * kept, ERROR_INVALID where it is not just so much. */
int upload_begin(
    Request *rq, const char *id, uint64_t offset, Stream *stream, UploadTurn **ret, Error **err);
/* What earlier turns had received, the caller's now; NULL: nothing. */
void *upload_take(UploadTurn *turn);
/* It was cut: keeps that (taken), of which so many bytes came. Else it is freed here and now. */
void upload_keep(UploadTurn *turn, void *received, GDestroyNotify destroy, uint64_t bytes);
/* All came, and became this operation. */
void upload_done(UploadTurn *turn, const char *operation);
/* Neither of the two: it failed, and nothing is kept. */
void upload_end(UploadTurn *turn);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(UploadTurn, upload_end)

/* For who asks: its bytes, or (not NULL, g_free) the id of its operation. One that has not noticed
 * yet that it was cut is cut now. */
int upload_find(
    Request *rq, const char *id, uint64_t *ret_bytes, char **ret_operation, Error **err);
