#pragma once
/*
 * How LXD's rows become ours. One table lists what is taken, one what older schemas lack and what
 * stands for it; everything else follows from the columns that both sides have.
 */
#include "migrate/lxd_database.h"
#include "server/key/key.h"

/* The schemas of LXD 4.0.0 and 5.18. */
enum { ROWS_SCHEMA_OLDEST = 28, ROWS_SCHEMA_NEWEST = 69 };

typedef struct RowTable {
	const char *name; /* LXD's and ours */
	gboolean keyed;	  /* rows are keys and values of that scope */
	KeyScope scope;
	gboolean local;	  /* also in local.db */
	gboolean refused; /* rows are refused by name: we have no such thing */
	int since;	  /* schema that brought it; 0: always there */
	const char *what; /* plural, for people; NULL: shown with its owner */
	/* Of what is refused: selects what each is, its name, and LXD's command that deletes it. */
	const char *each;
} RowTable;

extern const RowTable rows_tables[]; /* ended by an empty row; owners before what they own */

/* Tables of LXD that are left, and why. */
typedef struct RowLeft {
	const char *name, *why;
} RowLeft;
extern const RowLeft rows_left[];

typedef struct RowsContext {
	LxdDatabase *lxd;
	const char *from[2], *to; /* LXD's directory, as its records name it and as it is now, and
				   * ours: paths below are rewritten */
	/* Told of every key that goes (`renamed` NULL) or gets another name; may be NULL. */
	void (*dropped)(const RowTable *table, const char *key, const char *renamed, void *data);
	void *data;
} RowsContext;

/* Where a path is on the host that LXD's snap sees in its own place (g_free); NULL: it is no such
 * path. */
char *rows_host_path(const char *value);
/* What one value becomes: *ret_key and *ret_value (g_free) are set where they differ, *ret_drop
 * where it goes. */
void rows_value(const RowsContext *context, const RowTable *table, const char *key,
    const char *value, char **ret_key, char **ret_value, gboolean *ret_drop);
/* Every row of every table into a database that was just made; what it was made with goes. */
int rows_convert(const RowsContext *context, Db *ours, Error **err);
