#include "server/storage/volume_archive_private.h"
#include "sdk/base/fault.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "server/storage/pool_private.h"
#include "server/storage/snapshot.h"
#include "server/storage/store.h"
#include "server/storage/volume_block.h"
#include "server/storage/volume_build.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const VolumeArchiveNames volume_archive_container = {
	.volume = "backup/container", .snapshots = "backup/snapshots", .root = TRUE
};
const VolumeArchiveNames volume_archive_machine = { .volume = "backup/virtual-machine",
	.snapshots = "backup/virtual-machine-snapshots",
	.root = TRUE };
const VolumeArchiveNames volume_archive_custom = { .volume = "backup/volume",
	.snapshots = "backup/volume-snapshots" };

enum { NOWHERE = -1 };

/* Trees are numbered as their snapshots are; the volume itself comes after the last. */
typedef struct Restore {
	const VolumeArchive *archive;
	Unpacker *unpacker;
	const char *path;      /* of the volume that is being made */
	gboolean trees, disks; /* what there is of each volume */
	int current, fd;       /* the tree that entries go to, NOWHERE */
	gboolean has_disk;     /* that tree, by now */
	gboolean *seen;
} Restore;

#define DISK_ENDING ".img"

static const SnapshotRow *snapshot_at(const VolumeArchive *archive, int tree)
{
	return tree < (int)archive->snapshots->len ? archive->snapshots->pdata[tree] : NULL;
}

static char *tree_prefix(const VolumeArchive *archive, int tree)
{
	const SnapshotRow *row = snapshot_at(archive, tree);
	return row ? g_strdup_printf("%s/%s", archive->names->snapshots, row->name) :
		     g_strdup(archive->names->volume);
}

/* Whether the name is that of the tree or of something in it; or that of the disk's image. Of
 * snapshots "a" and "a.img" a file is a disk, and a directory a tree. */
static gboolean belongs(const Restore *r, const char *path, const char *prefix, size_t length)
{
	if (strncmp(path, prefix, length) != 0)
		return FALSE;
	const char *rest = path + length;
	gboolean file = r->disks && unpacker_at_file(r->unpacker);
	if (strcmp(rest, DISK_ENDING) == 0)
		return r->disks && (file || !r->trees);
	return r->trees && (*rest == '/' || (*rest == '\0' && !file));
}

static gboolean is_disk(const Restore *r, int tree, const char *path)
{
	g_autofree char *prefix = tree_prefix(r->archive, tree);
	return r->disks && strcmp(path + strlen(prefix), DISK_ENDING) == 0;
}

/* The tree that a name belongs to; NOWHERE: it is none of ours. */
static int tree_of(const Restore *r, const char *path)
{
	const VolumeArchive *archive = r->archive;
	size_t n = strlen(archive->names->snapshots);
	if (belongs(r, path, archive->names->volume, strlen(archive->names->volume)))
		return (int)archive->snapshots->len;
	if (strncmp(path, archive->names->snapshots, n) != 0 || path[n] != '/')
		return NOWHERE;
	for (guint i = 0; i < archive->snapshots->len; i++) {
		const char *own = ((SnapshotRow *)archive->snapshots->pdata[i])->name;
		if (belongs(r, path + n + 1, own, strlen(own)))
			return (int)i;
	}
	return NOWHERE;
}

/* Drivers that make snapshots make them of what the volume holds at the time. */
static gboolean takes_snapshots(const Restore *r)
{
	return r->archive->pool->driver->snapshot_create != NULL;
}

/* Of all but the disk, which the next snapshot's has most of. */
static int empty_directory(int fd, Error **err)
{
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = copy < 0 ? NULL : fdopendir(copy);
	if (!directory)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot read the new volume");
	int result = 0;
	struct dirent *item;
	while (result == 0 && (item = readdir(directory)))
		if (strcmp(item->d_name, ".") != 0 && strcmp(item->d_name, "..") != 0 &&
		    strcmp(item->d_name, "root.img") != 0)
			result = file_remove_all(fd, item->d_name, err);
	closedir(directory);
	return result;
}

static int check_root(const Restore *r, Error **err)
{
	struct stat st;
	g_autofree char *prefix = tree_prefix(r->archive, r->current);
	if (r->disks)
		return r->has_disk ?
		    archive_machine_settle(r->fd, err) :
		    error_set(err, ERROR_INVALID, "Backup holds no \"%s" DISK_ENDING "\"", prefix);
	if (!r->archive->names->root ||
	    (fstatat(r->fd, "rootfs", &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode)))
		return 0;
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

static int note_tree(Restore *r, int tree, const char *prefix, Error **err)
{
	if (r->seen[tree] || r->seen[r->archive->snapshots->len])
		return error_set(err, ERROR_INVALID,
		    "Backup has \"%s\" twice, or a snapshot behind the volume", prefix);
	r->seen[tree] = TRUE;
	return fault_point("restore tree", err);
}

static int enter_tree(Restore *r, int tree, Error **err)
{
	g_autofree char *prefix = tree_prefix(r->archive, tree);
	if (leave_tree(r, err) < 0)
		return -1;
	if (note_tree(r, tree, prefix, err) < 0)
		return -1;
	r->fd = open_tree(r, tree, err);
	if (r->fd < 0)
		return -1;
	r->current = tree;
	r->has_disk = FALSE;
	unpacker_enter(r->unpacker, r->fd, prefix);
	return 0;
}

/* The image of a disk goes through a file without a name, so that holes stay holes. */
static int write_disk(Restore *r, int tree, int fd, Error **err)
{
	const VolumeArchive *archive = r->archive;
	const SnapshotRow *row = snapshot_at(archive, tree);
	if (!row || takes_snapshots(r)) {
		g_autofree char *path = volume_block_path(
		    archive->pool, archive->volume, PLACE_UNFINISHED);
		if (volume_block_write(fd, path, err) < 0)
			return -1;
		return row ? snapshot_begin(archive->pool, archive->volume, row->name, err) : 0;
	}
	g_autoptr(Volume) snapshot = volume_snapshot(archive->pool, archive->volume, row->name);
	g_autofree char *directory = volume_path(archive->pool, snapshot, PLACE_UNFINISHED);
	g_autofree char *path = volume_block_file(directory, archive->volume->content);
	return file_mkdir_all(directory, 0700, err) < 0 ? -1 : volume_block_write(fd, path, err);
}

static int take_root_disk(Restore *r, Error **err)
{
	if (r->has_disk)
		return error_set(err, ERROR_INVALID, "Backup has a disk twice");
	r->has_disk = TRUE;
	return archive_machine_disk(r->archive, r->unpacker, r->fd, err);
}

/* Entries that hold a whole disk. */
static int take_file(Restore *r, int tree, Error **err)
{
	g_autofree char *prefix = tree_prefix(r->archive, tree);
	if (note_tree(r, tree, prefix, err) < 0)
		return -1;
	autofd int fd = store_temporary(r->archive->pool->daemon, STORE_BACKUPS, err);
	if (fd < 0 || unpacker_content(r->unpacker, fd, err) < 0 || lseek(fd, 0, SEEK_SET) < 0)
		return -1;
	return write_disk(r, tree, fd, err);
}

static int take_entry(Restore *r, int tree, const char *path, Error **err)
{
	if (!r->trees)
		return take_file(r, tree, err);
	if (tree != r->current && enter_tree(r, tree, err) < 0)
		return -1;
	return is_disk(r, tree, path) ? take_root_disk(r, err) : unpacker_entry(r->unpacker, err);
}

static int unpack_trees(Restore *r, Error **err)
{
	const char *path;
	int more;
	while ((more = unpacker_next(r->unpacker, &path, err)) > 0) {
		int tree = tree_of(r, path);
		if (tree == NOWHERE)
			continue;
		if (take_entry(r, tree, path, err) < 0)
			return -1;
	}
	if (more < 0 || leave_tree(r, err) < 0)
		return -1;
	for (int tree = 0; tree <= (int)r->archive->snapshots->len; tree++) {
		g_autofree char *prefix = tree_prefix(r->archive, tree);
		if (!r->seen[tree])
			return error_set(err, ERROR_INVALID, "Backup holds no \"%s%s\"", prefix,
			    r->trees ? "" : DISK_ENDING);
	}
	return 0;
}

/* A disk that was on a device has as many bytes as the blocks there; LVM's are the largest. */
static uint64_t most_bytes(const VolumeArchive *archive)
{
	enum { EXTENT = 4 << 20 };
	uint64_t bytes = archive->limit;
	return archive->volume->content != CONTENT_BLOCK || bytes > INT64_MAX ?
	    bytes :
	    (bytes + EXTENT - 1) / EXTENT * EXTENT;
}

UnpackOptions archive_unpack_options(const VolumeArchive *archive)
{
	gboolean machine = archive->volume->type == VOLUME_MACHINE;
	return (UnpackOptions){ .shape = machine ? UNPACK_MACHINE :
		    archive->names->root	 ? UNPACK_IMAGE :
						   UNPACK_TREE,
		.limit = most_bytes(archive),
		.op = archive->op,
		.stage = "restore_backup",
		.what = "Unpacking backup" };
}

static int unpack_into(const VolumeArchive *archive, int fd, const char *path, Error **err)
{
	g_autofree gboolean *seen = g_new0(gboolean, archive->snapshots->len + 1);
	UnpackOptions options = archive_unpack_options(archive);
	Restore r = { .archive = archive,
		.path = path,
		.disks = archive->volume->content != CONTENT_FILESYSTEM,
		.trees = archive->volume->content == CONTENT_FILESYSTEM ||
		    archive->volume->type == VOLUME_MACHINE,
		.current = NOWHERE,
		.fd = -1,
		.seen = seen };
	if (unpacker_open(fd, &options, &r.unpacker, err) < 0)
		return -1;
	int result = unpack_trees(&r, err);
	unpacker_close(r.unpacker);
	own_close_fd(&r.fd);
	return result;
}

static int unpack_volume(const VolumeArchive *archive, int fd, const Config *config, Error **err)
{
	g_autofree char *path = NULL;
	if (volume_begin(archive->pool, archive->volume, config, &path, err) < 0)
		return -1;
	if (unpack_into(archive, fd, path, err) == 0)
		return 0;
	volume_abandon(archive->pool, archive->volume);
	return -1;
}

int volume_archive_check(const Pool *pool, const VolumeIndex *index, Error **err)
{
	if (!index->optimized)
		return 0;
	if (strcmp(index->driver, pool->driver_name) != 0)
		return error_set(err, ERROR_UNSUPPORTED,
		    "Backup is in the own format of storage driver \"%s\", and pool \"%s\" is"
		    " \"%s\": export it without --optimized-storage",
		    index->driver, pool->name, pool->driver_name);
	return pool->driver && pool->driver->backup_receive ?
	    0 :
	    error_set(err, ERROR_UNSUPPORTED,
		"Storage driver \"%s\" has no own format of backups", index->driver);
}

int volume_archive_unpack(const VolumeArchive *archive, int fd, Error **err)
{
	Pool *pool = archive->pool;
	g_autoptr(Config) config = volume_effective_config(pool, archive->config);
	g_autoptr(Config) sized = volume_sized_config(config, archive->limit);
	g_autoptr(VolumeLock) lock = volume_lock(pool->locks, archive->volume->path, FALSE);
	if (!pool->driver || strcmp(pool->status, "Created") != 0)
		return error_set(
		    err, ERROR_UNAVAILABLE, "Storage pool \"%s\" is not available", pool->name);
	if (volume_exists(pool, archive->volume, PLACE_OWN))
		return error_set(err, ERROR_EXISTS,
		    "Storage volume \"%s\" already exists on storage pool \"%s\"",
		    archive->volume->name, pool->name);
	if ((archive->optimized ? archive_unpack_streams(archive, fd, sized, err) :
				  unpack_volume(archive, fd, sized, err)) < 0)
		return -1;
	VolumeRows rows = { archive->snapshots, archive->also, archive->also_data };
	return volume_finish_rows(pool, archive->volume,
	    archive->description ? archive->description : "", config, &rows, err);
}
