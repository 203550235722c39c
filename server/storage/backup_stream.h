#pragma once
/*
 * The streams of an optimised backup: which there are, what Incus calls them in the archive, and
 * the document that tells of them (backup/optimized_header.yaml). A driver whose volumes hold other
 * volumes inside (btrfs) has one for each.
 */
#include "server/storage/driver.h"
#include "server/storage/volume_archive.h"

/* What a document may tell of; a volume with more is backed up in the portable form. */
enum { BACKUP_STREAMS_MAX = 8192 };

typedef struct BackupStream {
	char *snapshot; /* NULL: of the volume itself */
	char *inner;    /* a subvolume's path beneath the volume; NULL: the outermost */
	gboolean read_only;
	char *uuid; /* as text; NULL: not known */
} BackupStream;

/* BackupStream *, freed with the array. */
GPtrArray *backup_stream_list_new(void);
BackupStream *backup_stream_add(GPtrArray *list, const char *snapshot, const char *inner);
/* One for each snapshot (char *), then the volume's: of drivers that say nothing more. */
GPtrArray *backup_stream_list_plain(const GPtrArray *snapshots);

/* PREFIX.bin, SNAPSHOTS/NAME.bin; subvolumes inside have their path behind a "_", in which "-" is
 * written "--" and "/" is "-" (g_free). */
char *backup_stream_entry(const VolumeArchiveNames *names, const BackupStream *stream);

/* YAML (g_free). */
char *backup_stream_write(const GPtrArray *list);
/* A stranger's: ERROR_INVALID for paths that leave the volume, snapshots that are none of these
 * (SnapshotRow *), one that is there twice or a volume without its outermost stream. */
int backup_stream_parse(const char *yaml, size_t length, const GPtrArray *snapshots,
    GPtrArray **ret_list, Error **err);
