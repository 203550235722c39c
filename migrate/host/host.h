#pragma once
/*
 * incus-migrate: makes an instance of a tree of files (this running system's, or any other) or of a
 * disk. What it sends is a backup's archive, made on the way, so that the server does with it what
 * it does with every import: it checks all of it, and either has the whole instance or nothing.
 */
#include <incus/client.h>
#include <incus/remote.h>
#include "sdk/base/error.h"
#include <jansson.h>

typedef struct Migration {
	char *name, *source, *pool, *project, *description; /* description NULL: none */
	gboolean machine;    /* of a disk; else a container, of a tree */
	GPtrArray *profiles; /* char * */
	GPtrArray *config;   /* "KEY=VALUE" */
	json_t *devices;     /* name -> map of texts */
	GPtrArray *mounts;   /* char *: file systems below `source` that belong to it */
	char *url, *token;   /* of the server; NULL: the local one */
	char *certificate, *key,
	    *fingerprint; /* where there is no token: files, and the server's */
	gboolean yes, quiet;
	char own_fingerprint[INCUS_FINGERPRINT_SIZE]; /* of what a token made trusted; "" */
} Migration;

/* --- options.c --- */

/* From arguments, and from the user where they leave something open and standard input is a
 * terminal. 0, 1 when all is said (--help), -1. */
int options_read(Migration *m, int argc, char **argv, Error **err);

/* --- settings.c --- */

/* YAML from standard input, where that is no terminal; with nothing there, nothing. */
int settings_read(Migration *m, Error **err);

/* --- connect.c --- */

int server_connect(Migration *m, incus_client **ret_client, Error **err);
/* The server does not trust the certificate of that fingerprint any more; "": none. */
void server_forget(incus_client *client, const char *fingerprint);

/* --- disk.c --- */

/* The source as a raw disk of *ret_size bytes; for reading, from its start. */
int disk_open(const Migration *m, int *ret_fd, int64_t *ret_size, Error **err);
/* Whether that will be possible. */
int disk_check(const Migration *m, Error **err);

/* --- archive.c --- */

/* Writes the whole archive into fd. *progress (atomic): mebibytes so far. */
int archive_send(const Migration *m, int fd, gint *progress, Error **err);
/* Before anything is sent: whether the source can be read and is what it is to be. */
int archive_check(const Migration *m, Error **err);
