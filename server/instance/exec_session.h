#pragma once
/*
 * A command run by an operation, as the /1.0 API does it: its streams are WebSockets that clients
 * connect with one secret each, or files (record-output), or nothing.
 */
#include "server/instance/exec.h"
#include "server/operation/operation.h"

/* Makes and starts the operation; fills `out` with it. */
int exec_session_create(Request *rq, Instance *instance, const Pb__InstanceExecPost *post,
    Pb__Operation *out, Error **err);
