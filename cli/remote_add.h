#pragma once
/*
 * incus remote add: making acquaintance with a server.
 */
#include "cli/command.h"

int remote_add(Cli *cli, Error **err);
