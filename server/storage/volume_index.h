#pragma once
/*
 * What a backup's backup/index.yaml says of the archive and of the volume in it: all there is for a
 * custom volume, and the root volume's part for an instance (server/instance/backup_index.h). In
 * Incus's words. What is read is a stranger's: names are checked, keys only for their form.
 */
#include "server/storage/snapshot.h"
#include <jansson.h>

typedef struct VolumeIndex {
	char *name, *pool, *driver, *type;
	gboolean optimized, header; /* in the driver's own format, with a document about it */
	VolumeContent content;
	char *description;
	Config *config;
	GPtrArray *snapshots;       /* SnapshotRow *, in the archive's order */
} VolumeIndex;
void volume_index_free(VolumeIndex *index);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VolumeIndex, volume_index_free)

/* The archive's document (json_decref). ERROR_INVALID, saying what is wrong, here and below. */
int volume_index_load(int archive_fd, json_t **ret_document, Error **err);
int volume_index_parse(const json_t *document, VolumeIndex **ret_index, Error **err);
/* Of a list of snapshots the one of that name, which old versions write "VOLUME/NAME"; NULL. */
const json_t *volume_index_snapshot(const json_t *list, const char *name);
/* Keeps of the configuration what this pool's driver knows and a user may set. */
void volume_index_filter(VolumeIndex *index, Pool *pool);

/* ---- writing ---- */

/* Such documents, and parts of them; json_decref. */
json_t *volume_index_message(const void *message, const char *const *without);
json_t *volume_index_config(const Config *config);
json_t *volume_index_moment(const Moment *moment);
json_t *volume_index_time(int64_t seconds); /* 0 is how Incus writes "never" */
/* Below "volume", and below "volume_snapshots" for these (SnapshotRow *). */
int volume_index_volume(Pool *pool, const Volume *volume, json_t **ret, Error **err);
json_t *volume_index_snapshots(const Volume *volume, const GPtrArray *snapshots);
/* The whole text (g_free) around `config`, which it takes. */
typedef struct VolumeIndexHead {
	const char *name, *type;
	Pool *pool;
	gboolean optimized, header;
	const GPtrArray *snapshots; /* SnapshotRow * */
} VolumeIndexHead;
char *volume_index_write(const VolumeIndexHead *head, json_t *config);
