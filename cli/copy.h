#pragma once
/*
 * incus copy and incus move: what both of their files know.
 */
#include "cli/noun.h"

/* Both ends as the arguments name them. */
typedef struct Ends {
	Object source;
	Server *server;	      /* of the destination */
	const char *snapshot; /* NULL: the instance itself */
	const char *name;     /* of the copy */
	const char *project;  /* of the copy; NULL: the current one */
	const json_t *data;   /* the source as it is */
} Ends;

/* To another server: `changes` is what the options say of the copy, over what the source is. A move
 * takes the source away, and keeps its volatile keys. */
int copy_between(Cli *cli, const Ends *ends, const json_t *changes, bool move, Error **err);
