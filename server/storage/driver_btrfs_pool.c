#include "sdk/base/log.h"
#include "sdk/base/own.h"
#include "sdk/base/spawn.h"
#include "server/storage/driver_btrfs_private.h"
#include "server/storage/filesystem.h"
#include "server/storage/pool_source.h"
#include "server/storage/subvolume.h"
#include <errno.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

/* mkfs.btrfs refuses less than about 109 MiB. */
enum { MINIMUM = 128 << 20 };

int btrfs_probe(char **ret_version, Error **err)
{
	const char *const argv[] = {"btrfs", "--version", NULL};
	Spawn spawn = {.argv = argv, .timeout_ms = 30000};
	g_autofree char *said = NULL;
	if (filesystem_supported("btrfs", err) < 0)
		return -1;
	if (spawn_run(&spawn, &said, NULL, NULL) < 0)
		return error_set(err, ERROR_UNSUPPORTED, "Required tool \"btrfs\" is missing");
	/* "btrfs-progs v6.2", perhaps with a line about features */
	const char *version = strstr(said, " v");
	if (!version)
		return error_set(
		    err, ERROR_UNSUPPORTED, "Tool \"btrfs\" does not tell its version");
	*ret_version = g_strndup(version + 2, strcspn(version + 2, " \n"));
	return 0;
}

static gboolean is_btrfs(const char *path)
{
	struct statfs fs;
	return statfs(path, &fs) == 0 && fs.f_type == BTRFS_SUPER_MAGIC;
}

/* The directory of `source=`: an empty one on btrfs, and not inside what the server itself keeps.
 */
static int prepare_directory(const DriverPool *pool, Error **err)
{
	const char *source = config_get(pool->config, "source");
	g_autofree char *pools = g_path_get_dirname(pool->path);
	g_autofree char *inside = g_strconcat(pools, "/", NULL);
	if (g_str_has_prefix(source, inside))
		return error_set(
		    err, ERROR_INVALID, "Source path \"%s\" is the server's own", source);
	g_autoptr(GDir) dir = g_dir_open(source, 0, NULL);
	if (!dir)
		return error_set(err, ERROR_INVALID,
		    "Source path \"%s\" does not exist or is not a directory", source);
	if (!is_btrfs(source))
		return error_set(
		    err, ERROR_INVALID, "Provided path does not reside on a btrfs filesystem");
	if (g_dir_read_name(dir))
		return error_set(err, ERROR_INVALID, "Source path \"%s\" isn't empty", source);
	return 0;
}

int btrfs_pool_prepare(DriverPool *pool, Error **err)
{
	SourceKind kind = source_kind(pool);
	if (kind == SOURCE_NAME)
		return error_set(err, ERROR_INVALID,
		    "Source \"%s\" is neither a block device nor a path on btrfs",
		    config_get(pool->config, "source"));
	if (source_prepare(pool, MINIMUM, err) < 0)
		return -1;
	return kind == SOURCE_DIRECTORY ? prepare_directory(pool, err) : 0;
}

int btrfs_pool_create(DriverPool *pool, Error **err)
{
	SourceKind kind = source_kind(pool);
	if (kind == SOURCE_DIRECTORY)
		return 0;
	if (source_create(pool, err) < 0 ||
	    filesystem_make(config_get(pool->config, "source"), "btrfs", pool->name, FALSE, err) <
		0)
		return -1;
	source_settle(pool);
	return 0;
}

/* Users may remove their own subvolumes: a container's tools expect it. */
static const char *mount_options(const Config *config)
{
	const char *options = config_get(config, "btrfs.mount_options");
	return options ? options : "user_subvol_rm_allowed";
}

int btrfs_pool_mount(DriverPool *pool, Error **err)
{
	if (source_kind(pool) == SOURCE_DIRECTORY)
		return filesystem_bind(config_get(pool->config, "source"), pool->path, err);
	if (filesystem_is_mounted(pool->path)) /* from before a restart */
		return 0;
	g_autofree char *device = NULL;
	autofd int fd = source_open(pool, &device, err);
	if (fd < 0 ||
	    filesystem_mount(device, pool->path, "btrfs", mount_options(pool->config), err) < 0)
		return -1;
	if (chmod(pool->path, 0711) < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot set up storage pool \"%s\"", pool->name);
	return 0;
}

int btrfs_pool_unmount(DriverPool *pool, Error **err)
{
	return filesystem_unmount(pool->path, err);
}

static int empty_directory(const char *path, Error **err)
{
	g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
	for (const char *name; dir && (name = g_dir_read_name(dir));) {
		g_autofree char *entry = g_build_filename(path, name, NULL);
		if (subvolume_delete(entry, err) < 0)
			return -1;
	}
	return 0;
}

/* The pool is gone all the same. */
static void wipe_left(const DriverPool *pool, const char *device)
{
	g_autoptr(Error) error = NULL;
	if (filesystem_wipe(device, &error) < 0)
		log_warn("The device of a deleted pool still looks like one", "pool", pool->name,
		    "device", device, "err", error->message);
}

int btrfs_pool_delete(DriverPool *pool, Error **err)
{
	/* Unmounted, the source is not looked at: whose it is cannot be known. */
	gboolean ours = filesystem_is_mounted(pool->path);
	SourceKind kind = source_kind(pool);
	const char *source = config_get(pool->config, "source");
	if (ours && kind == SOURCE_DIRECTORY && empty_directory(pool->path, err) < 0)
		return -1;
	if (filesystem_unmount(pool->path, err) < 0)
		return -1;
	if (ours && kind == SOURCE_DEVICE)
		wipe_left(pool, source);
	if (kind == SOURCE_LOOP && unlink(pool->loop_file) < 0 && errno != ENOENT)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot remove the loop file \"%s\"",
		    pool->loop_file);
	return 0;
}

int btrfs_pool_update(DriverPool *pool, const Config *before, Error **err)
{
	gboolean grown;
	if (source_grow(pool, before, &grown, err) < 0 ||
	    (grown && filesystem_grow(NULL, pool->path, "btrfs", err) < 0))
		return -1;
	if (strcmp(mount_options(pool->config), mount_options(before)) == 0)
		return 0;
	if (source_kind(pool) == SOURCE_DIRECTORY)
		return error_set(err, ERROR_INVALID,
		    "Source path \"%s\" is mounted by others, with their options",
		    config_get(pool->config, "source"));
	return filesystem_remount(pool->path, mount_options(pool->config), err);
}
