#pragma once
/*
 * A volume with its snapshots in a backup's archive, one after the other, snapshots first: trees, or
 * images of disks, from any driver to any driver. What the archive holds beside them is the
 * caller's.
 */
#include "server/storage/pack.h"
#include "server/storage/volume.h"

struct Operation;

/* What Incus calls the entries: PREFIX/..., SNAPSHOTS/NAME/..., of disks PREFIX.img and
 * SNAPSHOTS/NAME.img. */
typedef struct VolumeArchiveNames {
	const char *volume, *snapshots;
	gboolean root; /* an instance's: only the parts that belong into one are unpacked */
} VolumeArchiveNames;
extern const VolumeArchiveNames volume_archive_instance, volume_archive_custom;

typedef struct VolumeArchive {
	Pool *pool;
	const Volume *volume;         /* its content type says which of the two */
	const GPtrArray *snapshots;   /* SnapshotRow *, oldest first */
	const VolumeArchiveNames *names;
	struct Operation *op;         /* may be NULL */
	/* Packing only: somebody may be writing to the volume. What is packed is a clone, where the
	 * driver takes one at one moment; else what goes or shrinks meanwhile is left out. */
	gboolean used;
	/* Unpacking only. */
	const char *description;
	const Config *config;         /* of the new row; NULL: the pool's defaults */
	uint64_t limit;               /* bytes that one tree may have; 0: none */
} VolumeArchive;

int volume_archive_pack(const VolumeArchive *archive, Pack *sink, Error **err);
/* Makes the volume, its snapshots and all their rows from the archive in fd. Entries under other
 * names are left out. Nothing is left on failure. */
int volume_archive_unpack(const VolumeArchive *archive, int fd, Error **err);
