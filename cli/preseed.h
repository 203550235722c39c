#pragma once
/*
 * A server's set-up as one document: {config, networks, storage_pools, projects, profiles}.
 */
#include "cli/server.h"

/* Makes or changes what the document names; what was done is undone when a part fails. */
int preseed_apply(Server *server, const json_t *preseed, Error **err);
/* The document of the server as it is, in arena memory. */
json_t *preseed_dump(Server *server, Error **err);
