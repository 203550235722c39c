#pragma once
/*
 * A volume with its snapshots as trees in a backup's archive, one after the other, snapshots first:
 * from any driver, to any driver. What the archive holds beside them is the caller's.
 */
#include "server/storage/pack.h"
#include "server/storage/volume.h"

struct Operation;

typedef struct VolumeArchive {
	Pool *pool;
	const Volume *volume;
	const GPtrArray *snapshots;   /* SnapshotRow *, oldest first */
	const char *prefix;           /* of the volume's entries: "backup/container" */
	const char *snapshots_prefix; /* followed by "/NAME": "backup/snapshots" */
	gboolean root; /* it is an instance's: only the parts that belong into one are unpacked */
	struct Operation *op;         /* may be NULL */
	/* Packing only: whose ids the trees have on disk (pack_owners()); NULL: those of inside. */
	const GArray *owners;
	const GPtrArray *snapshot_owners; /* GArray *, of the snapshots in their order */
	/* Unpacking only. */
	const char *description;
	const Config *config;         /* of the new row; NULL: the pool's defaults */
	uint64_t limit;               /* bytes that one tree may have; 0: none */
} VolumeArchive;

/* The caller sees to it that nothing writes to the volume meanwhile. */
int volume_archive_pack(const VolumeArchive *archive, Pack *sink, Error **err);
/* Makes the volume, its snapshots and all their rows from the archive in fd. Entries under other
 * names are left out. Nothing is left on failure. */
int volume_archive_unpack(const VolumeArchive *archive, int fd, Error **err);
