#pragma once
/*
 * A command that runs in an instance, as a process with its streams, wherever it is: started by the
 * spawner (containers; in a virtual machine, incus-agent's helper), or at the other end of a
 * machine's agent (server/guest/exec.h), which looks the same to whoever pumps its streams.
 */
#include "server/helper/client.h"

/* A command that no signal of this system reaches. */
typedef struct ProcessRemote {
	gint refs; /* atomic */
	void (*signal)(struct ProcessRemote *remote, int signal_number);
	void (*resize)(struct ProcessRemote *remote, int columns, int rows);
	void (*destroy)(struct ProcessRemote *remote);
} ProcessRemote;

ProcessRemote *process_remote_ref(ProcessRemote *remote); /* NULL stays NULL */
void process_remote_unref(ProcessRemote *remote);

typedef struct ExecProcess {
	pid_t pid;  /* on the host; of a remote one inside */
	int pidfd;  /* for signals; -1 of a remote one */
	int socket; /* the spawner's child: readable when the command has ended */
	int input;  /* write end of standard input, or the pty; -1 when closed */
	int output; /* read end, or the pty (the same descriptor as input: close once) */
	int error;  /* read end; -1 with a pty */
	gboolean pty;
	ProcessRemote *remote; /* NULL: it is here */
} ExecProcess;

#define EXEC_PROCESS_INIT                                                                          \
	{                                                                                          \
		.pidfd = -1, .socket = -1, .input = -1, .output = -1, .error = -1                  \
	}

typedef struct ProcessSpec {
	const char *name, *lxcpath, *cgroup; /* of the container; "" where there is none */
	const char *cwd;
	char *const *command;
	size_t n_command;
	char *const *environment; /* "KEY=value", NULL-terminated */
	uint32_t user, group;
	gboolean interactive;
	int64_t width, height; /* of the terminal; 0: not known */
} ProcessSpec;

/* A command that does not exist starts and ends with status 127, as from a shell. Output goes to
 * output_fds (stdout, stderr) when given, else to pipes or the pty. */
int process_start(Spawner *spawner, const ProcessSpec *spec, const int *output_fds,
    ExecProcess *ret_process, Error **err);
int process_make_pipe(int *ret_read, int *ret_write, Error **err);
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
