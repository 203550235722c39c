#pragma once
/*
 * Where LXD is: a snap, a Debian package or a directory, and how its daemon is stopped and started.
 */
#include "migrate/lxd_database.h"

typedef struct SourceKind {
	const char *name;
	const char *const *present; /* all of these are there; NULL: a directory that was named */
	const char *directory, *logs;
	const char *mounts; /* keeps the mount namespace that its daemon had; NULL: none */
	/* Commands, NULL: none. All but purge are followed by the units (those that are there). */
	const char *const *units, *const *stop, *const *enabled, *const *enable, *const *start,
										     *const *purge;
} SourceKind;

typedef struct Source {
	const SourceKind *kind;
	char *directory; /* as it is now, links resolved */
	char *named;	 /* as it was named: differs where the directory is reached by a link */
	char *logs;	 /* outside of directory; NULL: none */
	char *
	    recorded; /* the directory that LXD's own records name (it may have been moved since) */
	gboolean running; /* its daemon answers */
} Source;

/* `directory` NULL: found by itself. ERROR_NOT_FOUND, naming where it was looked for;
 * ERROR_INVALID for a directory that is not LXD's. */
int source_find(const char *directory, Source *ret_source, Error **err);
void source_clear(Source *source);
gboolean source_is_running(const Source *source);
/* Fills `recorded`: what the storage pools' own records name. */
int source_learn(Source *source, LxdDatabase *lxd, Error **err);
/* Where a path of those records is now; g_free. The path itself when it is not below. */
char *source_path(const Source *source, const char *recorded);
/* Whether its units start it when the host starts. */
gboolean source_is_enabled(const Source *source);
/* Stops the daemon and its instances, and keeps its units from starting it; returns when it is
 * gone. */
int source_stop(const Source *source, Error **err);
int source_enable(const Source *source, Error **err);
int source_start(const Source *source, Error **err);
/* Removes the package with its data. */
int source_purge(const Source *source, Error **err);
