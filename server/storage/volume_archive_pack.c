/* Volumes into archives. */
#include "sdk/base/fault.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "server/storage/pool_private.h"
#include "server/storage/snapshot.h"
#include "server/storage/volume_archive_private.h"
#include "server/storage/volume_block.h"
#include "server/storage/volume_build.h"
#include <errno.h>
#include <fcntl.h>

static int pack_disk(const VolumeArchive *archive, Pack *sink, const char *path, const char *prefix,
    Error **err)
{
	g_autofree char *name = g_strconcat(prefix, ".img", NULL);
	autofd int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	int64_t bytes;
	if (fd < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot open \"%s\"", path);
	return volume_block_length(archive->pool, archive->volume, path, &bytes, err) < 0 ?
	    -1 :
	    pack_file(sink, name, fd, bytes, err);
}

static int pack_directory(Pack *sink, const char *path, const char *prefix, Error **err)
{
	autofd int fd = file_open_directory(path, err);
	return fd < 0 ? -1 : pack_tree(sink, prefix, fd, err);
}

/* What a (mounted) volume or snapshot holds. */
static int pack_content(const VolumeArchive *archive, Pack *sink, const Volume *volume,
    VolumePlace place, const char *prefix, Error **err)
{
	gboolean disk = archive->volume->content != CONTENT_FILESYSTEM;
	if (fault_point("backup tree", err) < 0)
		return -1;
	if (!disk || archive->volume->type == VOLUME_MACHINE) {
		g_autofree char *tree = volume_path(archive->pool, volume, place);
		pack_without(sink, disk ? "root.img" : NULL);
		if (pack_directory(sink, tree, prefix, err) < 0)
			return -1;
	}
	g_autofree char *path = disk ? volume_block_path(archive->pool, volume, place) : NULL;
	return disk ? pack_disk(archive, sink, path, prefix, err) : 0;
}

static int pack_snapshot(const VolumeArchive *archive, Pack *sink, guint n, Error **err)
{
	const char *name = ((SnapshotRow *)archive->snapshots->pdata[n])->name;
	g_autoptr(Volume) snapshot = volume_snapshot(archive->pool, archive->volume, name);
	g_autofree char *prefix = g_strdup_printf("%s/%s", archive->names->snapshots, name);
	snapshot->content = archive->volume->content;
	if (snapshot_mount(archive->pool, archive->volume, name, NULL, err) < 0)
		return -1;
	pack_owners(sink, archive->snapshot_owners ? archive->snapshot_owners->pdata[n] : NULL);
	int result = pack_content(archive, sink, snapshot, PLACE_OWN, prefix, err);
	return snapshot_unmount(archive->pool, archive->volume, name, result == 0 ? err : NULL) <
		0 ?
	    -1 :
	    result;
}

/* No user's volume can be called so; what a crash leaves goes at the next start. */
static int begin_clone(const VolumeArchive *archive, Volume **ret_clone, Error **err)
{
	const Volume *volume = archive->volume;
	g_autofree char *name = g_strconcat(volume->name, "~backup", NULL);
	g_autofree char *path = NULL;
	g_autoptr(Config) config = NULL;
	g_autoptr(Volume) clone = volume_new(archive->pool, volume->type, volume->project, name);
	g_autoptr(VolumeLock) lock = volume_lock(archive->pool->locks, volume->path, TRUE);
	clone->content = volume->content;
	if (volume_row_find(archive->pool, volume, NULL, &config, err) < 0 ||
	    volume_begin_clone(
		archive->pool, volume, clone, config, archive->op, &path, err) < 0)
		return -1;
	*ret_clone = g_steal_pointer(&clone);
	return 0;
}

static int pack_clone(const VolumeArchive *archive, Pack *sink, Error **err)
{
	g_autoptr(Volume) clone = NULL;
	if (begin_clone(archive, &clone, err) < 0)
		return -1;
	int result = pack_content(
	    archive, sink, clone, PLACE_UNFINISHED, archive->names->volume, err);
	volume_abandon(archive->pool, clone);
	return result;
}

static int pack_mounted(const VolumeArchive *archive, Pack *sink, Error **err)
{
	if (volume_mount(archive->pool, archive->volume, err) < 0)
		return -1;
	int result = pack_content(
	    archive, sink, archive->volume, PLACE_OWN, archive->names->volume, err);
	return volume_unmount(archive->pool, archive->volume, result == 0 ? err : NULL) < 0 ?
	    -1 :
	    result;
}

int volume_archive_pack(const VolumeArchive *archive, Pack *sink, Error **err)
{
	if (archive->optimized)
		return archive_pack_streams(archive, sink, err);
	for (guint i = 0; i < archive->snapshots->len; i++)
		if (pack_snapshot(archive, sink, i, err) < 0)
			return -1;
	pack_owners(sink, archive->owners);
	if (archive->used && pool_snapshots_at_once(archive->pool))
		return pack_clone(archive, sink, err);
	pack_set_live(sink, archive->used);
	return pack_mounted(archive, sink, err);
}
