#pragma once
/*
 * The command line of lxd-to-incus: one table gives parsing, help and the manual page's text.
 */
#include "sdk/base/error.h"

typedef struct Options {
	char *source, *target; /* NULL: found by themselves */
	char *log;	       /* NULL: the default place */
	gboolean yes, dry_run, json, rollback, ignore_version, drop_obsolete, clients, help,
	    version;
} Options;

/* ERROR_INVALID for what is no option. */
int options_parse(int argc, char **argv, Options *options, Error **err);
void options_clear(Options *options);
/* For people; g_free. */
char *options_help(void);
