#pragma once
/*
 * What is said on the socket of `criu swrk`: one protocol buffer a packet (CRIU's
 * images/rpc.proto), of which we need so little that it is put together here.
 */
#include <stdio.h>
#include <sys/types.h>

typedef enum CriuRpc { CRIU_RPC_FAILED = -1, CRIU_RPC_DONE, CRIU_RPC_NOTIFY } CriuRpc;

/* Asks for a restore from the folder `images`, or (pid not 0) a dump of the tree of pid into it,
 * with the settings of a file. The folder's fd is one of the process that made the socket. 0 or -1.
 */
int criu_rpc_ask(int socket, pid_t pid, int images, const char *settings);
/* Waits for the next that CRIU says. A notice has a name, and the one of the console's terminal its
 * fd, which replaces *ret_console. */
CriuRpc criu_rpc_read(int socket, char *ret_script, size_t size, int *ret_console);
/* Answers a notice; 0: all is to be given up. */
int criu_rpc_reply(int socket, int success);

/* A line of such a file. `name` is as on the command line ("--tcp-established"), value may be "".
 */
void criu_setting(FILE *file, const char *name, const char *value);
