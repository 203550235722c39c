#include "server/storage/volume_block.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "sdk/base/units.h"
#include "server/storage/pool_private.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
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

gboolean volume_has_tree(const Volume *volume)
{
	return volume->content == CONTENT_FILESYSTEM || volume->type == VOLUME_MACHINE ||
	    volume->type == VOLUME_IMAGE;
}

gboolean volume_has_disk(const Volume *volume)
{
	return volume->content != CONTENT_FILESYSTEM;
}

gboolean volume_has_device(const Pool *pool, const Volume *volume)
{
	return volume_has_disk(volume) && pool->driver->volume_block_path;
}

char *volume_block_path(Pool *pool, const Volume *volume, VolumePlace place)
{
	g_autoptr(DriverCall) call = driver_call_new(pool, volume, place, NULL);
	if (pool->driver->volume_block_path) {
		g_autofree char *link = pool->driver->volume_block_path(&call->pool, &call->volume);
		/* udev's name of a device is a link, and who opens it follows none. */
		char *device = realpath(link, NULL);
		return device ? device : g_steal_pointer(&link);
	}
	return volume_block_file(call->path, volume->content);
}

char *volume_block_file(const char *directory, VolumeContent content)
{
	return g_build_filename(directory, contents[content].file, NULL);
}

int volume_block_trust(const char *path, Error **err)
{
	struct stat st;
	return lstat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode) ?
	    error_set(err, ERROR_INVALID, "\"%s\" is not the image of a disk", path) :
	    0;
}

int volume_block_wanted(const Config *config, int64_t *ret_bytes, Error **err)
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
	return volume_block_wanted(config, &bytes, err) < 0 ? -1 : make_file(path, bytes, err);
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

/* A file gets the size of the source. */
static int fit_target(int in, int out, gboolean *ret_file, Error **err)
{
	struct stat to;
	off_t size = lseek(in, 0, SEEK_END);
	if (size < 0 || fstat(out, &to) < 0 || (S_ISREG(to.st_mode) && ftruncate(out, size) < 0))
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot resize the disk");
	*ret_file = S_ISREG(to.st_mode);
	return 0;
}

/* What the source has no data of need not be read: the target is made so. Where the data begins
 * again, or -1. */
static off_t skip_hole(int in, int out, off_t at)
{
	off_t data = lseek(in, at, SEEK_DATA);
	if (data < 0 && errno == ENXIO)
		data = lseek(in, 0, SEEK_END);
	if (data <= at)
		return at; /* or it cannot tell */
	return fallocate(out, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, data - at) == 0 ?
	    data :
	    at;
}

enum { PIECE = 1 << 20, BLOCK = 4096 };

/* What the target has already is not written again: holes stay holes. */
static int write_piece(int out, const char *piece, char *old, ssize_t n, off_t at)
{
	ssize_t there = pread(out, old, (size_t)n, at);
	if (there < 0)
		return -1;
	memset(old + there, 0, (size_t)(n - there)); /* as what is not there reads */
	for (ssize_t done = 0, length; done < n; done += length) {
		length = MIN(n - done, (ssize_t)BLOCK);
		if (memcmp(piece + done, old + done, (size_t)length) != 0 &&
		    pwrite(out, piece + done, (size_t)length, at + done) != length)
			return -1;
	}
	return 0;
}

int volume_block_copy(const char *from, const char *to, Error **err)
{
	autofd int in = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return in < 0 ? error_errno(err, ERROR_INTERNAL, errno, "Cannot open \"%s\"", from) :
			volume_block_write(in, to, err);
}

int volume_block_write(int in, const char *to, Error **err)
{
	autofd int out = open(to, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (out < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot open \"%s\"", to);
	return volume_block_write_fd(in, out, err) < 0 ? error_prefix(err, "\"%s\"", to) : 0;
}

int volume_block_write_fd(int in, int out, Error **err)
{
	g_autofree char *piece = g_malloc(PIECE), *old = g_malloc(PIECE);
	gboolean file = FALSE;
	if (fit_target(in, out, &file, err) < 0)
		return -1;
	for (off_t at = 0;;) {
		at = file ? skip_hole(in, out, at) : at;
		ssize_t n = pread(in, piece, PIECE, at);
		if (n < 0)
			return error_errno(err, ERROR_INTERNAL, errno, "Cannot read the disk");
		if (n == 0)
			return fsync(out) == 0 ?
			    0 :
			    error_errno(err, ERROR_INTERNAL, errno, "Cannot write the disk");
		if (write_piece(out, piece, old, n, at) < 0)
			return error_errno(err, ERROR_INTERNAL, errno, "Cannot write the disk");
		at += n;
	}
}

int volume_block_fit(Pool *pool, const Volume *volume, const Config *config, Error **err)
{
	int64_t bytes;
	g_autofree char *path = volume_block_path(pool, volume, PLACE_UNFINISHED);
	int64_t now = volume_block_size(path);
	gboolean given = config && config_get(config, "size");
	if (volume_block_wanted(config, &bytes, err) < 0)
		return -1;
	if (given && bytes < now)
		return error_set(err, ERROR_INVALID,
		    "Source image size (%" G_GINT64_FORMAT
		    ") exceeds specified volume size (%" G_GINT64_FORMAT ")",
		    now, bytes);
	if (bytes <= now)
		return 0;
	if (pool->driver->volume_block_path) {
		g_autoptr(DriverCall) call = driver_call_new(
		    pool, volume, PLACE_UNFINISHED, config);
		return pool->driver->volume_set_size(&call->pool, &call->volume, bytes, err);
	}
	return truncate(path, bytes) == 0 ?
	    0 :
	    error_errno(err, ERROR_INTERNAL, errno, "Cannot size \"%s\"", path);
}

int64_t volume_block_size(const char *path)
{
	autofd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -1 : (int64_t)lseek(fd, 0, SEEK_END);
}

int volume_block_length(
    Pool *pool, const Volume *volume, const char *path, int64_t *ret_bytes, Error **err)
{
	g_autoptr(Config) config = NULL;
	Volume whole = *volume;
	whole.snapshot = NULL;
	if (volume->content == CONTENT_ISO && volume_row_find(pool, &whole, NULL, &config, err) < 0)
		return -1;
	const char *size = config ? config_get(config, "size") : NULL;
	if (size)
		return units_parse_bytes(size, ret_bytes, err);
	*ret_bytes = volume_block_size(path);
	return *ret_bytes >= 0 ?
	    0 :
	    error_errno(err, ERROR_INTERNAL, errno, "Cannot read \"%s\"", path);
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
	autofd int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot read \"%s\"", path);
	if (bytes < st.st_size)
		return error_set(err, ERROR_INVALID, "Block volumes cannot be shrunk");
	return ftruncate(fd, bytes) == 0 ?
	    0 :
	    error_errno(err, ERROR_INTERNAL, errno, "Cannot grow \"%s\"", path);
}

int volume_block_make(const char *path, uint64_t bytes, Error **err)
{
	struct stat st;
	autofd int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot open \"%s\"", path);
	if (S_ISREG(st.st_mode) && ftruncate(fd, (off_t)bytes) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot size \"%s\"", path);
	return lseek(fd, 0, SEEK_END) >= (off_t)bytes ?
	    0 :
	    error_set(err, ERROR_INVALID, "The disk is smaller than that of the other server");
}

/* ---- to and from pipes ---- */

int volume_block_send(const char *path, const BlockSending *sending, int out, Error **err)
{
	autofd int in = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	g_autofree char *piece = g_malloc(PIECE);
	if (in < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot open \"%s\"", path);
	for (int64_t left = sending->bytes; left > 0;) {
		ssize_t n = read(in, piece, (size_t)MIN(left, PIECE));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, ERROR_INTERNAL, errno, "Cannot read \"%s\"", path);
		if (n == 0)
			return 0;
		if (sending->cancelled(sending->data))
			return error_set(err, ERROR_CANCELLED, "Reading the disk was cancelled");
		if (file_write_all(out, piece, (size_t)n) < 0)
			return error_errno(err, ERROR_INTERNAL, errno, "Cannot pass the disk on");
		left -= n;
	}
	return 0;
}

/* Fills the piece as far as there is something: its length, 0 at the end, -1. */
static ssize_t read_piece(int fd, char *piece)
{
	size_t have = 0;
	while (have < PIECE) {
		ssize_t n = read(fd, piece + have, PIECE - have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		have += (size_t)n;
	}
	return (ssize_t)have;
}

int volume_block_receive(int in, const char *path, uint64_t limit, Error **err)
{
	struct stat st;
	autofd int out = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	g_autofree char *piece = g_malloc(PIECE), *old = g_malloc(PIECE);
	off_t at = 0;
	ssize_t n;
	if (out < 0 || fstat(out, &st) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot open \"%s\"", path);
	while ((n = read_piece(in, piece)) > 0) {
		if (limit && (uint64_t)(at + n) > limit)
			return error_set(err, ERROR_TOO_LARGE,
			    "The disk has more than the %" G_GUINT64_FORMAT " bytes there may be",
			    (guint64)limit);
		if (write_piece(out, piece, old, n, at) < 0)
			return error_errno(
			    err, ERROR_INTERNAL, errno, "Cannot write to \"%s\"", path);
		at += n;
	}
	if (n < 0 || (S_ISREG(st.st_mode) && ftruncate(out, at) < 0))
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot write to \"%s\"", path);
	return 0;
}
