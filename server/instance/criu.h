#pragma once
/*
 * The program that writes containers to disk: where it is, whether it will do, and what its log
 * means in words of this project. What is done with it is checkpoint.h's.
 */
#include "sdk/base/error.h"
#include "server/daemon.h"

/* core.criu_path, else in the folder "criu" beside incusd's helpers, else in PATH (g_free both).
 * ERROR_UNSUPPORTED says why there is none. Cheap: a program is asked for its version once. */
int criu_find(Daemon *d, char **ret_program, char **ret_version, Error **err);
/* A line for `incus info`: "4.1.1 (PATH)" or "none (REASON)"; g_free. */
char *criu_describe(Daemon *d);
/* Replaces the error's text by what CRIU's log says went wrong; keeps it where that is unknown. */
void criu_explain(const char *log, Error **err);
