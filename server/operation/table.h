#pragma once
/*
 * The daemon's operations as a set: lookup, listing, cancel, watch and shutdown. For handlers of
 * /1.0/operations and for the daemon; who makes operations needs operation.h alone.
 */
#include "server/operation/operation.h"

typedef struct OperationTable OperationTable;

OperationTable *operation_table_new(void);
/* Waits for running operations; drain or cancel first. */
void operation_table_free(OperationTable *table);
/* Waits until none runs; FALSE when the time is over. */
gboolean operation_table_drain(OperationTable *table, int timeout_ms);
void operation_table_cancel_all(OperationTable *table);
/* Those of the project and those without; NULL: all. Each element is a reference. */
GPtrArray *operation_table_list(OperationTable *table, const char *project);
/* A reference, or NULL. */
Operation *operation_table_get(OperationTable *table, const char *id);

void operation_fill(Operation *op, Arena *arena, Pb__Operation *out);
/* As the /1.0 API shows it; free with g_free. */
char *operation_json(const Pb__Operation *message);
/* Only running operations that say so can be cancelled, else ERROR_INVALID. */
int operation_cancel(Operation *op, Error **err);
/* Waits for a change after *version (0 at first): 1 and a new *version and out, 0 on timeout. */
int operation_watch(Operation *op, guint64 *version, int timeout_ms, Arena *arena,
    Pb__Operation *out, gboolean *ret_final);
const OperationSpec *operation_spec(const Operation *op);
const char *operation_project(const Operation *op);
gboolean operation_running(Operation *op);
/* Whether it is of that description and project, and `url` (as it was given) is one of its resources. */
gboolean operation_is(
    const Operation *op, const char *description, const char *project, const char *url);
/* JSON text of one metadata key, NULL when absent; free with g_free. */
char *operation_metadata_dup(Operation *op, const char *key);
int operation_metadata_from_json(Operation *op, const char *text, Error **err);
/* The caller of the daemon's own work: unix, admin. */
Caller *caller_daemon(void);
