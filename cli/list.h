#pragma once
/*
 * Which instances a list shows, and what its columns hold.
 */
#include "cli/server.h"

typedef struct Column {
	char letter;        /* 0: a custom column */
	const char *header;
	bool device;        /* custom: key is DEVICE.KEY of devices, else of config */
	const char *key;
	int max_width;      /* custom; -1: no limit */
} Column;

/* Columns of a specification like "ns4,user.comment:NOTE:20"; array of Column. */
GArray *columns_parse(Cli *cli, const char *text, Error **err);
/* The fields of instances that they need, never empty; NULL-terminated, in arena memory. */
const char **columns_fields(Cli *cli, const GArray *columns);
/* The cell of an instance, in arena memory. */
const char *column_text(Cli *cli, const json_t *instance, const Column *column);

/* True when the instance passes every filter: a start of a name, a pattern, or KEY=VALUE. */
bool filters_match(const json_t *instance, char **filters, int n);
/* "u.b" is short for "user.blah". */
bool key_matches(const char *brief, const char *full);
