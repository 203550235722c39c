#pragma once
/*
 * User-defined shortcuts of commands.
 */
#include "cli/command.h"

/* The command line with its alias put in, in arena memory; argv itself when none fits. NULL after
 * an error was printed. */
char **alias_expand(Cli *cli, int *argc, char **argv);
