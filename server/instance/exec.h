#pragma once
/*
 * Running a command inside a running instance: a process with its streams, whatever the door. How
 * clients are attached is exec_session.h (WebSockets of an operation) and server/api/exec.c (one
 * gRPC stream). The spawner starts the command and tells its status.
 */
#include "server/helper/process.h"
#include "server/instance/instance.h"
#include "incus/v1/exec.pb-c.h"

/* Starts it. Refused unless the instance runs and is not frozen (ERROR_INVALID). A command that
 * does not exist starts and ends with status 127, as from a shell. Output goes to output_fds
 * (stdout, stderr) when given (record-output), else to pipes or the pty. */
int exec_start(Instance *instance, const Pb__InstanceExecPost *post, const int *output_fds,
    ExecProcess *ret_process, Error **err);
/* The environment as "KEY=value" lines: request over environment.* over defaults. g_strfreev. */
char **exec_environment(Instance *instance, const Pb__InstanceExecPost *post);
