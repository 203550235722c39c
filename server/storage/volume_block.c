#include "server/storage/volume_block.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "sdk/base/units.h"
#include "server/storage/pool_private.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
	const char *name, *file;
} contents[] = {
	[CONTENT_FILESYSTEM] = { "filesystem", NULL },
	[CONTENT_BLOCK] = { "block", "root.img" },
	[CONTENT_ISO] = { "iso", "root.iso" },
};

const char *volume_content_name(VolumeContent content)
{
	return contents[content].name;
}

int volume_content_parse(const char *name, VolumeContent *ret_content, Error **err)
{
	for (size_t i = 0; i < G_N_ELEMENTS(contents); i++)
		if (!name || !*name || strcmp(contents[i].name, name) == 0) {
			*ret_content = (VolumeContent)i;
			return 0;
		}
	return error_set(err, ERROR_INVALID, "Invalid content type \"%s\"", name);
}

char *volume_block_path(Pool *pool, const Volume *volume, VolumePlace place)
{
	g_autoptr(DriverCall) call = driver_call_new(pool, volume, place, NULL);
	if (pool->driver->volume_block_path)
		return pool->driver->volume_block_path(&call->pool, &call->volume);
	return g_build_filename(call->path, contents[volume->content].file, NULL);
}

static int wanted_size(const Config *config, int64_t *ret_bytes, Error **err)
{
	const char *size = config ? config_get(config, "size") : NULL;
	return units_parse_bytes(size ? size : "10GiB", ret_bytes, err);
}

static int make_file(const char *path, int64_t bytes, Error **err)
{
	autofd int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, bytes) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot create \"%s\"", path);
	return 0;
}

int volume_block_create(Pool *pool, const Volume *volume, const Config *config, Error **err)
{
	int64_t bytes;
	if (pool->driver->volume_block_path) /* made with its size */
		return 0;
	g_autofree char *path = volume_block_path(pool, volume, PLACE_UNFINISHED);
	return wanted_size(config, &bytes, err) < 0 ? -1 : make_file(path, bytes, err);
}

int volume_block_fill(Pool *pool, const Volume *volume, int fd, Error **err)
{
	g_autofree char *path = volume_block_path(pool, volume, PLACE_UNFINISHED);
	if (!pool->driver->volume_block_path && make_file(path, 0, err) < 0)
		return -1;
	autofd int out = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (out < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot open \"%s\"", path);
	return file_copy_data(fd, out, err);
}

int volume_block_copy(const char *from, const char *to, Error **err)
{
	enum { PIECE = 1 << 20 };
	static const char zeroes[4096];
	g_autofree char *piece = g_malloc(PIECE);
	autofd int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CLOEXEC);
	if (in < 0 || out < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot open \"%s\"", in < 0 ? from : to);
	for (off_t at = 0;;) {
		ssize_t n = pread(in, piece, PIECE, at);
		if (n < 0)
			return error_errno(err, ERROR_INTERNAL, errno, "Cannot read \"%s\"", from);
		if (n == 0)
			return fsync(out) == 0 ? 0 : error_errno(err, ERROR_INTERNAL, errno, "Cannot write \"%s\"", to);
		for (ssize_t done = 0, length; done < n; done += length) {
			length = MIN(n - done, (ssize_t)sizeof(zeroes));
			if (memcmp(piece + done, zeroes, (size_t)length) != 0 &&
			    pwrite(out, piece + done, (size_t)length, at + done) != length)
				return error_errno(err, ERROR_INTERNAL, errno, "Cannot write \"%s\"", to);
		}
		at += n;
	}
}

int volume_block_grow(Pool *pool, const Volume *volume, int64_t bytes, Error **err)
{
	if (bytes == 0)
		return 0;
	if (volume->content == CONTENT_ISO)
		return error_set(err, ERROR_INVALID, "ISO volumes cannot be resized");
	if (pool->driver->volume_block_path)
		return volume_set_size(pool, volume, bytes, err);
	struct stat st;
	g_autofree char *path = volume_block_path(pool, volume, PLACE_OWN);
	if (stat(path, &st) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot read \"%s\"", path);
	if (bytes < st.st_size)
		return error_set(err, ERROR_INVALID, "Block volumes cannot be shrunk");
	return truncate(path, bytes) == 0 ? 0 : error_errno(err, ERROR_INTERNAL, errno, "Cannot grow \"%s\"", path);
}
