#pragma once
/* The command "file mount". */
#include "cli/command.h"

int file_mount(Cli *cli, Error **err);
