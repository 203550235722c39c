#pragma once
/*
 * The families of commands. Add a line here for a new file; its array is NAME_commands.
 */
#include "cli/command.h"

#define COMMAND_FAMILIES(X)                                                                        \
	X(alias)                                                                                   \
	X(completion)                                                                              \
	X(help)                                                                                    \
	X(manpage)                                                                                 \
	X(remote)                                                                                  \
	X(version)

#define FAMILY(name) extern const Command name##_commands[];
COMMAND_FAMILIES(FAMILY)
#undef FAMILY
