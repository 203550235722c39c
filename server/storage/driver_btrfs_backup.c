/* Optimised backups as Incus writes and reads them: one stream of the kernel's for each subvolume,
 * raw. */
#include "sdk/base/file.h"
#include "sdk/base/log.h"
#include "sdk/base/own.h"
#include "server/storage/backup_stream.h"
#include "server/storage/driver_btrfs_private.h"
#include "server/storage/subvolume.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* ---- there ---- */

/* What is sent stands still beside the volume meanwhile, read-only with all inside; no volume can
 * have such a name, and what a crash leaves there is swept. */
static char *sealed_path(const DriverPool *pool, const DriverVolume *volume, const char *snapshot)
{
	g_autofree char *name = g_strconcat(volume->name, "~backup", NULL);
	return driver_path(pool->path, volume->type, PLACE_DELETED, name, snapshot);
}

static int seal_inner(const char *sealed, const char *snapshot, GPtrArray *streams, Error **err)
{
	g_autoptr(GPtrArray) list = NULL;
	if (subvolume_list_nested(sealed, &list, err) < 0)
		return -1;
	for (guint n = 0; n < list->len; n++) {
		const SubvolumeInner *inner = list->pdata[n];
		g_autofree char *path = g_build_filename(sealed, inner->path, NULL);
		BackupStream *stream = backup_stream_add(streams, snapshot, inner->path);
		stream->read_only = inner->read_only;
		if (subvolume_set_read_only(path, TRUE, err) < 0 ||
		    subvolume_uuid(path, &stream->uuid, err) < 0)
			return -1;
	}
	return 0;
}

static int seal(DriverPool *pool, const DriverVolume *volume, const char *snapshot,
    GPtrArray *streams, Error **err)
{
	g_autofree char *from = driver_path(
	    pool->path, volume->type, volume->place, volume->name, snapshot);
	g_autofree char *sealed = sealed_path(pool, volume, snapshot);
	BackupStream *stream = backup_stream_add(streams, snapshot, NULL);
	return subvolume_snapshot(from, sealed, TRUE, err) < 0 ||
		subvolume_uuid(sealed, &stream->uuid, err) < 0 ?
	    -1 :
	    seal_inner(sealed, snapshot, streams, err);
}

static int forget_sealed(const DriverPool *pool, const DriverVolume *volume, Error **err)
{
	g_autofree char *sealed = sealed_path(pool, volume, NULL);
	g_autofree char *folder = sealed_path(pool, volume, "");
	return subvolume_delete(sealed, err) < 0 ? -1 : subvolume_delete(folder, err);
}

void btrfs_backup_end(DriverPool *pool, const DriverVolume *volume)
{
	g_autoptr(Error) error = NULL;
	if (forget_sealed(pool, volume, &error) < 0)
		log_warn("What was held for a backup stays until the next start", "pool", pool->name,
		    "volume", volume->name, "err", error->message);
}

static int seal_all(DriverPool *pool, const DriverVolume *volume, const GPtrArray *snapshots,
    GPtrArray *streams, Error **err)
{
	g_autofree char *folder = sealed_path(pool, volume, "");
	if (forget_sealed(pool, volume, err) < 0 || file_mkdir_all(folder, 0711, err) < 0)
		return -1;
	for (guint n = 0; n < snapshots->len; n++)
		if (seal(pool, volume, snapshots->pdata[n], streams, err) < 0)
			return -1;
	if (seal(pool, volume, NULL, streams, err) < 0)
		return -1;
	return streams->len <= BACKUP_STREAMS_MAX ?
	    0 :
	    error_set(err, ERROR_UNSUPPORTED, "Volume \"%s\" has too many subvolumes",
		volume->name);
}

int btrfs_backup_begin(DriverPool *pool, const DriverVolume *volume, const GPtrArray *snapshots,
    GPtrArray **ret_streams, Error **err)
{
	g_autoptr(GPtrArray) streams = backup_stream_list_new();
	if (seal_all(pool, volume, snapshots, streams, err) < 0) {
		btrfs_backup_end(pool, volume);
		return -1;
	}
	*ret_streams = g_steal_pointer(&streams);
	return 0;
}

/* Nobody can put a link into a path of what is sealed. */
int btrfs_backup_send(DriverPool *pool, const DriverVolume *volume, const BackupStream *stream,
    const char *parent, int fd, Error **err)
{
	g_autofree char *outermost = sealed_path(pool, volume, stream->snapshot);
	g_autofree char *before = parent ? sealed_path(pool, volume, parent) : NULL;
	g_autofree char *path = g_build_filename(outermost, stream->inner, NULL);
	g_autofree char *since = before ? g_build_filename(before, stream->inner, NULL) : NULL;
	return subvolume_send(path, since && subvolume_is(since) ? since : NULL, fd, err);
}

/* ---- back ---- */

/* What was received waits, untouched, for the streams that go on from it: "@NUMBER". */
static char *kept_path(const char *folder, guint number)
{
	return g_strdup_printf("%s/%c%u", folder, BTRFS_KEPT_MARK, number);
}

char *btrfs_backup_folder(const DriverPool *pool, const DriverVolume *volume)
{
	/* No volume can have such a name; what a crash leaves there is swept. */
	g_autofree char *name = g_strconcat(volume->name, "~restore", NULL);
	return driver_path(pool->path, volume->type, PLACE_UNFINISHED, name, NULL);
}

int btrfs_backup_receive(DriverPool *pool, const DriverVolume *volume, const BackupStream *stream,
    guint number, int fd, Error **err)
{
	g_autofree char *folder = btrfs_backup_folder(pool, volume);
	g_autofree char *kept = kept_path(folder, number);
	return btrfs_receive(folder, fd, kept, err);
}

/* ---- into place ---- */

typedef struct Part {
	const BackupStream *stream;
	guint number;
} Part;

static int by_path(const void *a, const void *b)
{
	return strcmp(((const Part *)a)->stream->inner, ((const Part *)b)->stream->inner);
}

/* The streams inside one volume or snapshot, those around others first. */
static GArray *parts_of(const GPtrArray *streams, const char *snapshot)
{
	GArray *parts = g_array_new(FALSE, FALSE, sizeof(Part));
	for (guint n = 0; n < streams->len; n++) {
		Part part = { streams->pdata[n], n };
		if (part.stream->inner && g_strcmp0(part.stream->snapshot, snapshot) == 0)
			g_array_append_val(parts, part);
	}
	g_array_sort(parts, by_path);
	return parts;
}

/* Read-only become those that were, once all are there. */
static int assemble(const char *folder, const char *path, const GPtrArray *streams,
    const char *snapshot, Error **err)
{
	g_autoptr(GArray) parts = parts_of(streams, snapshot);
	if (btrfs_open_up(path, TRUE, err) < 0)
		return -1;
	autofd int outermost = file_open_directory(path, err);
	if (outermost < 0)
		return -1;
	for (guint n = 0; n < parts->len; n++) {
		const Part *part = &g_array_index(parts, Part, n);
		g_autofree char *kept = kept_path(folder, part->number);
		if (btrfs_open_up(kept, TRUE, err) < 0 ||
		    btrfs_place_inner(outermost, kept, part->stream->inner, err) < 0)
			return -1;
	}
	for (guint n = 0; n < parts->len; n++) {
		const BackupStream *stream = g_array_index(parts, Part, n).stream;
		g_autofree char *inner = g_build_filename(path, stream->inner, NULL);
		if (stream->read_only && subvolume_set_read_only(inner, TRUE, err) < 0)
			return -1;
	}
	return 0;
}

static int place_snapshot(const char *from, const char *to, Error **err)
{
	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) < 0)
		return error_errno(err, errno == EEXIST ? ERROR_EXISTS : ERROR_INTERNAL, errno,
		    "Cannot move \"%s\" to \"%s\"", from, to);
	return subvolume_set_read_only(to, TRUE, err);
}

/* A copy of what was received does not claim to be what was sent, once it is written to. */
static int place_outermost(DriverPool *pool, const DriverVolume *volume, const char *folder,
    const GPtrArray *streams, guint number, Error **err)
{
	const BackupStream *stream = streams->pdata[number];
	g_autofree char *path = kept_path(folder, number);
	g_autofree char *to = driver_path(
	    pool->path, volume->type, volume->place, volume->name, stream->snapshot);
	if (assemble(folder, path, streams, stream->snapshot, err) < 0)
		return -1;
	return stream->snapshot ? place_snapshot(path, to, err) :
				  subvolume_snapshot(path, to, FALSE, err);
}

int btrfs_backup_place(
    DriverPool *pool, const DriverVolume *volume, const GPtrArray *streams, Error **err)
{
	g_autofree char *folder = btrfs_backup_folder(pool, volume);
	g_autofree char *snapshots = driver_path(
	    pool->path, volume->type, volume->place, volume->name, "");
	if (streams->len > 1 && file_mkdir_all(snapshots, 0711, err) < 0)
		return -1;
	for (guint n = 0; n < streams->len; n++) {
		const BackupStream *stream = streams->pdata[n];
		if (!stream->inner &&
		    place_outermost(pool, volume, folder, streams, n, err) < 0)
			return -1;
	}
	return subvolume_delete(folder, err);
}
