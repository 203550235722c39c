/*
 * incus version.
 */
#include "cli/server.h"
#include <stdio.h>

static int version(Cli *cli, Error **err)
{
	const char *server_version = "unreachable";
	g_autoptr(Error) problem = NULL;
	Server *server = server_of_argument(cli, 0, cli->n_args > 0 ? err : &problem);
	if (!server && cli->n_args > 0)
		return -1;
	json_t *facts = server ? server_call(server, "GetServer", NULL, NULL) : NULL;
	if (facts)
		server_version = json_get_text(
		    json_object_get(facts, "environment"), "server_version");
	if (facts && !*server_version)
		server_version = "unknown";
	printf("Client version: " INCUS_VERSION "\nServer version: %s\n", server_version);
	return 0;
}

const Command version_commands[] = {
	{ .path = "version",
	    .usage = "[<remote>:]",
	    .max_args = 1,
	    .summary = "Show the versions of this program and of the server",
	    .run = version,
	    .complete = "remote" },
	{ 0 },
};
