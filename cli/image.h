#pragma once
/*
 * Images as other commands name them.
 */
#include "cli/server.h"

/* The InstanceSource for "[remote:]image" on `server`, where it may have to be fetched from another
 * server: then for image_do(). The caller's; NULL on error. */
json_t *image_source(Cli *cli, Server *server, const char *image, Error **err);
/* The fingerprint that an alias points to, else the text itself. */
const char *image_resolve(Server *server, const char *image);
/* server_do() with a request (taken) that holds `source`, once for each address that the source's
 * server may be reached at, until it works. */
json_t *image_do(Server *server, const char *method, json_t *request, json_t *source,
    const char *label, Error **err);
