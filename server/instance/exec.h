#pragma once
/*
 * Running a command inside a running instance: a process with its streams, whatever the door. How
 * clients are attached is exec_session.h (WebSockets of an operation) and server/api/exec.c (one
 * gRPC stream). The spawner starts the command and tells its status.
 */
#include "server/instance/instance.h"
#include "incus/v1/exec.pb-c.h"

typedef struct ExecProcess {
	pid_t pid;     /* on the host */
	int pidfd;     /* for signals */
	int socket;    /* the spawner's child: readable when the command has ended */
	int input;     /* write end of standard input, or the pty; -1 when closed */
	int output;    /* read end, or the pty (the same descriptor as input: close once) */
	int error;     /* read end; -1 with a pty */
	gboolean pty;
} ExecProcess;

#define EXEC_PROCESS_INIT {.pidfd = -1, .socket = -1, .input = -1, .output = -1, .error = -1}

/* Starts it. Refused unless the instance runs and is not frozen (ERROR_INVALID). A command that
 * does not exist starts and ends with status 127, as from a shell. Output goes to output_fds
 * (stdout, stderr) when given (record-output), else to pipes or the pty. */
int exec_start(Instance *instance, const Pb__InstanceExecPost *post, const int *output_fds,
    ExecProcess *ret_process, Error **err);
void exec_process_close(ExecProcess *process);
void exec_signal(ExecProcess *process, int signal_number);
void exec_resize(ExecProcess *process, int columns, int rows);
/* Reads the status once the socket is readable (or waits for it): 0 to 255, 128 and the signal. */
int exec_status(ExecProcess *process, int *ret_code, Error **err);
/* Writes to standard input until all is taken, the reader is gone, or stop_fd becomes readable. */
void exec_write(ExecProcess *process, const void *data, size_t length, int stop_fd);

/* Where the output goes: 1 standard output (and all of a pty), 2 standard error. -1 ends. */
typedef int (*ExecSink)(void *data, int which, const uint8_t *bytes, size_t length);
/* Reads output until the command has ended and what it wrote is drained; gives its status. A
 * background child that keeps the pipes open does not hold it up. */
int exec_pump(ExecProcess *process, ExecSink sink, void *data, int *ret_code, Error **err);
/* The environment as "KEY=value" lines: request over environment.* over defaults. g_strfreev. */
char **exec_environment(Instance *instance, const Pb__InstanceExecPost *post);
