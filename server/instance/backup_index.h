#pragma once
/*
 * What a backup says about the instance in it: backup/index.yaml of an archive, and backup.yaml in
 * an instance's volume, which is the part `config` of it. Written and read as Incus does. What is
 * read is a stranger's: every name and key is checked here.
 */
#include "server/instance/instance.h"
#include "server/instance/snapshot.h"
#include "server/storage/volume_index.h"

typedef struct BackupIndex {
	VolumeIndex *volume;    /* the archive and the root volume; config: user.*, of backup.yaml all */
	InstanceType type;
	char *architecture, *description;
	gboolean ephemeral;
	int64_t created;        /* seconds since 1970; 0 unknown */
	gboolean own;           /* of this host, so that all of its notes are kept */
	Config *config;         /* without the volatile keys that belong to a host or to a run */
	Devices *devices;
	char **profiles;
	GPtrArray *snapshots;   /* InstanceSnapshot *, in the archive's order */
	Config *pool_config;    /* of backup.yaml only: what the pool was like */
	char *pool_description;
} BackupIndex;
void backup_index_free(BackupIndex *index);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BackupIndex, backup_index_free)

/* From an archive's document (volume_index_load()): ERROR_INVALID, saying what is wrong. */
int backup_index_parse(const json_t *document, BackupIndex **ret_index, Error **err);

/* The text of a backup.yaml, which lies where the instance itself does: all that it says is kept,
 * volatile keys and the volume's too. */
int backup_file_parse(const char *yaml, size_t length, BackupIndex **ret_index, Error **err);

/* The rows (SnapshotRow *) of these snapshots (InstanceSnapshot *) of the root volume. */
int backup_volume_rows(
    Instance *i, Pool *pool, const GPtrArray *snapshots, GPtrArray **ret_rows, Error **err);
/* Text for the archive of an instance with these snapshots, whose rows the head has; g_free. */
int backup_index_write(Instance *i, const GPtrArray *snapshots, const VolumeIndexHead *head,
    char **ret_yaml, Error **err);
/* backup.yaml in the instance's (locked) volume is made anew: with it the instance can be found
 * again when the database is lost. A failure is logged: the instance itself is as it should be. */
void backup_file_update(Instance *i);
