/*
 * incus help [command]...
 */
#include "cli/command.h"
#include <stdio.h>

static int help_run(Cli *cli, Error **err)
{
	const Command *command = NULL;
	for (int i = 0; i < cli->n_args; i++) {
		const Command *child = command_child(command ? command->path : "", cli->args[i]);
		if (!child)
			return error_set(
			    err, ERROR_NOT_FOUND, "Unknown help topic \"%s\"", cli->args[i]);
		command = child;
	}
	g_autofree char *text =
	    help_text(command, flag_bool(cli, "all"), flag_bool(cli, "sub-commands"));
	fputs(text, stdout);
	return 0;
}

const Command help_commands[] = {
	{ .path = "help",
	    .usage = "[command]...",
	    .max_args = -1,
	    .summary = "Explain a command",
	    .run = help_run },
	{ 0 },
};
