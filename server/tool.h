#pragma once
/*
 * incusd's own commands beside the daemon: activateifneeded, shutdown, version, waitready. They
 * talk to the running daemon through libincus; activateifneeded looks into its databases first.
 */
#include <glib.h>

gboolean tool_known(const char *name);
/* argv[0] is the command's name; gives the exit status. */
int tool_run(int argc, char **argv);
