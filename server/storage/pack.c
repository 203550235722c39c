#include "server/storage/pack.h"
#include "sdk/base/fault.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "server/operation/operation.h"
#include "server/storage/tree_attributes.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 256 * 1024, DEPTH_MAX = 500, PATH_LENGTH_MAX = 4095 };

struct Pack {
	PackOptions options;
	ArchiveTarget *target;
	struct archive *disk; /* reads holes */
	struct archive_entry *entry;
	const GArray *owners;
	const char *without;
	GHashTable
	    *links; /* Link set: files of this tree with more than one name, by their first */
	gboolean live;
	uint64_t bytes;
	int64_t started_us;
	char chunk[CHUNK];
};

typedef struct Link {
	dev_t device;
	ino_t inode;
	char *path;
} Link;

static guint link_hash(const void *item)
{
	const Link *link = item;
	return (guint)(link->inode ^ link->device * 31);
}

static gboolean link_equal(const void *a, const void *b)
{
	const Link *one = a, *two = b;
	return one->inode == two->inode && one->device == two->device;
}

static void link_free(void *item)
{
	g_free(((Link *)item)->path);
	g_free(item);
}

int pack_new(const PackOptions *options, Pack **ret_pack, Error **err)
{
	g_autoptr(Pack) pack = g_new0(Pack, 1);
	pack->options = *options;
	pack->started_us = g_get_monotonic_time();
	pack->entry = archive_entry_new();
	pack->disk = archive_read_disk_new();
	archive_read_disk_set_behavior(pack->disk,
	    ARCHIVE_READDISK_NO_XATTR | ARCHIVE_READDISK_NO_FFLAGS | ARCHIVE_READDISK_NO_ACL);
	pack->links = g_hash_table_new_full(link_hash, link_equal, link_free, NULL);
	if (archive_target_open(
		options->compression, options->sink, options->data, &pack->target, err) < 0)
		return -1;
	*ret_pack = g_steal_pointer(&pack);
	return 0;
}

void pack_free(Pack *pack)
{
	if (!pack)
		return;
	archive_target_free(pack->target);
	archive_read_free(pack->disk);
	archive_entry_free(pack->entry);
	g_hash_table_unref(pack->links);
	g_free(pack);
}

static int fail(const char *what, const char *path, Error **err)
{
	return error_errno(err, ERROR_INTERNAL, errno, "Cannot %s \"%s\"", what, path);
}

void pack_owners(Pack *pack, const GArray *map)
{
	pack->owners = map;
}

/* Times of access and change are the host's affair. */
static void drop_times(struct archive_entry *entry)
{
	archive_entry_unset_atime(entry);
	archive_entry_unset_ctime(entry);
	archive_entry_unset_birthtime(entry);
}

static void set_owners(Pack *pack)
{
	archive_entry_set_uid(pack->entry,
	    id_map_inside(pack->owners, TRUE, (uint32_t)archive_entry_uid(pack->entry)));
	archive_entry_set_gid(pack->entry,
	    id_map_inside(pack->owners, FALSE, (uint32_t)archive_entry_gid(pack->entry)));
}

static void begin_entry(Pack *pack, const char *path, const struct stat *st)
{
	archive_entry_clear(pack->entry);
	archive_entry_set_pathname(pack->entry, path);
	archive_entry_copy_stat(pack->entry, st);
	set_owners(pack);
	drop_times(pack->entry);
	if (!S_ISREG(st->st_mode))
		archive_entry_set_size(pack->entry, 0);
}

/* What an open file or directory has beside its stat. */
static int add_attributes(Pack *pack, int fd, const char *path, const struct stat *st, Error **err)
{
	if (attributes_get(fd, pack->owners, pack->entry) < 0)
		return fail("read the attributes of", path, err);
	if (!S_ISREG(st->st_mode) || st->st_blocks >= st->st_size / 512)
		return 0;
	if (archive_read_disk_entry_from_file(pack->disk, pack->entry, fd, st) < ARCHIVE_WARN)
		return error_set(err, ERROR_INTERNAL, "Cannot read \"%s\": %s", path,
		    archive_error_string(pack->disk));
	set_owners(pack);
	drop_times(pack->entry);
	return 0;
}

static int report(Pack *pack, size_t bytes, Error **err)
{
	Operation *op = pack->options.op;
	pack->bytes += bytes;
	if (!op)
		return 0;
	if (operation_cancelled(op))
		return error_set(err, ERROR_CANCELLED, "Cancelled");
	operation_set_progress(
	    op, pack->options.stage, pack->options.what, pack->bytes, 0, pack->started_us);
	return 0;
}

/* Holes are read as the zeros that they stand for: the writer knows where they are. */
static int add_content(Pack *pack, int fd, const char *path, uint64_t left, Error **err)
{
	while (left > 0) {
		ssize_t n = read(fd, pack->chunk, MIN(left, CHUNK));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail("read", path, err);
		if (n == 0 && !pack->live)
			return error_set(err, ERROR_INTERNAL,
			    "File \"%s\" became shorter while it was read", path);
		if (n == 0) {
			n = (ssize_t)MIN(left, CHUNK);
			memset(pack->chunk, 0, (size_t)n);
		}
		if (archive_target_write(pack->target, pack->chunk, (size_t)n, err) < 0 ||
		    report(pack, (size_t)n, err) < 0)
			return -1;
		left -= (uint64_t)n;
	}
	return 0;
}

/* Whether an error is only that something went while a live tree was read. */
static gboolean has_gone(const Pack *pack)
{
	return pack->live && (errno == ENOENT || errno == ELOOP || errno == ENOTDIR);
}

/* 1: it has gone. */
static int add_file(Pack *pack, int directory, const char *name, const char *path, Error **err)
{
	struct stat st;
	/* O_NONBLOCK: should it have become a FIFO meanwhile */
	autofd int fd = openat(
	    directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return has_gone(pack) ? 1 : fail("open", path, err);
	if (!S_ISREG(st.st_mode))
		return pack->live ? 1 : error_set(
		    err, ERROR_INTERNAL, "File \"%s\" changed while it was read", path);
	begin_entry(pack, path, &st);
	if (add_attributes(pack, fd, path, &st, err) < 0 ||
	    archive_target_entry(pack->target, pack->entry, err) < 0)
		return -1;
	return add_content(pack, fd, path, (uint64_t)st.st_size, err);
}

static int add_symlink(Pack *pack, int directory, const char *name, const char *path,
    const struct stat *st, Error **err)
{
	char target[PATH_LENGTH_MAX + 1];
	ssize_t n = readlinkat(directory, name, target, sizeof target - 1);
	if (n < 0)
		return has_gone(pack) || (pack->live && errno == EINVAL) ?
		    0 :
		    fail("read the link", path, err);
	target[n] = '\0';
	begin_entry(pack, path, st);
	archive_entry_set_symlink(pack->entry, target);
	return archive_target_entry(pack->target, pack->entry, err);
}

/* 1 when it is another name of a file that is in the archive, which is then all that is written. */
static int add_link(Pack *pack, const char *path, const struct stat *st, Error **err)
{
	Link key = { .device = st->st_dev, .inode = st->st_ino };
	const Link *known = g_hash_table_lookup(pack->links, &key);
	if (!known) {
		Link *fresh = g_new(Link, 1);
		*fresh = (Link){ st->st_dev, st->st_ino, g_strdup(path) };
		g_hash_table_add(pack->links, fresh);
		return 0;
	}
	begin_entry(pack, path, st);
	archive_entry_set_hardlink(pack->entry, known->path);
	archive_entry_set_size(pack->entry, 0);
	return archive_target_entry(pack->target, pack->entry, err) < 0 ? -1 : 1;
}

static int add_directory(Pack *pack, int fd, const char *path, unsigned depth, Error **err);

static int add_subdirectory(
    Pack *pack, int directory, const char *name, const char *path, unsigned depth, Error **err)
{
	autofd int fd = file_openat(directory, name, O_RDONLY | O_DIRECTORY, 0, FILE_LINKS_NONE);
	if (fd < 0)
		return has_gone(pack) ? 0 : fail("open", path, err);
	return add_directory(pack, fd, path, depth, err);
}

static int add_child(
    Pack *pack, int directory, const char *name, const char *path, unsigned depth, Error **err)
{
	struct stat st;
	if (fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return has_gone(pack) ? 0 : fail("look at", path, err);
	if (S_ISDIR(st.st_mode))
		return add_subdirectory(pack, directory, name, path, depth, err);
	if (S_ISSOCK(st.st_mode)) /* nobody listens, and tar has no word for it */
		return 0;
	int linked = st.st_nlink > 1 ? add_link(pack, path, &st, err) : 0;
	if (linked != 0)
		return linked < 0 ? -1 : 0;
	if (S_ISREG(st.st_mode)) {
		int gone = add_file(pack, directory, name, path, err);
		if (gone > 0) /* its other names are not links to it then */
			g_hash_table_remove(pack->links, &(Link){ st.st_dev, st.st_ino, NULL });
		return gone < 0 ? -1 : 0;
	}
	if (S_ISLNK(st.st_mode))
		return add_symlink(pack, directory, name, path, &st, err);
	begin_entry(pack, path, &st);
	return archive_target_entry(pack->target, pack->entry, err);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static GPtrArray *names_in(int fd)
{
	int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	autodir DIR *dir = own < 0 ? NULL : fdopendir(own);
	if (!dir) {
		if (own >= 0)
			close(own);
		return NULL;
	}
	g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
	errno = 0;
	for (struct dirent *e; (e = readdir(dir)); errno = 0)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			g_ptr_array_add(names, g_strdup(e->d_name));
	if (errno)
		return NULL;
	g_ptr_array_sort(names, compare_names);
	return g_steal_pointer(&names);
}

static int add_children(Pack *pack, int fd, const char *path, unsigned depth, Error **err)
{
	g_autoptr(GPtrArray) names = names_in(fd);
	if (!names)
		return fail("read the directory", path, err);
	if (depth > DEPTH_MAX)
		return error_set(
		    err, ERROR_INVALID, "Directories are nested too deeply: \"%.200s...\"", path);
	for (guint i = 0; i < names->len; i++) {
		if (depth == 0 && g_strcmp0(names->pdata[i], pack->without) == 0)
			continue;
		g_autofree char *below = g_strconcat(path, "/", names->pdata[i], NULL);
		if (strlen(below) > PATH_LENGTH_MAX)
			return error_set(
			    err, ERROR_INVALID, "A path is too long: \"%.200s...\"", below);
		if (add_child(pack, fd, names->pdata[i], below, depth + 1, err) < 0)
			return -1;
	}
	return 0;
}

static int add_directory(Pack *pack, int fd, const char *path, unsigned depth, Error **err)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return fail("look at", path, err);
	begin_entry(pack, path, &st);
	if (add_attributes(pack, fd, path, &st, err) < 0 ||
	    archive_target_entry(pack->target, pack->entry, err) < 0 || report(pack, 0, err) < 0)
		return -1;
	return add_children(pack, fd, path, depth, err);
}

int pack_tree(Pack *pack, const char *path, int directory_fd, Error **err)
{
	/* The next mount may get the number of the last one: its files only look like the same. */
	g_hash_table_remove_all(pack->links);
	return fault_point("pack", err) < 0 ? -1 : add_directory(pack, directory_fd, path, 0, err);
}

void pack_set_live(Pack *pack, gboolean live)
{
	pack->live = live;
}

void pack_without(Pack *pack, const char *name)
{
	pack->without = name;
}

int pack_file(Pack *pack, const char *path, int fd, int64_t bytes, Error **err)
{
	struct stat st;
	off_t size = lseek(fd, 0, SEEK_END);
	if (size < 0 || lseek(fd, 0, SEEK_SET) < 0 || fstat(fd, &st) < 0)
		return fail("read", path, err);
	if (bytes > 0)
		size = MIN(size, (off_t)bytes);
	st = (struct stat){ .st_mode = S_IFREG | 0600,
		.st_nlink = 1,
		.st_size = size,
		.st_blocks = S_ISREG(st.st_mode) ? st.st_blocks : G_MAXLONG,
		.st_mtim = st.st_mtim };
	begin_entry(pack, path, &st);
	if (add_attributes(pack, fd, path, &st, err) < 0 ||
	    archive_target_entry(pack->target, pack->entry, err) < 0)
		return -1;
	return add_content(pack, fd, path, (uint64_t)size, err);
}

int pack_text(Pack *pack, const char *path, const char *text, Error **err)
{
	size_t length = strlen(text);
	struct stat st = { .st_mode = S_IFREG | 0644, .st_nlink = 1, .st_size = (off_t)length };
	begin_entry(pack, path, &st);
	return archive_target_entry(pack->target, pack->entry, err) < 0 ? -1 :
	    archive_target_write(pack->target, text, length, err);
}

int pack_finish(Pack *pack, Error **err)
{
	return archive_target_finish(pack->target, err);
}
