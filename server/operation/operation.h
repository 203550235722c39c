#pragma once
/*
 * Background work with progress, cancel, wait and a lifecycle: task, websocket, token. Held in
 * memory; done operations stay visible for five seconds. All functions are thread-safe.
 */
#include "sdk/base/error.h"
#include "server/rpc/request.h"
#include "server/rpc/stream.h"
#include "incus/v1/operation.pb-c.h"

typedef struct Operation Operation;
typedef enum OperationClass {
	OPERATION_TASK = 1,
	OPERATION_WEBSOCKET = 2,
	OPERATION_TOKEN = 3
} OperationClass;

/* What an operation does. run is called on a thread of its own pool; 0 is Success, -1 with
 * ERROR_CANCELLED is Cancelled, any other -1 is Failure. */
typedef struct OperationSpec {
	OperationClass op_class;
	const char *description;   /* "Creating instance" */
	const char *entitlement;   /* who else may see or cancel it; NULL: same project */
	const char *project;       /* NULL: the request's; "": none */
	int (*run)(
	    Operation *op, void *data, Error **err); /* NULL for tokens and operation_finish() */
	/* NULL: cannot be cancelled. Returns at once; run notices through operation_cancelled(). */
	void (*cancel)(Operation *op, void *data);
	/* WEBSOCKET: a client connected with this secret; runs on the connection's thread until
	 * done. */
	int (*connect)(Operation *op, void *data, const char *secret, Stream *stream, Error **err);
	void *data;
	GDestroyNotify destroy;    /* of data, after run and the last reader */
	/* Resources: kind ("instances", "images"), URL, ... NULL-terminated pairs; strings are
	 * copied. */
	const char *const *resources;
	const char *metadata_json; /* first metadata, NULL: none */
	gboolean hold;             /* do not start yet: operation_start_held() will */
} OperationSpec;

/* Creates and starts it; fills `out` (when not NULL) for the handler's reply. rq may be NULL for
 * the daemon's own work (daemon must then be given). Takes spec->data even on failure. */
int operation_create(struct Daemon *daemon, Request *rq, const OperationSpec *spec,
    Operation **ret_op, Pb__Operation *out, Error **err);
void operation_start_held(Operation *op);
/* Ends an operation without `run`, whose work the caller's own thread did; error (kept) says why
 * when result is -1. Neither a shutdown nor anybody else waits for such an operation. */
void operation_finish(Operation *op, int result, const Error *error);
const char *operation_id(const Operation *op);
const Caller *operation_caller(const Operation *op); /* who asked; never NULL */
struct Daemon *operation_daemon(const Operation *op);
gboolean operation_cancelled(Operation *op);
/* Merges keys into the metadata; value is JSON text. Sends an "operation" event. */
void operation_set_metadata(Operation *op, const char *key, const char *value_json);
/* "fs_progress"/"download_progress"/...: text as Incus shows it plus
 * progress{stage,percent,speed,processed}. Rate-limited to ten a second; total 0 when unknown. */
void operation_set_progress(Operation *op, const char *stage, const char *what, uint64_t done,
    uint64_t total, int64_t started_us);
/* Waits until it is done; timeout_ms -1 for ever; ERROR_TIMEOUT. The final state is in *out when
 * given. */
int operation_wait(Operation *op, int timeout_ms, Arena *arena, Pb__Operation *out, Error **err);
Operation *operation_ref(Operation *op);
void operation_unref(Operation *op);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Operation, operation_unref)
