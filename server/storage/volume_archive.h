#pragma once
/*
 * A volume with its snapshots in a backup's archive, one after the other, snapshots first: trees, or
 * images of disks, from any driver to any driver; or, in an optimised one, a driver's own streams
 * (volume_archive_stream.c). What the archive holds beside them is the caller's.
 */
#include "server/storage/pack.h"
#include "server/storage/volume_index.h"

struct Operation;

/* What Incus calls the entries: PREFIX/..., SNAPSHOTS/NAME/..., of disks PREFIX.img and
 * SNAPSHOTS/NAME.img, of the driver's own streams (optimised) PREFIX.bin and SNAPSHOTS/NAME.bin. Of
 * a virtual machine there are both, the tree without its disk and the disk. */
typedef struct VolumeArchiveNames {
	const char *volume, *snapshots;
	gboolean root; /* an instance's: only the parts that belong into one are unpacked */
} VolumeArchiveNames;
extern const VolumeArchiveNames volume_archive_container, volume_archive_machine,
    volume_archive_custom;

typedef struct VolumeArchive {
	Pool *pool;
	const Volume *volume;         /* its content type says which of the two */
	const GPtrArray *snapshots;   /* SnapshotRow *, oldest first */
	const VolumeArchiveNames *names;
	struct Operation *op;         /* may be NULL */
	gboolean optimized;
	GPtrArray *streams;           /* see volume_archive_hold() */
	/* Packing only: somebody may be writing to the volume. What is packed is a clone, where the
	 * driver takes one at one moment; else what goes or shrinks meanwhile is left out. */
	gboolean used;
	/* Packing only: whose ids the trees have on disk (pack_owners()); NULL: those of inside. */
	const GArray *owners;
	const GPtrArray *snapshot_owners; /* GArray *, of the snapshots in their order */
	/* Unpacking only. */
	const char *description;
	const Config *config;         /* of the new row; NULL: the pool's defaults */
	PoolAlso also;                /* in the transaction that makes the rows; may be NULL */
	void *also_data;
	uint64_t limit;               /* bytes that one tree may have; 0: none */
} VolumeArchive;

/* The archive will be optimised, where the driver has streams of all there is to pack; what it then
 * holds fast is let go by volume_archive_release(), which is always called. */
int volume_archive_hold(VolumeArchive *archive, Error **err);
void volume_archive_release(VolumeArchive *archive);
/* Whether the archive has a document about its streams. */
gboolean volume_archive_has_header(const VolumeArchive *archive);
int volume_archive_pack(const VolumeArchive *archive, Pack *sink, Error **err);
/* Makes the volume, its snapshots and all their rows from the archive in fd. Entries under other
 * names are left out. Nothing is left on failure. */
int volume_archive_unpack(const VolumeArchive *archive, int fd, Error **err);
/* Whether the pool takes what the index says is in the archive: ERROR_UNSUPPORTED, saying why not. */
int volume_archive_check(const Pool *pool, const VolumeIndex *index, Error **err);
