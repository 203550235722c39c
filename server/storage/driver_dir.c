#include "server/storage/driver.h"
#include "sdk/base/file.h"
#include "sdk/base/names.h"
#include "sdk/base/own.h"
#include "server/storage/filesystem.h"
#include "server/storage/spread.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* The plainest driver: a volume is a directory of any file system. With `source=` the pool is a
 * bind mount of that directory. Cloning reflinks where the file system can (xfs, btrfs), else
 * copies. */

static int dir_probe(char **ret_version, Error **err)
{
	*ret_version = g_strdup("1");
	return 0;
}

static gboolean has_foreign_source(const DriverPool *pool)
{
	const char *source = config_get(pool->config, "source");
	return source && strcmp(source, pool->path) != 0;
}

static int source_check_empty(const char *source, Error **err)
{
	autodir DIR *dir = opendir(source);
	if (!dir)
		return error_set(err, ERROR_INVALID, "Source path \"%s\" cannot be opened: %s",
		    source, strerror(errno));
	for (struct dirent *d; (d = readdir(dir));)
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
			return error_set(
			    err, ERROR_INVALID, "Source path \"%s\" isn't empty", source);
	return 0;
}

static int dir_pool_prepare(DriverPool *pool, Error **err)
{
	const char *source = config_get(pool->config, "source");
	if (!has_foreign_source(pool)) { /* made where pools are: naming that place says nothing */
		config_set(pool->config, "source", pool->path);
		return 0;
	}
	struct stat st;
	if (name_check_absolute_path(source, err) < 0)
		return error_prefix(err, "Invalid value for \"source\"");
	if (stat(source, &st) < 0 || !S_ISDIR(st.st_mode))
		return error_set(err, ERROR_INVALID,
		    "Source path \"%s\" does not exist or is not a directory", source);
	return source_check_empty(source, err);
}

static int dir_pool_mount(DriverPool *pool, Error **err)
{
	return has_foreign_source(pool) ?
	    filesystem_bind(config_get(pool->config, "source"), pool->path, err) :
	    0;
}

static int dir_pool_unmount(DriverPool *pool, Error **err)
{
	return has_foreign_source(pool) ? filesystem_unmount(pool->path, err) : 0;
}

static int dir_pool_delete(DriverPool *pool, Error **err)
{
	/* What is left in a foreign source is the pool's folders; the directory itself is the
	 * user's. */
	autofd int fd = open(pool->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	autodir DIR *dir = fd < 0 ? NULL : fdopendir(dup(fd));
	if (!dir)
		return errno == ENOENT ? 0 :
					 error_errno(err, ERROR_INTERNAL, errno,
					     "Cannot open storage pool \"%s\"", pool->name);
	for (struct dirent *d; (d = readdir(dir));)
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0 &&
		    file_remove_all(fd, d->d_name, err) < 0)
			return -1;
	own_close_fd(&fd);
	fd = -1;
	g_clear_pointer(&dir, closedir); /* it may have to be unmounted */
	return dir_pool_unmount(pool, err);
}

static int dir_volume_create(DriverPool *pool, const DriverVolume *volume, Error **err)
{
	if (spread_mkdir(volume->path, volume->path) < 0)
		return errno == EEXIST ? error_set(err, ERROR_EXISTS,
					     "Volume \"%s\" already exists on storage pool \"%s\"",
					     volume->name, pool->name) :
					 error_errno(err, ERROR_INTERNAL, errno,
					     "Cannot create volume \"%s\"", volume->name);
	/* A custom volume is entered by the container's users. A root volume is entered by nobody
	 * of the host but root, whose set-uid files of the container would otherwise be within
	 * reach. */
	if (chmod(volume->path, volume->type == VOLUME_CUSTOM ? 0711 : 0100) < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot create volume \"%s\"", volume->name);
	return 0;
}

static int dir_volume_delete(DriverPool *pool, const DriverVolume *volume, Error **err)
{
	g_autofree char *snapshots = driver_path(
	    pool->path, volume->type, volume->place, volume->name, "");
	spread_removing(volume->path);
	if (file_remove_all(AT_FDCWD, snapshots, err) < 0 ||
	    file_remove_all(AT_FDCWD, volume->path, err) < 0)
		return error_prefix(err, "Cannot delete volume \"%s\" of storage pool \"%s\"",
		    volume->name, pool->name);
	return 0;
}

/* Plain directories have no counters: walking the tree is what `info` costs here. */
static int dir_volume_usage(DriverPool *pool, const DriverVolume *volume, int64_t *ret_used,
    int64_t *ret_total, Error **err)
{
	autofd int fd = file_open_directory(volume->path, err);
	uint64_t bytes;
	if (fd < 0 || file_usage(fd, &bytes, err) < 0)
		return -1;
	*ret_used = (int64_t)bytes;
	*ret_total = -1;
	return 0;
}

static int dir_volume_usage_quick(DriverPool *pool, const DriverVolume *volume, int64_t *ret_used,
    int64_t *ret_total, Error **err)
{
	*ret_used = *ret_total = -1;
	return 0;
}

const StorageDriver driver_dir = {
	.name = "dir",
	.probe = dir_probe,
	.pool_prepare = dir_pool_prepare,
	.pool_create = dir_pool_mount,
	.pool_delete = dir_pool_delete,
	.pool_mount = dir_pool_mount,
	.pool_unmount = dir_pool_unmount,
	.pool_resources = driver_path_resources,
	.volume_create = dir_volume_create,
	.volume_delete = dir_volume_delete,
	.volume_rename = driver_path_rename,
	.volume_usage = dir_volume_usage,
	.volume_usage_quick = dir_volume_usage_quick,
};
