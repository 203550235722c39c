#include "server/storage/pool_source.h"
#include "sdk/base/names.h"
#include "sdk/base/own.h"
#include "sdk/base/spawn.h"
#include "sdk/base/units.h"
#include "server/storage/filesystem.h"
#include "server/storage/loop.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

static gboolean is_device(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 ? S_ISBLK(st.st_mode) : g_str_has_prefix(path, "/dev/");
}

SourceKind source_kind(const DriverPool *pool)
{
	const char *source = config_get(pool->config, "source");
	if (!source || strcmp(source, pool->loop_file) == 0)
		return SOURCE_LOOP;
	if (*source != '/')
		return SOURCE_NAME;
	return is_device(source) ? SOURCE_DEVICE : SOURCE_DIRECTORY;
}

static int default_size(const DriverPool *pool, char **ret_size, Error **err)
{
	struct statvfs fs;
	g_autofree char *folder = g_path_get_dirname(pool->loop_file);
	if (statvfs(folder, &fs) < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot measure the free space for loop files");
	int64_t bytes = loop_default_size((uint64_t)fs.f_bavail * fs.f_frsize);
	*ret_size = g_strdup_printf("%" PRId64 "GiB", bytes >> 30);
	return 0;
}

static int prepare_loop(DriverPool *pool, int64_t minimum, Error **err)
{
	int64_t bytes;
	g_autofree char *size = g_strdup(config_get(pool->config, "size"));
	if (!size && default_size(pool, &size, err) < 0)
		return -1;
	if (units_parse_bytes(size, &bytes, err) < 0)
		return -1;
	if (bytes < minimum)
		return error_set(err, ERROR_INVALID,
		    "A loop file of %s is too small: \"%s\" needs at least %" PRId64 "MiB", size,
		    pool->driver->name, minimum >> 20);
	if (access(pool->loop_file, F_OK) == 0)
		return error_set(
		    err, ERROR_EXISTS, "Loop file \"%s\" already exists", pool->loop_file);
	config_set(pool->config, "size", size);
	config_set(pool->config, "source", pool->loop_file);
	return 0;
}

static int prepare_device(const DriverPool *pool, Error **err)
{
	const char *source = config_get(pool->config, "source");
	struct stat st;
	if (stat(source, &st) < 0 || !S_ISBLK(st.st_mode))
		return error_set(err, ERROR_INVALID, "Source \"%s\" is not a block device", source);
	autofd int fd = open(source, O_RDONLY | O_EXCL | O_CLOEXEC);
	if (fd < 0)
		return error_errno(
		    err, ERROR_INVALID, errno, "Block device \"%s\" cannot be used", source);
	return config_true(pool->config, "source.wipe") ? 0 : filesystem_check_blank(source, err);
}

int source_prepare(DriverPool *pool, int64_t minimum, Error **err)
{
	SourceKind kind = source_kind(pool);
	const char *source = config_get(pool->config, "source");
	if (source && *source == '/' && name_check_absolute_path(source, err) < 0)
		return error_prefix(err, "Invalid value for \"source\"");
	if (kind == SOURCE_LOOP)
		return prepare_loop(pool, minimum, err);
	if (config_get(pool->config, "size"))
		return error_set(err, ERROR_INVALID,
		    "A size can only be given to a pool on a loop file, not to source \"%s\"",
		    source);
	return kind == SOURCE_DEVICE ? prepare_device(pool, err) : 0;
}

int source_create(DriverPool *pool, Error **err)
{
	int64_t bytes;
	SourceKind kind = source_kind(pool);
	if (kind == SOURCE_DEVICE && config_true(pool->config, "source.wipe"))
		return filesystem_wipe(config_get(pool->config, "source"), err);
	if (kind != SOURCE_LOOP)
		return 0;
	return units_parse_bytes(config_get(pool->config, "size"), &bytes, err) < 0
		   ? -1
		   : loop_file_create(pool->loop_file, bytes, err);
}

void source_settle(DriverPool *pool)
{
	const char *source = config_get(pool->config, "source");
	const char *const argv[] = {"blkid", "-p", "-o", "value", "-s", "UUID", source, NULL};
	Spawn spawn = {.argv = argv, .timeout_ms = 30000};
	g_autofree char *uuid = NULL;
	if (source_kind(pool) != SOURCE_DEVICE || spawn_run(&spawn, &uuid, NULL, NULL) < 0)
		return;
	spawn_simple(NULL, "udevadm", "settle", "--timeout=10", NULL);
	g_autofree char *name = g_strdup_printf("/dev/disk/by-uuid/%s", g_strstrip(uuid));
	if (*uuid && access(name, F_OK) == 0)
		config_set(pool->config, "source", name);
}

int source_open(const DriverPool *pool, char **ret_device, Error **err)
{
	const char *source = config_get(pool->config, "source");
	SourceKind kind = source_kind(pool);
	const char *path = kind == SOURCE_LOOP ? pool->loop_file : source;
	if (access(path, F_OK) < 0)
		return error_errno(err, ERROR_NOT_FOUND, errno,
		    "\"%s\" of storage pool \"%s\" is not there", path, pool->name);
	if (kind == SOURCE_LOOP)
		return loop_attach(path, LOOP_UNTIL_UNUSED, ret_device, err);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_errno(err, ERROR_INTERNAL, errno,
		    "Cannot open \"%s\" of storage pool \"%s\"", path, pool->name);
	*ret_device = g_strdup(path);
	return fd;
}

int source_grow(const DriverPool *pool, const Config *before, gboolean *ret_grown, Error **err)
{
	const char *size = config_get(pool->config, "size"), *old = config_get(before, "size");
	int64_t bytes, bytes_old;
	*ret_grown = FALSE;
	if (g_strcmp0(size, old) == 0)
		return 0;
	if (source_kind(pool) != SOURCE_LOOP)
		return error_set(err, ERROR_INVALID,
		    "The size of storage pool \"%s\" is that of its source", pool->name);
	if (!size)
		return error_set(
		    err, ERROR_INVALID, "Storage pool option \"size\" cannot be removed");
	if (units_parse_bytes(size, &bytes, err) < 0 || units_parse_bytes(old, &bytes_old, err) < 0)
		return -1;
	if (bytes < bytes_old)
		return error_set(
		    err, ERROR_INVALID, "Storage pool \"%s\" cannot be shrunk", pool->name);
	if (loop_grow(pool->loop_file, bytes, err) < 0)
		return -1;
	*ret_grown = bytes > bytes_old;
	return 0;
}
