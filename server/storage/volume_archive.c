#include "server/storage/volume_archive.h"
#include "sdk/base/fault.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "server/storage/pack.h"
#include "server/storage/pool_private.h"
#include "server/storage/snapshot.h"
#include "server/storage/unpack.h"
#include "server/storage/volume_build.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* ---- packing ---- */

static int pack_path(Pack *sink, const char *path, const char *prefix, Error **err)
{
	autofd int fd = file_open_directory(path, err);
	return fd < 0 || fault_point("backup tree", err) < 0 ? -1 :
							       pack_tree(sink, prefix, fd, err);
}

static int pack_snapshot(const VolumeArchive *archive, Pack *sink, guint n, Error **err)
{
	const char *name = ((SnapshotRow *)archive->snapshots->pdata[n])->name;
	g_autofree char *path = NULL;
	g_autofree char *prefix = g_strdup_printf("%s/%s", archive->snapshots_prefix, name);
	if (snapshot_mount(archive->pool, archive->volume, name, &path, err) < 0)
		return -1;
	pack_owners(sink, archive->snapshot_owners ? archive->snapshot_owners->pdata[n] : NULL);
	int result = pack_path(sink, path, prefix, err);
	return snapshot_unmount(archive->pool, archive->volume, name, result == 0 ? err : NULL) <
		0 ?
	    -1 :
	    result;
}

int volume_archive_pack(const VolumeArchive *archive, Pack *sink, Error **err)
{
	for (guint i = 0; i < archive->snapshots->len; i++)
		if (pack_snapshot(archive, sink, i, err) < 0)
			return -1;
	if (volume_mount(archive->pool, archive->volume, err) < 0)
		return -1;
	pack_owners(sink, archive->owners);
	int result = pack_path(sink, archive->volume->path, archive->prefix, err);
	return volume_unmount(archive->pool, archive->volume, result == 0 ? err : NULL) < 0 ?
	    -1 :
	    result;
}

/* ---- unpacking ---- */

enum { NOWHERE = -1 };

/* Trees are numbered as their snapshots are; the volume itself comes after the last. */
typedef struct Restore {
	const VolumeArchive *archive;
	Unpacker *unpacker;
	const char *path;   /* of the volume that is being made */
	int current, fd;    /* the tree that entries go to, NOWHERE */
	gboolean *seen;
} Restore;

static const SnapshotRow *snapshot_at(const VolumeArchive *archive, int tree)
{
	return tree < (int)archive->snapshots->len ? archive->snapshots->pdata[tree] : NULL;
}

static char *tree_prefix(const VolumeArchive *archive, int tree)
{
	const SnapshotRow *row = snapshot_at(archive, tree);
	return row ? g_strdup_printf("%s/%s", archive->snapshots_prefix, row->name) :
		     g_strdup(archive->prefix);
}

static gboolean below(const char *path, const char *prefix)
{
	size_t n = strlen(prefix);
	return strncmp(path, prefix, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

/* The tree that a name belongs to; NOWHERE: it is none of ours. */
static int tree_of(const Restore *r, const char *path)
{
	const VolumeArchive *archive = r->archive;
	if (below(path, archive->prefix))
		return (int)archive->snapshots->len;
	if (!below(path, archive->snapshots_prefix) ||
	    path[strlen(archive->snapshots_prefix)] == '\0')
		return NOWHERE;
	const char *name = path + strlen(archive->snapshots_prefix) + 1;
	size_t n = strcspn(name, "/");
	for (guint i = 0; i < archive->snapshots->len; i++) {
		const char *own = ((SnapshotRow *)archive->snapshots->pdata[i])->name;
		if (strlen(own) == n && memcmp(own, name, n) == 0)
			return (int)i;
	}
	return NOWHERE;
}

/* Drivers that make snapshots make them of what the volume holds at the time. */
static gboolean takes_snapshots(const Restore *r)
{
	return r->archive->pool->driver->snapshot_create != NULL;
}

static int empty_directory(int fd, Error **err)
{
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = copy < 0 ? NULL : fdopendir(copy);
	if (!directory)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot read the new volume");
	int result = 0;
	struct dirent *item;
	while (result == 0 && (item = readdir(directory)))
		if (strcmp(item->d_name, ".") != 0 && strcmp(item->d_name, "..") != 0)
			result = file_remove_all(fd, item->d_name, err);
	closedir(directory);
	return result;
}

static int check_root(const Restore *r, Error **err)
{
	struct stat st;
	if (!r->archive->root ||
	    (fstatat(r->fd, "rootfs", &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode)))
		return 0;
	g_autofree char *prefix = tree_prefix(r->archive, r->current);
	return error_set(err, ERROR_INVALID, "Backup holds no \"%s/rootfs\"", prefix);
}

static int leave_tree(Restore *r, Error **err)
{
	if (r->current == NOWHERE)
		return 0;
	unpacker_leave(r->unpacker);
	const SnapshotRow *row = snapshot_at(r->archive, r->current);
	int result = check_root(r, err);
	if (result == 0 && row && takes_snapshots(r)) {
		result = snapshot_begin(r->archive->pool, r->archive->volume, row->name, err);
		if (result == 0)
			result = empty_directory(r->fd, err);
	}
	own_close_fd(&r->fd);
	r->fd = -1;
	r->current = NOWHERE;
	return result;
}

static int open_tree(Restore *r, int tree, Error **err)
{
	const SnapshotRow *row = snapshot_at(r->archive, tree);
	if (!row || takes_snapshots(r))
		return file_open_directory(r->path, err);
	g_autoptr(Volume) snapshot = volume_snapshot(
	    r->archive->pool, r->archive->volume, row->name);
	g_autofree char *path = volume_path(r->archive->pool, snapshot, PLACE_UNFINISHED);
	return file_mkdir_all(path, 0700, err) < 0 ? -1 : file_open_directory(path, err);
}

static int enter_tree(Restore *r, int tree, Error **err)
{
	g_autofree char *prefix = tree_prefix(r->archive, tree);
	if (leave_tree(r, err) < 0)
		return -1;
	if (r->seen[tree] || r->seen[r->archive->snapshots->len])
		return error_set(err, ERROR_INVALID,
		    "Backup has \"%s\" twice, or a snapshot behind the volume", prefix);
	if (fault_point("restore tree", err) < 0)
		return -1;
	r->fd = open_tree(r, tree, err);
	if (r->fd < 0)
		return -1;
	r->seen[tree] = TRUE;
	r->current = tree;
	unpacker_enter(r->unpacker, r->fd, prefix);
	return 0;
}

static int unpack_trees(Restore *r, Error **err)
{
	const char *path;
	int more;
	while ((more = unpacker_next(r->unpacker, &path, err)) > 0) {
		int tree = tree_of(r, path);
		if (tree == NOWHERE)
			continue;
		if ((tree != r->current && enter_tree(r, tree, err) < 0) ||
		    unpacker_entry(r->unpacker, err) < 0)
			return -1;
	}
	if (more < 0 || leave_tree(r, err) < 0)
		return -1;
	for (int tree = 0; tree <= (int)r->archive->snapshots->len; tree++) {
		g_autofree char *prefix = tree_prefix(r->archive, tree);
		if (!r->seen[tree])
			return error_set(err, ERROR_INVALID, "Backup holds no \"%s\"", prefix);
	}
	return 0;
}

static int unpack_into(const VolumeArchive *archive, int fd, const char *path, Error **err)
{
	g_autofree gboolean *seen = g_new0(gboolean, archive->snapshots->len + 1);
	UnpackOptions options = { .shape = archive->root ? UNPACK_IMAGE : UNPACK_TREE,
		.limit = archive->limit,
		.op = archive->op,
		.stage = "restore_backup",
		.what = "Unpacking backup" };
	Restore r = {
		.archive = archive, .path = path, .current = NOWHERE, .fd = -1, .seen = seen
	};
	if (unpacker_open(fd, &options, &r.unpacker, err) < 0)
		return -1;
	int result = unpack_trees(&r, err);
	unpacker_close(r.unpacker);
	own_close_fd(&r.fd);
	return result;
}

static int insert_rows(const VolumeArchive *archive, Error **err)
{
	for (guint i = 0; i < archive->snapshots->len; i++)
		if (fault_point("restore rows", err) < 0 ||
		    snapshot_row_insert(
			archive->pool, archive->volume, archive->snapshots->pdata[i], err) < 0)
			return -1;
	return 0;
}

int volume_archive_unpack(const VolumeArchive *archive, int fd, Error **err)
{
	Pool *pool = archive->pool;
	g_autoptr(Config) config = volume_effective_config(pool, archive->config);
	g_autoptr(VolumeLock) lock = volume_lock(pool->locks, archive->volume->path, FALSE);
	g_autofree char *path = NULL;
	if (!pool->driver || strcmp(pool->status, "Created") != 0)
		return error_set(
		    err, ERROR_UNAVAILABLE, "Storage pool \"%s\" is not available", pool->name);
	if (volume_exists(pool, archive->volume, PLACE_OWN))
		return error_set(err, ERROR_EXISTS,
		    "Storage volume \"%s\" already exists on storage pool \"%s\"",
		    archive->volume->name, pool->name);
	if (volume_begin(pool, archive->volume, config, &path, err) < 0)
		return -1;
	if (unpack_into(archive, fd, path, err) < 0) {
		volume_abandon(pool, archive->volume);
		return -1;
	}
	if (volume_finish(pool, archive->volume, archive->description ? archive->description : "",
		config, err) < 0)
		return -1;
	if (insert_rows(archive, err) == 0)
		return 0;
	volume_remove(pool, archive->volume, NULL);
	return -1;
}
