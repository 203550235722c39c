#pragma once
/*
 * The console of a restored container. liblxc gives one only to containers that it starts afresh,
 * so this small process has the other end of the terminal: it keeps the last of what is written,
 * logs it, and lets one at a time look and type. It lives as long as the container's monitor and is
 * reached by a socket "console" in the run's folder.
 */
#include "server/helper/spawner/spawner.h"

typedef struct Keeper {
	int monitor; /* pidfd */
	int log;     /* what is written is added to it; -1 */
	int listener;
} Keeper;

/* 0 or -1. */
int keeper_open(Keeper *ret, const char *folder, const char *log, pid_t monitor);
/* Takes the terminal's end and serves until the monitor ends. */
_Noreturn void keeper_serve(const Keeper *keeper, int master);

typedef enum KeeperOp {
	KEEPER_ATTACH = 1, /* -> fds: a stream of what is written and typed, the terminal to size */
	KEEPER_LOG,	   /* -> n[0] bytes, fds: memfd */
	KEEPER_CLEAR,
} KeeperOp;
/* Connects; -1 when the container has no keeper. */
int keeper_connect(const char *lxcpath, const char *name);
