#include "server/storage/image_volume.h"
#include "sdk/base/file.h"
#include "sdk/base/log.h"
#include "sdk/base/own.h"
#include "server/operation/operation.h"
#include "server/storage/disk_image.h"
#include "server/storage/pool_private.h"
#include "server/storage/store.h"
#include "server/storage/unpack.h"
#include "server/storage/volume_block.h"
#include "server/storage/volume_build.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int unpack_unified(const char *file, int target, const UnpackOptions *options, Error **err)
{
	autofd int fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ?
		    error_set(err, ERROR_NOT_FOUND, "Image file \"%s\" is missing", file) :
		    error_errno(
			err, ERROR_INTERNAL, errno, "Cannot read the image file \"%s\"", file);
	return unpack_archive(fd, target, options, err);
}

/* An unpacked image has these, each really of its kind: nothing later follows a link out of it. */
static int check_layout(Pool *pool, const Volume *volume, int target, Error **err)
{
	gboolean machine = volume_has_disk(volume);
	const struct {
		const char *name;
		mode_t type;
		gboolean required;
	} parts[] = { { "metadata.yaml", S_IFREG, TRUE }, { "rootfs", S_IFDIR, !machine },
		{ "root.img", S_IFREG, machine && !volume_has_device(pool, volume) }, { "templates", S_IFDIR, FALSE } };
	for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
		struct stat st;
		if (fstatat(target, parts[i].name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
			if (errno != ENOENT)
				return error_errno(
				    err, ERROR_INTERNAL, errno, "Cannot read the unpacked image");
			if (parts[i].required)
				return error_set(
				    err, ERROR_INVALID, "The image has no \"%s\"", parts[i].name);
			continue;
		}
		if ((st.st_mode & S_IFMT) != parts[i].type)
			return error_set(err, ERROR_INVALID, "\"%s\" of the image is not a %s",
			    parts[i].name, parts[i].type == S_IFDIR ? "directory" : "regular file");
	}
	return 0;
}

/* ---- disks ---- */

static gboolean cancelled(void *op)
{
	return op && operation_cancelled(op);
}

/* What a unified image holds as rootfs.img. */
static int extract_disk(const char *file, int disk, const UnpackOptions *options, Error **err)
{
	g_autoptr(Unpacker) unpacker = NULL;
	UnpackOptions all = *options;
	const char *path;
	int more;
	all.shape = UNPACK_TREE;
	autofd int archive = open(file, O_RDONLY | O_CLOEXEC);
	if (archive < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot read the image file \"%s\"", file);
	if (unpacker_open(archive, &all, &unpacker, err) < 0)
		return -1;
	while ((more = unpacker_next(unpacker, &path, err)) > 0)
		if (strcmp(path, "rootfs.img") == 0)
			return unpacker_content(unpacker, disk, err);
	return more < 0 ? -1 :
			  error_set(err, ERROR_INVALID, "The image has no \"rootfs.img\"");
}

/* An image as the server keeps it. */
typedef struct ImageFiles {
	Daemon *daemon;
	char *file, *rootfs;
	gboolean split; /* the second one is there */
	UnpackOptions options;
	char *disk; /* of a unified one: taken out, for as long as this is */
} ImageFiles;

static void image_files_clear(ImageFiles *files)
{
	if (files->disk) {
		unlink(files->disk);
		store_release(files->daemon, STORE_IMAGES);
	}
	g_free(files->disk);
	g_free(files->file);
	g_free(files->rootfs);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ImageFiles, image_files_clear)

static ImageFiles image_files(
    Pool *pool, const char *fingerprint, const Volume *volume, Operation *op)
{
	ImageFiles files = { .daemon = pool->daemon,
		.file = g_build_filename(pool->daemon->dir, "images", fingerprint, NULL) };
	files.rootfs = g_strconcat(files.file, ".rootfs", NULL);
	files.split = access(files.rootfs, F_OK) == 0;
	files.options = (UnpackOptions){ .shape = files.split || volume_has_disk(volume) ?
		    UNPACK_METADATA :
		    UNPACK_IMAGE,
		.op = op,
		.stage = "create_instance_from_image_unpack",
		.what = "Unpacking image" };
	return files;
}

/* A name that the next start clears away (image_start), for incus-disk wants one. */
static int take_disk_out(ImageFiles *files, Error **err)
{
	g_autofree char *path = g_build_filename(files->daemon->dir, "images", "import-XXXXXX", NULL);
	if (store_hold(files->daemon, STORE_IMAGES, err) < 0)
		return -1;
	autofd int fd = g_mkstemp_full(path, O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0) {
		store_release(files->daemon, STORE_IMAGES);
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot create \"%s\"", path);
	}
	files->disk = g_steal_pointer(&path);
	return extract_disk(files->file, fd, &files->options, err) < 0 ? -1 : own_steal_fd(&fd);
}

/* The disk's image, open, or -1. */
static int open_disk(ImageFiles *files, Error **err)
{
	if (!files->split)
		return take_disk_out(files, err);
	int fd = open(files->rootfs, O_RDONLY | O_CLOEXEC);
	return fd >= 0 ?
	    fd :
	    error_errno(err, ERROR_INTERNAL, errno, "Cannot read \"%s\"", files->rootfs);
}

/* `disk`: its image (-1 of a container). */
static int unpack_image(
    Pool *pool, const ImageFiles *files, const Volume *volume, int target, int disk, Error **err)
{
	UnpackOptions options = files->options;
	if (unpack_unified(files->file, target, &options, err) < 0)
		return -1;
	if (disk >= 0) {
		g_autofree char *path = volume_block_path(pool, volume, PLACE_UNFINISHED);
		if (disk_image_write(disk, path, cancelled, options.op, err) < 0)
			return -1;
	} else if (files->split) {
		if (file_mkdir_beneath(target, "rootfs", 0755, FALSE, err) < 0)
			return -1;
		autofd int root = file_open_beneath(
		    target, "rootfs", O_RDONLY | O_DIRECTORY, 0, FILE_LINKS_NONE, err);
		options.shape = UNPACK_TREE;
		if (root < 0 || unpack_rootfs(files->rootfs, root, &options, err) < 0)
			return -1;
	}
	if (check_layout(pool, volume, target, err) < 0)
		return -1;
	return file_mkdir_beneath(target, "templates", 0755, FALSE, err);
}

/* A device is made as large as it is to be, and has room for the image; the image's own no larger,
 * for what is cloned from it cannot be smaller. */
static int device_config(
    const Volume *volume, const Config *config, int disk, Config **ret_config, Error **err)
{
	DiskImage image = { 0 };
	int64_t wanted = 0;
	if (disk_image_check(disk, &image, err) < 0 ||
	    (volume->type != VOLUME_IMAGE && volume_block_wanted(config, &wanted, err) < 0))
		return -1;
	g_autofree char *size = g_strdup_printf("%" PRId64, MAX(image.size, wanted));
	*ret_config = config ? config_copy(config) : config_new();
	config_set(*ret_config, "size", size);
	return 0;
}

static int begin_unpacked(Pool *pool, const char *fingerprint, const Volume *volume,
    const Config *config, Operation *op, Error **err)
{
	g_autofree char *path = NULL;
	g_autoptr(Config) sized = NULL;
	g_auto(ImageFiles) files = image_files(pool, fingerprint, volume, op);
	autofd int disk = volume_has_disk(volume) ? open_disk(&files, err) : -1;
	if (volume_has_disk(volume) && disk < 0)
		return -1;
	if ((volume_has_device(pool, volume) &&
		device_config(volume, config, disk, &sized, err) < 0) ||
	    volume_begin(pool, volume, sized ? sized : config, &path, err) < 0)
		return -1;
	autofd int target = file_open_directory(path, err);
	int result = target < 0 ? -1 : unpack_image(pool, &files, volume, target, disk, err);
	own_close_fd(&target); /* the volume may have to be unmounted */
	if (result < 0)
		volume_abandon(pool, volume);
	return result;
}

static int create_unpacked(Pool *pool, const Volume *image, Operation *op, Error **err)
{
	g_autoptr(Config) config = volume_effective_config(pool, NULL);
	if (begin_unpacked(pool, image->name, image, config, op, err) < 0)
		return -1;
	return volume_finish(pool, image, "", config, err);
}

/* A clone has the file system of what it is cloned from. */
static int is_like(
    Pool *pool, const Volume *image, const Config *config, gboolean *ret_like, Error **err)
{
	static const char *const keys[] = { "block.filesystem", "zfs.block_mode", "zfs.blocksize" };
	g_autoptr(Config) own = NULL;
	if (volume_row_find(pool, image, NULL, &own, err) < 0)
		return -1;
	*ret_like = TRUE;
	for (size_t i = 0; i < G_N_ELEMENTS(keys); i++)
		if (g_strcmp0(config_get(own, keys[i]), config_get(config, keys[i])) != 0)
			*ret_like = FALSE;
	return 0;
}

/* TRUE when the unpacked image is there: row and tree. */
static int present(Pool *pool, const Volume *image, gboolean *ret_present, Error **err)
{
	Error *inner = NULL;
	if (volume_row_find(pool, image, NULL, NULL, &inner) < 0) {
		if (inner->kind != ERROR_NOT_FOUND)
			return error_propagate(err, inner);
		error_free(inner);
		*ret_present = FALSE;
		return 0;
	}
	*ret_present = volume_exists(pool, image, PLACE_OWN);
	/* A row whose tree somebody removed: begin again. */
	return *ret_present ? 0 : volume_row_delete(pool, image, err);
}

/* The image's lock: shared when the image is unpacked, exclusive when it is not. */
static int lock_image(
    Pool *pool, const Volume *image, gboolean *ret_there, VolumeLock **ret_lock, Error **err)
{
	g_autoptr(VolumeLock) lock = volume_lock(pool->locks, image->path, TRUE);
	if (present(pool, image, ret_there, err) < 0)
		return -1;
	if (!*ret_there) {
		volume_unlock(lock);
		lock = volume_lock(pool->locks, image->path, FALSE);
		if (present(pool, image, ret_there, err) < 0)
			return -1;
		if (*ret_there)
			volume_lock_share(lock);
	}
	*ret_lock = g_steal_pointer(&lock);
	return 0;
}

/* Gives the image's lock, shared, with the image unpacked. */
static int ensure(
    Pool *pool, const Volume *image, Operation *op, VolumeLock **ret_lock, Error **err)
{
	gboolean there;
	g_autoptr(VolumeLock) lock = NULL;
	if (lock_image(pool, image, &there, &lock, err) < 0)
		return -1;
	if (!there) {
		if (create_unpacked(pool, image, op, err) < 0)
			return -1;
		volume_lock_share(lock);
	}
	*ret_lock = g_steal_pointer(&lock);
	return 0;
}

/* The image as the volume, which nobody uses yet, has it just now. */
static int keep(Pool *pool, const Volume *image, const Volume *volume, Operation *op, Error **err)
{
	g_autoptr(Config) config = volume_effective_config(pool, NULL);
	g_autofree char *from = volume_path(pool, volume, PLACE_UNFINISHED), *path = NULL;
	if (volume_begin(pool, image, config, &path, err) < 0)
		return -1;
	if (volume_copy_tree(from, path, op, err) < 0) {
		volume_abandon(pool, image);
		return -1;
	}
	return volume_finish(pool, image, "", config, err);
}

/* TRUE the second time. */
static gboolean asked_before(Pool *pool, const char *fingerprint)
{
	g_mutex_lock(&pool->lock);
	gboolean first = g_hash_table_add(pool->passed_on, g_strdup(fingerprint));
	g_mutex_unlock(&pool->lock);
	return !first;
}

/* Where cloning is copying, the first volume from an image gets what is unpacked, or each file
 * would be written twice for an image that may never be asked for again. When it is, or when
 * somebody waits for it already, the pool keeps it. *ret_lock is as from ensure() where the image
 * is kept already, NULL where the volume is made. */
static int unpack_or_lock(Pool *pool, const Volume *image, const Volume *volume,
    const Config *config, Operation *op, VolumeLock **ret_lock, Error **err)
{
	gboolean there;
	g_autoptr(VolumeLock) lock = NULL;
	if (lock_image(pool, image, &there, &lock, err) < 0)
		return -1;
	if (there) {
		*ret_lock = g_steal_pointer(&lock);
		return 0;
	}
	if (begin_unpacked(pool, image->name, volume, config, op, err) < 0)
		return -1;
	if (!asked_before(pool, image->name) && !volume_lock_awaited(lock))
		return 0;
	if (keep(pool, image, volume, op, err) == 0)
		return 0;
	volume_abandon(pool, volume);
	return -1;
}

/* The disk gets the size it is to have; the volume goes when it cannot. */
static int fit_disk(Pool *pool, const Volume *volume, const Config *config, Error **err)
{
	if (volume->content != CONTENT_BLOCK || volume_block_fit(pool, volume, config, err) == 0)
		return 0;
	volume_abandon(pool, volume);
	return -1;
}

int image_volume_clone(Pool *pool, const char *fingerprint, const Volume *volume,
    const Config *config, Operation *op, Error **err)
{
	g_autofree char *path = NULL;
	gboolean like;
	g_autoptr(Volume) image = volume_new(pool, VOLUME_IMAGE, "default", fingerprint);
	g_autoptr(VolumeLock) lock = NULL;
	image->content = volume->content;
	int result = pool->driver->volume_clone ?
	    ensure(pool, image, op, &lock, err) :
	    unpack_or_lock(pool, image, volume, config, op, &lock, err);
	if (result < 0)
		return error_prefix(err, "Cannot unpack image \"%.12s\"", fingerprint);
	if (!lock)
		return fit_disk(pool, volume, config, err);
	if (is_like(pool, image, config, &like, err) < 0)
		return -1;
	if ((like ? volume_begin_clone(pool, image, volume, config, op, &path, err) :
		    begin_unpacked(pool, fingerprint, volume, config, op, err)) < 0)
		return -1;
	return fit_disk(pool, volume, config, err);
}

int image_volume_delete(Pool *pool, const char *fingerprint, Error **err)
{
	g_autoptr(Volume) image = volume_new(pool, VOLUME_IMAGE, "default", fingerprint);
	g_autoptr(VolumeLock) lock = volume_lock(pool->locks, image->path, FALSE);
	g_mutex_lock(&pool->lock);
	g_hash_table_remove(pool->passed_on, fingerprint);
	g_mutex_unlock(&pool->lock);
	volume_load(pool, image, NULL, NULL, NULL); /* whether there is a disk */
	return volume_remove(pool, image, err);
}

int pool_image_delete(Daemon *d, const char *fingerprint, Error **err)
{
	g_autoptr(GPtrArray) pools = pool_list(d);
	for (guint i = 0; i < pools->len; i++) {
		Pool *pool = pools->pdata[i];
		if (pool->driver && image_volume_delete(pool, fingerprint, err) < 0)
			return -1;
	}
	return 0;
}

static int follow(Pool *pool, const char *old, const char *newer, Operation *op, Error **err)
{
	g_autoptr(Volume) before = volume_new(pool, VOLUME_IMAGE, "default", old);
	g_autoptr(Volume) image = volume_new(pool, VOLUME_IMAGE, "default", newer);
	g_autoptr(VolumeLock) lock = NULL;
	g_autoptr(Error) error = NULL;
	if (volume_load(pool, before, NULL, NULL, &error) == 0) {
		image->content = before->content;
		return ensure(pool, image, op, &lock, err);
	}
	return error->kind == ERROR_NOT_FOUND ? 0 : error_propagate(err, g_steal_pointer(&error));
}

void pool_image_follow(Daemon *d, const char *old, const char *newer, Operation *op)
{
	g_autoptr(GPtrArray) pools = pool_list(d);
	for (guint i = 0; i < pools->len; i++) {
		Pool *pool = pools->pdata[i];
		g_autoptr(Error) error = NULL;
		if (pool->driver && follow(pool, old, newer, op, &error) < 0)
			log_warn("Refreshed image is not unpacked", "pool", pool->name, "image",
			    newer, "err", error->message);
	}
}
