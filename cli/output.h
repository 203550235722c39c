#pragma once
/*
 * What list commands print: the rows, or the objects behind them, as --format says.
 */
#include "cli/command.h"
#include "cli/table.h"
#include <jansson.h>

/* Prints `table` (table, compact, csv) or `data` (json, yaml). */
int output_list(Cli *cli, const Table *table, const json_t *data, Error **err);
/* Fails early on an unknown --format, before anything is asked of a server. */
int output_check_format(Cli *cli, Error **err);
/* True when --format wants the objects (json, yaml): the table need not be made. */
bool output_wants_data(Cli *cli);
/* Prints `data` as YAML, as show commands do. */
void output_yaml(const json_t *data);
/* A time of the API as "2006/01/02 15:04 UTC", in the zone of whoever reads it. Arena memory. */
const char *output_time(Cli *cli, const char *text);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(json_t, json_decref)
