#include "server/storage/tree_pack.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "server/storage/archive_target.h"
#include "server/storage/tree_attributes.h"
#include "server/storage/unpack.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { BUFFER = 256 * 1024 };

/* The first name of something that has several. */
typedef struct Named {
	dev_t device;
	ino_t inode;
	char *path;
} Named;

typedef struct Packer {
	int root;
	const TreePackOptions *options;
	ArchiveTarget *tar;
	GHashTable *links;  /* Named set */
	GQueue directories; /* char *: still to be read, the deepest first */
	char *buffer;
} Packer;

static guint named_hash(const void *item)
{
	const Named *named = item;
	return (guint)(named->inode ^ named->device * 31);
}

static gboolean named_equal(const void *a, const void *b)
{
	const Named *one = a, *two = b;
	return one->inode == two->inode && one->device == two->device;
}

static void named_free(void *item)
{
	g_free(((Named *)item)->path);
	g_free(item);
}

/* One file system only: what is mounted inside the tree is somebody else's. */
static int open_in_tree(const Packer *p, const char *path, int flags)
{
	struct open_how how = { .flags = (uint64_t)(unsigned)(flags | O_NOFOLLOW | O_CLOEXEC),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS |
		    RESOLVE_NO_XDEV };
	int fd;
	do
		fd = (int)syscall(SYS_openat2, p->root, path, &how, sizeof(how));
	while (fd < 0 && (errno == EAGAIN || errno == EINTR));
	return fd;
}

static int fail(const char *path, Error **err)
{
	int e = errno;
	g_autofree char *shown = g_strescape(path, NULL);
	return error_errno(err, ERROR_INTERNAL, e, "Cannot pack \"%s\"", shown);
}

static gboolean is_cancelled(const Packer *p)
{
	return p->options->cancelled && p->options->cancelled(p->options->data);
}

/* ---- content ---- */

/* Stretches with data, where the file has holes. Fewer blocks than bytes may also mean that they are
 * compressed: libarchive forgets a stretch that is the whole file. */
static int find_holes(int fd, const struct stat *st, struct archive_entry *entry)
{
	gboolean empty = TRUE;
	if (st->st_blocks >= st->st_size / 512)
		return 0;
	for (off_t at = 0; at < st->st_size;) {
		off_t data = lseek(fd, at, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			break;
		off_t hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
		if (hole < 0)
			return errno == EINVAL ? 0 : -1;
		archive_entry_sparse_add_entry(entry, data, MIN(hole, st->st_size) - data);
		empty = FALSE;
		at = hole;
	}
	/* All hole: one empty stretch at the end says so. */
	if (empty)
		archive_entry_sparse_add_entry(entry, st->st_size, 0);
	return 0;
}

/* libarchive wants the holes' bytes as well and leaves them out by itself. What a file that shrinks
 * meanwhile lacks is zeros. */
static int write_content(Packer *p, int fd, const char *path, off_t size, Error **err)
{
	for (off_t at = 0; at < size;) {
		if (is_cancelled(p))
			return error_set(err, ERROR_CANCELLED, "Packing was cancelled");
		ssize_t n = pread(fd, p->buffer, (size_t)MIN(size - at, (off_t)BUFFER), at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail(path, err);
		if (n == 0)
			return 0;
		if (archive_target_write(p->tar, p->buffer, (size_t)n, err) < 0)
			return -1;
		at += n;
	}
	return 0;
}

/* ---- entries ---- */

/* TRUE: it has gone out under another name, which the entry links to now. */
static gboolean is_known_link(Packer *p, const struct stat *st, struct archive_entry *entry)
{
	Named key = { .device = st->st_dev, .inode = st->st_ino },
	      *known = g_hash_table_lookup(p->links, &key);
	if (!known)
		return FALSE;
	archive_entry_set_hardlink(entry, known->path);
	archive_entry_unset_size(entry);
	return TRUE;
}

static void note_link(Packer *p, const struct stat *st, const char *name)
{
	Named *named = g_new(Named, 1);
	*named = (Named){ .device = st->st_dev, .inode = st->st_ino, .path = g_strdup(name) };
	g_hash_table_add(p->links, named);
}

static int set_target(int fd, struct archive_entry *entry)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(fd, "", target, sizeof(target) - 1);
	if (n < 0)
		return -1;
	target[n] = '\0';
	archive_entry_set_symlink(entry, target);
	return 0;
}

static char *name_of(const Packer *p, const char *path)
{
	const char *prefix = p->options->prefix;
	if (!prefix || !*prefix)
		return g_strdup(path);
	return strcmp(path, ".") == 0 ? g_strdup(prefix) : g_strconcat(prefix, "/", path, NULL);
}

static int write_entry(Packer *p, int fd, const struct stat *st, const char *path,
    struct archive_entry *entry, Error **err)
{
	g_autofree char *name = name_of(p, path);
	archive_entry_copy_stat(entry, st);
	archive_entry_set_uid(entry, id_map_inside(p->options->owners, TRUE, st->st_uid));
	archive_entry_set_gid(entry, id_map_inside(p->options->owners, FALSE, st->st_gid));
	archive_entry_set_pathname(entry, name);
	if (!S_ISREG(st->st_mode))
		archive_entry_set_size(entry, 0);
	gboolean several = !S_ISDIR(st->st_mode) && st->st_nlink > 1,
		 linked = several && is_known_link(p, st, entry);
	if (!linked) {
		if ((S_ISLNK(st->st_mode) ? set_target(fd, entry) :
					    attributes_get(fd, p->options->owners, entry)) < 0 ||
		    (S_ISREG(st->st_mode) && find_holes(fd, st, entry) < 0))
			return fail(path, err);
	}
	if (archive_target_entry(p->tar, entry, err) < 0)
		return -1;
	if (several && !linked)
		note_link(p, st, name);
	return linked || !S_ISREG(st->st_mode) ? 0 : write_content(p, fd, path, st->st_size, err);
}

static gboolean is_left_out(const Packer *p, int fd, const struct stat *st, const char *path)
{
	if (S_ISSOCK(st->st_mode))
		return TRUE;
	if ((S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) &&
	    !unpack_node_is_harmless(st->st_mode, st->st_rdev))
		return TRUE;
	return !S_ISDIR(st->st_mode) && p->options->skip &&
	    p->options->skip(p->options->data, path, fd, st);
}

/* What goes away while the tree is read was never there. */
static int pack_one(Packer *p, const char *path, Error **err)
{
	struct stat st;
	autofd int look = open_in_tree(p, path, O_PATH);
	if (look < 0)
		return errno == ENOENT || errno == EXDEV ? 0 : fail(path, err);
	if (fstat(look, &st) < 0)
		return fail(path, err);
	autofd int file = S_ISREG(st.st_mode) ?
	    open_in_tree(p, path, O_RDONLY | O_NONBLOCK | O_NOATIME) :
	    -1;
	if (S_ISREG(st.st_mode) && (file < 0 || fstat(file, &st) < 0))
		return errno == ENOENT ? 0 : fail(path, err);
	int fd = file >= 0 ? file : look;
	if (is_left_out(p, fd, &st, path))
		return 0;
	if (S_ISDIR(st.st_mode) && strcmp(path, ".") != 0 && !p->options->only)
		g_queue_push_head(&p->directories, g_strdup(path));
	struct archive_entry *entry = archive_entry_new();
	int result = write_entry(p, fd, &st, path, entry, err);
	archive_entry_free(entry);
	return result;
}

static int pack_directory(Packer *p, const char *path, Error **err)
{
	int fd = open_in_tree(p, path, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return errno == ENOENT || errno == EXDEV ? 0 : fail(path, err);
	autodir DIR *dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return fail(path, err);
	}
	for (struct dirent *item; (item = readdir(dir));) {
		if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0)
			continue;
		g_autofree char *child = strcmp(path, ".") == 0 ?
		    g_strdup(item->d_name) :
		    g_strconcat(path, "/", item->d_name, NULL);
		if (pack_one(p, child, err) < 0)
			return -1;
	}
	return 0;
}

static int pack_only(Packer *p, Error **err)
{
	const GPtrArray *only = p->options->only;
	if (pack_one(p, ".", err) < 0)
		return -1;
	for (guint n = 0; n < only->len; n++) {
		if (is_cancelled(p))
			return error_set(err, ERROR_CANCELLED, "Packing was cancelled");
		if (pack_one(p, only->pdata[n], err) < 0)
			return -1;
	}
	return 0;
}

static int pack_all(Packer *p, Error **err)
{
	if (p->options->only)
		return pack_only(p, err);
	if (pack_one(p, ".", err) < 0 || pack_directory(p, ".", err) < 0)
		return -1;
	for (char *next; (next = g_queue_pop_head(&p->directories));) {
		g_autofree char *path = next;
		if (is_cancelled(p))
			return error_set(err, ERROR_CANCELLED, "Packing was cancelled");
		if (pack_directory(p, path, err) < 0)
			return -1;
	}
	return 0;
}

static int write_out(void *data, const void *bytes, size_t length, Error **err)
{
	return file_write_all(*(const int *)data, bytes, length) < 0 ?
	    error_errno(err, ERROR_INTERNAL, errno, "Cannot write the packed tree") :
	    0;
}

int tree_pack(int directory_fd, int out_fd, const TreePackOptions *options, Error **err)
{
	static const TreePackOptions none = { 0 };
	Packer p = { .root = directory_fd, .options = options ? options : &none };
	p.links = g_hash_table_new_full(named_hash, named_equal, named_free, NULL);
	p.buffer = g_malloc(BUFFER);
	g_queue_init(&p.directories);
	int result = archive_target_open_exact(write_out, &out_fd, &p.tar, err) < 0 ||
		pack_all(&p, err) < 0 || archive_target_finish(p.tar, err) < 0 ?
	    -1 :
	    0;
	archive_target_free(p.tar);
	g_queue_clear_full(&p.directories, g_free);
	g_hash_table_unref(p.links);
	g_free(p.buffer);
	return result;
}
