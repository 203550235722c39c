#pragma once
/*
 * The operation that shows a running command, whatever door its streams go through.
 */
#include "server/instance/exec.h"
#include "server/operation/operation.h"

/* Fills in what every such operation says about itself and creates it; `secrets` is the JSON of
 * metadata.fds or NULL. As operation_create() otherwise. */
int exec_operation_create(Request *rq, Instance *instance, const Pb__InstanceExecPost *post,
    OperationSpec *spec, const char *secrets, Operation **ret_op, Pb__Operation *out, Error **err);
/* For a command whose streams the caller's own thread serves: started, may be cancelled (which
 * kills the command), and ended by exec_operation_end(). */
int exec_operation_begin(Request *rq, Instance *instance, const Pb__InstanceExecPost *post,
    const ExecProcess *process, Operation **ret_op, Error **err);
/* Kills the commands that run in the instance, and waits for that: it is about to move. */
void exec_operations_end(Instance *instance);
/* A command that was cut off by a move ended as one that was killed. Takes the error then. */
void exec_moved(Instance *instance, int *result, int *code, Error **err);
/* What whoever looks at the command is told (g_free) when its exit code is from that; else NULL. */
char *exec_moved_words(Instance *instance, int code);
/* result -1: `error` (kept) tells why; else the command's exit code. */
void exec_operation_end(Operation *op, int result, int code, const Error *error);
