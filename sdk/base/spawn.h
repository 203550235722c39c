#pragma once
/*
 * External programs without a shell and without fork (posix_spawn, so that a process with threads
 * may use it). The child gets only the fds named here, default signals, and its own process group.
 */
#include "sdk/base/error.h"
#include <sys/types.h>

typedef struct Spawn {
	const char *const *argv;         /* argv[0] is looked up in PATH when it has no slash */
	const char *const *environment;  /* "NAME=value"..., NULL: ours */
	const char *directory;           /* NULL: ours */
	int stdin_fd;                    /* 0 or less: /dev/null or `input` */
	int stdout_fd;                   /* 0 or less: returned, or /dev/null when nobody asks */
	int stderr_fd;                   /* 0 or less: its end is put into the error message */
	const int *fds; size_t n_fds;    /* these become 3, 4, ... in the child */
	const void *input; size_t input_length; /* written to stdin; NULL: none */
	size_t output_limit;             /* of the returned stdout; 0: 16 MiB */
	int timeout_ms;                  /* 0: none; expiry kills the group: ERROR_TIMEOUT */
	gboolean (*cancelled)(void *data);
	void *cancel_data; /* asked ten times a second; ERROR_CANCELLED */
} Spawn;

/* Runs to the end. Exit status 0 is success; everything else is ERROR_INTERNAL naming the program,
 * its status and what it said. ret_output may be NULL; a NUL follows; ret_length may be NULL. */
int spawn_run(const Spawn *spawn, char **ret_output, size_t *ret_length, Error **err);
/* As spawn_run but a status other than 0 is no failure: it is given in *ret_status (128 + signal).
 */
int spawn_status(const Spawn *spawn, char **ret_output, int *ret_status, Error **err);
/* `spawn_simple(&err, "ip", "link", "del", name, NULL)`: at most 30 s. */
int spawn_simple(Error **err, const char *program, ...) G_GNUC_NULL_TERMINATED;
/* Starts and returns at once; input, timeout and cancelled are not used; unset fds are /dev/null.
 */
int spawn_start(const Spawn *spawn, pid_t *ret_pid, Error **err);
/* SIGTERM, then SIGKILL after timeout_ms; reaps a child of ours. A missing process is success. */
void spawn_stop(pid_t pid, int timeout_ms);
