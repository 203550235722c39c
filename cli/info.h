#pragma once
/*
 * Pieces of `incus info`.
 */
#include "cli/server.h"

void print_size(const char *label, int64_t bytes);
/* The hardware of the server, for people. */
int resources_print(Server *server, Error **err);
