#pragma once
/*
 * `incus admin recover`: instances and custom volumes that are on disk and that the database has
 * lost get their rows back, from backup.yaml and from what is there; pools too.
 */
#include "server/instance/backup_index.h"
#include "server/storage/volume.h"

/* A pool to look at that the database does not know. Borrowed. */
typedef struct RecoverySource {
	const char *name, *driver, *description;
	const Config *config;
} RecoverySource;

typedef struct RecoveryItem {
	Pool *pool;
	Volume *volume;
	GPtrArray *snapshots; /* char *: those on disk */
	BackupIndex *index;   /* of an instance */
} RecoveryItem;

typedef struct Recovery {
	Daemon *daemon;
	GPtrArray *pools;   /* Pool *, those of `sources` first */
	GPtrArray *items;   /* RecoveryItem *, custom volumes of a pool before its instances */
	GPtrArray *missing; /* char *: what must be there first ("Project \"p\"") */
} Recovery;

/* Looks at all pools and at `sources`; changes nothing. One at a time: until recovery_free() others
 * wait. */
int recovery_scan(Daemon *d, const RecoverySource *sources, size_t n_sources,
    Recovery **ret_recovery, Error **err);
/* Each volume's rows in one transaction: what fails leaves those before it, and can be tried again.
 * ERROR_INVALID while something is missing. */
int recovery_import(Recovery *recovery, Error **err);
void recovery_free(Recovery *recovery);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Recovery, recovery_free)
