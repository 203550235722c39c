#pragma once
/*
 * Volumes as streams of bytes through pipes, for other servers: a volume or a snapshot going out,
 * and a volume that comes into being, or up to date, from what comes in. As tar ("tar", between any
 * drivers, only what the other side lacks) or in the driver's own form.
 */
#include "server/storage/rsync.h"
#include "server/storage/snapshot.h"
#include "server/storage/tree_diff.h"
#include "server/storage/volume.h"
#include "server/storage/volume_build.h"

struct Operation;

/* The driver's own form, by its name; NULL when it has none. */
const char *volume_stream_method(const Pool *pool);
/* Whether others take a volume in that form. */
gboolean volume_stream_is_portable(Pool *pool, const Volume *volume);

/* What a volume consists of: a tree, a disk, or (a virtual machine's) a tree with a disk in it,
 * which counts for no part of the tree in what follows. */
/* Bytes that the stream of a volume may have whose content may have so many; 0: no limit. */
uint64_t volume_stream_limit(uint64_t content);

/* TreeEntry *, of the mounted-for-this volume or snapshot. */
int volume_stream_list(Pool *pool, const Volume *volume, GPtrArray **ret_entries, Error **err);
/* As tree_look() has them. */
int volume_stream_look(
    Pool *pool, const Volume *volume, const char *without, GPtrArray **ret_entries, Error **err);
/* Writes tar of all but the files in `kept`. */
typedef struct VolumeStreamTree {
	GHashTable *kept;     /* set of char *; NULL: none */
	const GPtrArray *only; /* char *, instead: all that goes; NULL: what is not kept */
	const char *without;  /* a folder at the top that stays here; NULL: none */
	const GArray *owners; /* whose ids are on disk (IdRange): those of inside go out */
	struct Operation *op; /* may be NULL */
} VolumeStreamTree;
int volume_stream_send_tree(
    Pool *pool, const Volume *volume, const VolumeStreamTree *tree, int fd, Error **err);
/* Writes a disk's bytes. */
int volume_stream_send_block(
    Pool *pool, const Volume *volume, int fd, struct Operation *op, Error **err);
/* With an rsync of another server at the socket's other end. */
int volume_stream_rsync(
    Pool *pool, const Volume *volume, int socket, const RsyncOptions *options, Error **err);
/* ERROR_UNSUPPORTED for a volume that has no such form. parent: an older snapshot, or NULL. */
int volume_stream_send(Pool *pool, const Volume *volume, const char *parent, int fd, Error **err);

/* One volume that arrives. One thread at a time. */
typedef struct VolumeArrival VolumeArrival;
typedef struct VolumeArrivalOf {
	const Config *config;
	uint64_t
	    limit; /* bytes that there may be of its content, of which size it is made; 0: none */
	gboolean native; /* only volume_arrival_receive() will be used */
} VolumeArrivalOf;
/* A new one; holds its lock until it is freed. */
int volume_arrival_new(
    Pool *pool, const Volume *volume, const VolumeArrivalOf *of, VolumeArrival **ret, Error **err);
/* One that is there already and not in use. */
int volume_arrival_existing(Pool *pool, const Volume *volume, VolumeArrival **ret, Error **err);
const Volume *volume_arrival_volume(const VolumeArrival *arrival);
/* What the tree holds so far. */
int volume_arrival_list(VolumeArrival *arrival, GPtrArray **ret_entries, Error **err);
/* Makes the tree what the tar stream says, after removing what is in `had` and not in `kept`.
 * limit: bytes of content; 0: none. */
int volume_arrival_unpack(VolumeArrival *arrival, const GPtrArray *had, const GByteArray *kept,
    int fd, uint64_t limit, Error **err);
/* Makes the tree that of the rsync at the socket's other end. A tree of more than `limit` bytes on
 * disk is refused afterwards. */
int volume_arrival_rsync(
    VolumeArrival *arrival, int socket, const RsyncOptions *options, uint64_t limit, Error **err);
/* Makes the disk what is read from fd; as limit, but of its size. A machine's has to be raw. */
int volume_arrival_block(VolumeArrival *arrival, int fd, uint64_t limit, Error **err);
/* Makes a disk of that size, which somebody else will fill. */
int volume_arrival_size(VolumeArrival *arrival, uint64_t bytes, Error **err);
/* Of what came in the driver's form: a machine has its disk, no larger than `limit` (0: any). */
int volume_arrival_check(VolumeArrival *arrival, uint64_t limit, Error **err);
/* In the driver's form: the snapshot of that name, or the volume itself (NULL), which comes last.
 */
int volume_arrival_receive(VolumeArrival *arrival, const char *snapshot, int fd, Error **err);
/* Keeps the tree as it is now as a snapshot. */
int volume_arrival_snapshot(VolumeArrival *arrival, const SnapshotRow *row, Error **err);
/* All is there. A new volume gets its row and these; an existing one is let go. */
int volume_arrival_finish(
    VolumeArrival *arrival, const char *description, const VolumeRows *rows, Error **err);
/* A new volume that was not finished goes. NULL is fine. */
void volume_arrival_free(VolumeArrival *arrival);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VolumeArrival, volume_arrival_free)
