#pragma once
/*
 * Processes that outlive the server and are found again by what was written down of them. A number
 * alone may belong to somebody else by then: with its start time it is one process.
 */
#include <stdint.h>
#include <sys/types.h>

/* In the kernel's ticks since it booted; 0: there is no such process. */
uint64_t process_start_time(pid_t pid);
/* A pidfd, -1 when it is not there or is another one. */
int process_open(pid_t pid, uint64_t start_time);
/* What a file says ("PID START-TIME"), -1 likewise. */
int process_open_noted(const char *path);
/* Of who connected a unix socket; -1 with errno: ENOPROTOOPT before Linux 6.5. */
int process_open_peer(int socket);
/* Whether it has ended by now. */
int process_has_ended(int pidfd);
/* Whether it has within timeout_ms. */
int process_wait(int pidfd, int timeout_ms);
/* SIGTERM, after timeout_ms SIGKILL, and waits for its end. Closes nothing. */
void process_end(int pidfd, int timeout_ms);
