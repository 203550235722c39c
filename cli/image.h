#pragma once
/*
 * Images as other commands name them.
 */
#include "cli/server.h"

/* The InstanceSource for "[remote:]image" on `server`, where it may have to be fetched from another
 * server. The caller's; NULL on error. */
json_t *image_source(Cli *cli, Server *server, const char *image, Error **err);
/* The fingerprint that an alias points to, else the text itself. */
const char *image_resolve(Server *server, const char *image);
