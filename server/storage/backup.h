#pragma once
/*
 * Backups, of instances and of custom volumes: one archive each, kept as
 * INCUS_DIR/backups/FOLDER/PLACE/NAME with a row of its own. What is in an archive, and what it is
 * of, is for its kind to say.
 *
 * The archive appears when it is whole and after its row; it goes before its row. At start rows
 * without archive and archives without row go. What is renamed, a backup or what it is of, has its
 * archives under both names while the row changes, so that neither kind of start loses one.
 */
#include "server/daemon.h"
#include "server/event/event.h"
#include "server/storage/pack.h"

struct Operation;
typedef struct BackupOwner BackupOwner;

typedef struct Backup {
	int64_t id;
	char *name;
	int64_t created, expires; /* seconds since 1970; expires 0: never */
	gboolean only;            /* without snapshots */
	gboolean optimized;
} Backup;
void backup_free(Backup *backup);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Backup, backup_free)

/* What a backup is to be. Borrowed. */
typedef struct BackupSpec {
	const char *name;        /* as backup_promise_name() gave it, or as asked for */
	int64_t expires;
	gboolean only, optimized;
	const char *compression; /* archive_target.h; NULL or "": as project or server say */
} BackupSpec;

typedef struct BackupKind {
	const char *folder;   /* below INCUS_DIR/backups */
	unsigned depth;       /* of places in it: 1 "NAME", 2 "POOL/NAME" */
	const char *event;    /* "instance-backup": of "instance-backup-created" and its like */
	const char *missing;  /* the message of ERROR_NOT_FOUND */
	const char *creating, *renaming, *deleting; /* operations' descriptions */
	const char *resources[2]; /* of operations, names for what it is of */
	const char *table, *owner, *only; /* its table, and the columns that are called differently */
	/* Of all backups: place, project, pool (or ''), what it is of, name, id, expiry_date. */
	const char *select_all;
	/* What a backup is of stays what and where it is in between. Fails when it is no more. */
	int (*lock)(BackupOwner *owner, Error **err);
	void (*unlock)(BackupOwner *owner);
	char *(*place)(const BackupOwner *owner); /* g_free */
	char *(*url)(const BackupOwner *owner);   /* "/1.0/instances/NAME"; g_free */
	/* The archive's entries; locked. */
	int (*pack)(BackupOwner *owner, const BackupSpec *spec, Pack *sink, struct Operation *op,
	    Error **err);
	int (*open)(Daemon *d, const char *project, const char *pool, const char *name,
	    BackupOwner **ret_owner, Error **err);
	void (*release)(void *object);
} BackupKind;

/* What backups are of. */
struct BackupOwner {
	const BackupKind *kind;
	Daemon *daemon;
	char *project;  /* of events and settings */
	int64_t id;     /* of its row */
	void *object;   /* the kind's */
};
/* Takes the object. */
BackupOwner *backup_owner_new(
    const BackupKind *kind, Daemon *d, const char *project, int64_t id, void *object);
void backup_owner_free(BackupOwner *owner);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BackupOwner, backup_owner_free)

/* A free one ("backup0", ...), which no other creation is given until backup_promise_end(). */
int backup_promise_name(const BackupOwner *owner, char **ret_name, Error **err);
void backup_promise_end(const BackupOwner *owner, const char *name);
/* ERROR_EXISTS for a name that is taken. */
int backup_create(BackupOwner *owner, const BackupSpec *spec, struct Operation *op,
    const Caller *caller, Error **err);
int backup_delete(BackupOwner *owner, const char *name, const Caller *caller, Error **err);
int backup_rename(BackupOwner *owner, const char *name, const char *new_name, const Caller *caller,
    Error **err);
/* The archive, to read; *ret_fd is the caller's. */
int backup_open(const BackupOwner *owner, const char *name, int *ret_fd, Error **err);

/* ERROR_NOT_FOUND. */
int backup_find(const BackupOwner *owner, const char *name, Backup **ret_backup, Error **err);
/* Backup *, oldest first. */
int backup_list(const BackupOwner *owner, GPtrArray **ret_backups, Error **err);

/* What they are of gets another place: before its row changes both have the archives, afterwards
 * one has: the new one when it `came` about. The caller holds the lock. */
int backup_place_begin(
    Daemon *d, const BackupKind *kind, const char *from, const char *to, Error **err);
void backup_place_end(
    Daemon *d, const BackupKind *kind, const char *from, const char *to, gboolean came);
/* What they are of is no more, and their rows neither. */
void backup_place_clear(Daemon *d, const BackupKind *kind, const char *place);

/* At start, once what they are of is there. */
int backup_repair(Daemon *d, const BackupKind *kind, Error **err);
/* Jobs of the schedule: expired ones are deleted. */
gint64 backup_expiry_due(Daemon *d, const BackupKind *kind);
int backup_expire(Daemon *d, const BackupKind *kind, const Caller *caller, Error **err);
