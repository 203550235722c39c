/* Optimised archives: the driver's own streams, each an entry of its own. */
#include "sdk/base/fault.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "server/storage/backup_stream.h"
#include "server/storage/pool_private.h"
#include "server/storage/snapshot.h"
#include "server/storage/store.h"
#include "server/storage/volume_archive_private.h"
#include "server/storage/volume_build.h"
#include "server/storage/volume_stream.h"
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEADER_MAX = 4 << 20 };
static const char header_name[] = "backup/optimized_header.yaml";

/* ---- there ---- */

int volume_archive_hold(VolumeArchive *archive, Error **err)
{
	const StorageDriver *driver = archive->pool->driver;
	g_autoptr(GPtrArray) names = g_ptr_array_new();
	Error *inner = NULL;
	if (!driver->backup_send || !driver->backup_receive ||
	    !volume_stream_is_portable(archive->pool, archive->volume))
		return 0;
	for (guint n = 0; n < archive->snapshots->len; n++)
		g_ptr_array_add(names, ((SnapshotRow *)archive->snapshots->pdata[n])->name);
	g_autoptr(DriverCall) call = driver_call_new(
	    archive->pool, archive->volume, PLACE_OWN, NULL);
	if (!driver->backup_begin)
		archive->streams = backup_stream_list_plain(names);
	else if (driver->backup_begin(
		     &call->pool, &call->volume, names, &archive->streams, &inner) < 0 &&
	    inner->kind != ERROR_UNSUPPORTED)
		return error_propagate(err, inner);
	g_clear_pointer(&inner, error_free);
	archive->optimized = archive->streams != NULL;
	return 0;
}

void volume_archive_release(VolumeArchive *archive)
{
	const StorageDriver *driver = archive->pool->driver;
	if (!archive->streams)
		return;
	g_autoptr(DriverCall) call = driver_call_new(
	    archive->pool, archive->volume, PLACE_OWN, NULL);
	if (driver->backup_end)
		driver->backup_end(&call->pool, &call->volume);
	g_clear_pointer(&archive->streams, g_ptr_array_unref);
}

gboolean volume_archive_has_header(const VolumeArchive *archive)
{
	return archive->streams && archive->pool->driver->backup_begin;
}

/* An entry's length stands before it, so that the stream goes through a file without a name. */
static int pack_stream(const VolumeArchive *archive, Pack *sink, const Volume *volume,
    const BackupStream *stream, const char *parent, Error **err)
{
	g_autofree char *name = backup_stream_entry(archive->names, stream);
	g_autoptr(DriverCall) call = driver_call_new(archive->pool, volume, PLACE_OWN, NULL);
	autofd int fd = store_temporary(archive->pool->daemon, STORE_BACKUPS, err);
	if (fd < 0 || fault_point("backup stream", err) < 0 ||
	    archive->pool->driver->backup_send(
		&call->pool, &call->volume, stream, parent, fd, err) < 0)
		return -1;
	return pack_file(sink, name, fd, 0, err);
}

/* A snapshot that is mounted stays. */
static int pack_since(const VolumeArchive *archive, Pack *sink, const Volume *volume,
    const BackupStream *stream, const char *parent, Error **err)
{
	if (!parent)
		return pack_stream(archive, sink, volume, stream, NULL, err);
	if (snapshot_mount(archive->pool, archive->volume, parent, NULL, err) < 0)
		return -1;
	int result = pack_stream(archive, sink, volume, stream, parent, err);
	return snapshot_unmount(archive->pool, archive->volume, parent, result == 0 ? err : NULL) <
		0 ?
	    -1 :
	    result;
}

static int pack_snapshot_since(const VolumeArchive *archive, Pack *sink,
    const BackupStream *stream, const char *parent, Error **err)
{
	const char *name = stream->snapshot;
	g_autoptr(Volume) snapshot = volume_snapshot(archive->pool, archive->volume, name);
	snapshot->content = archive->volume->content;
	if (snapshot_mount(archive->pool, archive->volume, name, NULL, err) < 0)
		return -1;
	int result = pack_since(archive, sink, snapshot, stream, parent, err);
	return snapshot_unmount(archive->pool, archive->volume, name, result == 0 ? err : NULL) <
		0 ?
	    -1 :
	    result;
}

/* All streams of one snapshot stand together. */
int archive_pack_streams(const VolumeArchive *archive, Pack *sink, Error **err)
{
	const char *parent = NULL, *current = NULL;
	g_autofree char *header = volume_archive_has_header(archive) ?
	    backup_stream_write(archive->streams) :
	    NULL;
	if (header && pack_text(sink, header_name, header, err) < 0)
		return -1;
	for (guint n = 0; n < archive->streams->len; n++) {
		const BackupStream *stream = archive->streams->pdata[n];
		if (n > 0 && g_strcmp0(stream->snapshot, current) != 0)
			parent = current;
		current = stream->snapshot;
		if ((current ? pack_snapshot_since(archive, sink, stream, parent, err) :
			       pack_since(archive, sink, archive->volume, stream, parent, err)) < 0)
			return -1;
	}
	return 0;
}

/* ---- back ---- */

typedef struct Incoming {
	const VolumeArchive *archive;
	const Config *config;
	Unpacker *unpacker;
	GPtrArray *streams;  /* BackupStream * */
	GHashTable *waiting; /* entry -> number in that list */
	gboolean begun, volume_seen;
} Incoming;

static int await_streams(Incoming *in, GPtrArray *streams, Error **err)
{
	g_clear_pointer(&in->streams, g_ptr_array_unref);
	in->streams = streams;
	g_hash_table_remove_all(in->waiting);
	for (guint n = 0; n < streams->len; n++) {
		g_autofree char *entry = backup_stream_entry(
		    in->archive->names, streams->pdata[n]);
		if (g_hash_table_contains(in->waiting, entry))
			return error_set(err, ERROR_INVALID,
			    "Backup has two streams of one name (\"%s\")", entry);
		g_hash_table_insert(
		    in->waiting, g_steal_pointer(&entry), GUINT_TO_POINTER(n));
	}
	return 0;
}

static int await_plain(Incoming *in, Error **err)
{
	g_autoptr(GPtrArray) names = g_ptr_array_new();
	for (guint n = 0; n < in->archive->snapshots->len; n++)
		g_ptr_array_add(names, ((SnapshotRow *)in->archive->snapshots->pdata[n])->name);
	return await_streams(in, backup_stream_list_plain(names), err);
}

static int read_back(int fd, char **ret_text, size_t *ret_length, Error **err)
{
	struct stat st;
	if (fstat(fd, &st) < 0 || st.st_size > HEADER_MAX)
		return error_set(err, ERROR_INVALID, "Backup's list of subvolumes is too long");
	g_autofree char *text = g_malloc((size_t)st.st_size + 1);
	if (pread(fd, text, (size_t)st.st_size, 0) != (ssize_t)st.st_size)
		return error_set(err, ERROR_INTERNAL, "Cannot read the backup's list of subvolumes");
	text[st.st_size] = '\0';
	*ret_text = g_steal_pointer(&text);
	*ret_length = (size_t)st.st_size;
	return 0;
}

static int take_header(Incoming *in, int fd, Error **err)
{
	GPtrArray *streams = NULL;
	size_t length = 0;
	g_autofree char *text = NULL;
	if (in->begun)
		return error_set(
		    err, ERROR_INVALID, "Backup has its list of subvolumes twice, or too late");
	in->begun = TRUE;
	if (read_back(fd, &text, &length, err) < 0 ||
	    backup_stream_parse(text, length, in->archive->snapshots, &streams, err) < 0)
		return -1;
	return await_streams(in, streams, err);
}

static int take_stream(Incoming *in, const char *entry, int fd, Error **err)
{
	void *number;
	in->begun = TRUE;
	if (!g_hash_table_lookup_extended(in->waiting, entry, NULL, &number))
		return error_set(err, ERROR_INVALID,
		    "Backup has \"%s\" twice, or does not tell of it", entry);
	g_hash_table_remove(in->waiting, entry);
	const BackupStream *stream = in->streams->pdata[GPOINTER_TO_UINT(number)];
	if (stream->snapshot && in->volume_seen)
		return error_set(
		    err, ERROR_INVALID, "Backup has the snapshot \"%s\" behind the volume", entry);
	in->volume_seen |= !stream->snapshot;
	return fault_point("restore tree", err) < 0 ?
	    -1 :
	    volume_receive_stream(in->archive->pool, in->archive->volume, in->config, in->streams,
		GPOINTER_TO_UINT(number), fd, err);
}

static int take_entry(Incoming *in, const char *path, Error **err)
{
	g_autofree char *entry = g_strdup(path);
	autofd int fd = store_temporary(in->archive->pool->daemon, STORE_BACKUPS, err);
	if (fd < 0 || unpacker_content(in->unpacker, fd, err) < 0 || lseek(fd, 0, SEEK_SET) < 0)
		return -1;
	return strcmp(entry, header_name) == 0 ? take_header(in, fd, err) :
						 take_stream(in, entry, fd, err);
}

static int take_all(Incoming *in, Error **err)
{
	const char *path;
	int more;
	while ((more = unpacker_next(in->unpacker, &path, err)) > 0)
		if ((g_str_has_suffix(path, ".bin") || strcmp(path, header_name) == 0) &&
		    take_entry(in, path, err) < 0)
			return -1;
	GHashTableIter iter;
	void *missing;
	g_hash_table_iter_init(&iter, in->waiting);
	if (more == 0 && g_hash_table_iter_next(&iter, &missing, NULL))
		return error_set(err, ERROR_INVALID, "Backup holds no \"%s\"", (char *)missing);
	return more;
}

static int check_received(const VolumeArchive *archive, const char *path, Error **err)
{
	struct stat st;
	if (!archive->names->root) /* a disk has no directory on every driver */
		return 0;
	autofd int fd = file_open_directory(path, err);
	if (fd < 0)
		return -1;
	if (archive->volume->type == VOLUME_MACHINE)
		return archive_machine_check(fd, err);
	if (fstatat(fd, "rootfs", &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
		return 0;
	return error_set(err, ERROR_INVALID, "Backup holds no \"rootfs\"");
}

static int receive_all(Incoming *in, int fd, Error **err)
{
	const VolumeArchive *archive = in->archive;
	UnpackOptions options = archive_unpack_options(archive);
	g_autofree char *path = NULL;
	options.limit = volume_stream_limit(options.limit);
	if (await_plain(in, err) < 0 || unpacker_open(fd, &options, &in->unpacker, err) < 0)
		return -1;
	int result = take_all(in, err);
	unpacker_close(in->unpacker);
	return result < 0 ||
		volume_begin_received(
		    archive->pool, archive->volume, in->streams, in->config, &path, err) < 0 ||
		check_received(archive, path, err) < 0 ?
	    -1 :
	    0;
}

int archive_unpack_streams(const VolumeArchive *archive, int fd, const Config *config, Error **err)
{
	if (volume_begin_streams(archive->pool, archive->volume, err) < 0)
		return -1;
	Incoming in = { .archive = archive,
		.config = config,
		.waiting = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL) };
	int result = receive_all(&in, fd, err);
	g_hash_table_unref(in.waiting);
	g_clear_pointer(&in.streams, g_ptr_array_unref);
	if (result < 0)
		volume_abandon(archive->pool, archive->volume);
	return result;
}
