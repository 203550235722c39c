#include "server/storage/pack.h"
#include "sdk/base/own.h"
#include "server/operation/operation.h"
#include "server/storage/pack_attributes.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 1024 * 1024, DEPTH_MAX = 1000, PROGRESS_STEP = 64, LINK_MAX_BYTES = 65536 };

typedef struct LinkKey {
	dev_t device;
	ino_t inode;
} LinkKey;

typedef struct Packer {
	ArchiveSink *sink;
	struct archive *tar;
	const PackOptions *options;
	GHashTable *links;  /* LinkKey -> path in the archive of its first name */
	struct archive_entry *entry;
	char *buffer, *zeros;
	uint64_t bytes;
	unsigned entries, depth;
	int64_t started_us;
} Packer;

static int pack_directory(Packer *p, int fd, const char *path, Error **err);

static guint link_hash(const void *item)
{
	const LinkKey *key = item;
	return (guint)(key->inode ^ key->device * 31);
}

static gboolean link_equal(const void *a, const void *b)
{
	const LinkKey *one = a, *two = b;
	return one->inode == two->inode && one->device == two->device;
}

static int fail_errno(Error **err, const char *path)
{
	int e = errno;
	g_autofree char *shown = g_strescape(path, NULL);
	return error_errno(err, ERROR_INTERNAL, e, "Cannot pack \"%s\"", shown);
}

static int check_progress(Packer *p, Error **err)
{
	struct Operation *op = p->options->op;
	if (!op)
		return 0;
	if (operation_cancelled(op))
		return error_set(err, ERROR_CANCELLED, "Packing was cancelled");
	operation_set_progress(op, p->options->stage, p->options->what, p->bytes, 0, p->started_us);
	return 0;
}

/* The entry of `path`, with what stat knows: no more, or extended headers grow. */
static struct archive_entry *begin_entry(Packer *p, const char *path, const struct stat *st)
{
	struct archive_entry *entry = archive_entry_clear(p->entry);
	archive_entry_set_pathname(entry, path);
	archive_entry_set_mode(entry, st->st_mode);
	archive_entry_set_uid(entry, st->st_uid);
	archive_entry_set_gid(entry, st->st_gid);
	archive_entry_set_mtime(entry, st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
	return entry;
}

/* Warnings are names in no known character set: they go as they are. */
static int write_header(Packer *p, Error **err)
{
	int rc = archive_write_header(p->tar, p->entry);
	if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN)
		return archive_sink_fail(p->sink, err);
	return ++p->entries % PROGRESS_STEP == 0 ? check_progress(p, err) : 0;
}

/* A second name of a file that is there already becomes a link. */
static gboolean linked(Packer *p, const struct stat *st, const char *path)
{
	LinkKey key = { st->st_dev, st->st_ino };
	if (st->st_nlink < 2)
		return FALSE;
	const char *first = g_hash_table_lookup(p->links, &key);
	if (first) {
		archive_entry_set_hardlink(p->entry, first);
		return TRUE;
	}
	g_hash_table_insert(p->links, g_memdup2(&key, sizeof(key)), g_strdup(path));
	return FALSE;
}

/* ---- content ---- */

static int write_bytes(Packer *p, const char *data, size_t length, Error **err)
{
	while (length > 0) {
		la_ssize_t n = archive_write_data(p->tar, data, length);
		if (n <= 0)
			return archive_sink_fail(p->sink, err);
		data += n;
		length -= (size_t)n;
	}
	return 0;
}

/* libarchive leaves the bytes of holes out, but wants to be handed them. */
static int write_zeros(Packer *p, off_t length, Error **err)
{
	while (length > 0) {
		size_t n = (size_t)MIN(length, (off_t)BUFFER);
		if (write_bytes(p, p->zeros, n, err) < 0)
			return -1;
		length -= (off_t)n;
	}
	return 0;
}

/* What a file that shrank meanwhile lacks is zeros: its header is written. */
static int write_range(Packer *p, int fd, const char *path, off_t offset, off_t length, Error **err)
{
	while (length > 0) {
		ssize_t n = pread(fd, p->buffer, (size_t)MIN(length, (off_t)BUFFER), offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail_errno(err, path);
		if (n == 0)
			return write_zeros(p, length, err);
		if (write_bytes(p, p->buffer, (size_t)n, err) < 0)
			return -1;
		p->bytes += (uint64_t)n;
		offset += n;
		length -= n;
		if (n == BUFFER && check_progress(p, err) < 0)
			return -1;
	}
	return 0;
}

typedef struct Extent {
	off_t start, end;
} Extent;

/* Where a file has data; NULL when it is whole. */
static GArray *find_extents(int fd, const struct stat *st)
{
	if (st->st_size == 0 || st->st_blocks >= (st->st_size + 511) / 512)
		return NULL;
	g_autoptr(GArray) extents = g_array_new(FALSE, FALSE, sizeof(Extent));
	for (off_t at = 0; at < st->st_size;) {
		Extent e = { .start = lseek(fd, at, SEEK_DATA) };
		if (e.start < 0 && errno == ENXIO)
			break;
		e.end = e.start < 0 ? -1 : lseek(fd, e.start, SEEK_HOLE);
		if (e.end < 0)
			return NULL;
		e.end = MIN(e.end, st->st_size);
		g_array_append_val(extents, e);
		at = e.end;
	}
	if (extents->len == 1 && g_array_index(extents, Extent, 0).start == 0 && g_array_index(extents, Extent, 0).end == st->st_size)
		return NULL;
	return g_steal_pointer(&extents);
}

static int write_extents(Packer *p, int fd, const char *path, const GArray *extents, off_t size, Error **err)
{
	off_t at = 0;
	for (guint i = 0; i < extents->len; i++) {
		const Extent *e = &g_array_index(extents, Extent, i);
		if (write_zeros(p, e->start - at, err) < 0 || write_range(p, fd, path, e->start, e->end - e->start, err) < 0)
			return -1;
		at = e->end;
	}
	return write_zeros(p, size - at, err);
}

/* ---- kinds of entries ---- */

static int pack_regular(Packer *p, int dir_fd, const char *name, const char *path, Error **err)
{
	struct stat st;
	autofd int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return errno == ENOENT ? 0 : fail_errno(err, path);
	if (!S_ISREG(st.st_mode)) /* replaced meanwhile */
		return 0;
	struct archive_entry *entry = begin_entry(p, path, &st);
	if (linked(p, &st, path))
		return write_header(p, err);
	archive_entry_set_size(entry, st.st_size);
	if (pack_attributes(fd, entry) < 0)
		return fail_errno(err, path);
	g_autoptr(GArray) extents = find_extents(fd, &st);
	for (guint i = 0; extents && i < extents->len; i++) {
		const Extent *e = &g_array_index(extents, Extent, i);
		archive_entry_sparse_add_entry(entry, e->start, e->end - e->start);
	}
	if (extents && extents->len == 0)
		archive_entry_sparse_add_entry(entry, st.st_size, 0);
	if (write_header(p, err) < 0)
		return -1;
	return extents ? write_extents(p, fd, path, extents, st.st_size, err) : write_range(p, fd, path, 0, st.st_size, err);
}

static int pack_symlink(Packer *p, int dir_fd, const char *name, const char *path, const struct stat *st, Error **err)
{
	g_autofree char *target = g_malloc(LINK_MAX_BYTES);
	ssize_t n = readlinkat(dir_fd, name, target, LINK_MAX_BYTES - 1);
	if (n < 0)
		return errno == ENOENT || errno == EINVAL ? 0 : fail_errno(err, path);
	target[n] = '\0';
	struct archive_entry *entry = begin_entry(p, path, st);
	if (!linked(p, st, path))
		archive_entry_set_symlink(entry, target);
	return write_header(p, err);
}

static int pack_node(Packer *p, const char *path, const struct stat *st, Error **err)
{
	struct archive_entry *entry = begin_entry(p, path, st);
	if (!S_ISFIFO(st->st_mode))
		archive_entry_set_rdev(entry, st->st_rdev);
	return write_header(p, err);
}

/* 1: `*ret_fd`; 0: it is gone or a mount. */
static int open_child(int dir_fd, const char *name, int *ret_fd)
{
	struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV };
	do
		*ret_fd = (int)syscall(SYS_openat2, dir_fd, name, &how, sizeof(how));
	while (*ret_fd < 0 && (errno == EAGAIN || errno == EINTR));
	if (*ret_fd >= 0)
		return 1;
	return errno == ENOENT || errno == EXDEV || errno == ENOTDIR || errno == ELOOP ? 0 : -1;
}

static int pack_child_directory(Packer *p, int dir_fd, const char *name, const char *path, const struct stat *st, Error **err)
{
	autofd int fd = -1;
	int found = open_child(dir_fd, name, &fd);
	if (found < 0)
		return fail_errno(err, path);
	if (found > 0)
		return pack_directory(p, fd, path, err);
	begin_entry(p, path, st);
	return write_header(p, err);
}

static int pack_child(Packer *p, int dir_fd, const char *name, const char *path, Error **err)
{
	struct stat st;
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : fail_errno(err, path);
	switch (st.st_mode & S_IFMT) {
	case S_IFREG:
		return pack_regular(p, dir_fd, name, path, err);
	case S_IFDIR:
		return pack_child_directory(p, dir_fd, name, path, &st, err);
	case S_IFLNK:
		return pack_symlink(p, dir_fd, name, path, &st, err);
	case S_IFSOCK:
		return 0;
	default:
		return pack_node(p, path, &st, err);
	}
}

static int pack_children(Packer *p, int fd, const char *path, Error **err)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	DIR *directory = copy < 0 ? NULL : fdopendir(copy);
	if (!directory) {
		own_close_fd(&copy);
		return fail_errno(err, path);
	}
	int result = 0;
	struct dirent *item;
	while (result == 0 && (errno = 0, item = readdir(directory))) {
		if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0 ||
		    (p->depth == 1 && g_strcmp0(item->d_name, p->options->skip) == 0))
			continue;
		g_autofree char *child = g_build_filename(path, item->d_name, NULL);
		result = pack_child(p, fd, item->d_name, child, err);
	}
	if (result == 0 && errno)
		result = fail_errno(err, path);
	closedir(directory);
	return result;
}

static int pack_directory(Packer *p, int fd, const char *path, Error **err)
{
	struct stat st;
	if (p->depth >= DEPTH_MAX)
		return error_set(err, ERROR_INVALID, "Directories are nested more than %d deep", DEPTH_MAX);
	if (fstat(fd, &st) < 0)
		return fail_errno(err, path);
	struct archive_entry *entry = begin_entry(p, path, &st);
	if (pack_attributes(fd, entry) < 0)
		return fail_errno(err, path);
	if (write_header(p, err) < 0)
		return -1;
	p->depth++;
	int result = pack_children(p, fd, path, err);
	p->depth--;
	return result;
}

int pack_tree(ArchiveSink *sink, int directory_fd, const char *prefix, const PackOptions *options, Error **err)
{
	static const PackOptions plain;
	Packer p = { .sink = sink, .tar = archive_sink_writer(sink), .options = options ? options : &plain,
		.entry = archive_entry_new(), .buffer = g_malloc(BUFFER), .zeros = g_malloc0(BUFFER),
		.started_us = g_get_monotonic_time() };
	p.links = g_hash_table_new_full(link_hash, link_equal, g_free, g_free);
	int result = pack_directory(&p, directory_fd, prefix, err);
	g_hash_table_unref(p.links);
	archive_entry_free(p.entry);
	g_free(p.buffer);
	g_free(p.zeros);
	return result;
}

int pack_file(ArchiveSink *sink, const char *name, const void *data, size_t length, mode_t mode, Error **err)
{
	struct archive *tar = archive_sink_writer(sink);
	struct archive_entry *entry = archive_entry_new();
	archive_entry_set_pathname(entry, name);
	archive_entry_set_mode(entry, S_IFREG | mode);
	archive_entry_set_size(entry, (la_int64_t)length);
	archive_entry_set_mtime(entry, time(NULL), 0);
	int rc = archive_write_header(tar, entry);
	archive_entry_free(entry);
	if ((rc != ARCHIVE_OK && rc != ARCHIVE_WARN) || archive_write_data(tar, data, length) != (la_ssize_t)length)
		return archive_sink_fail(sink, err);
	return 0;
}
