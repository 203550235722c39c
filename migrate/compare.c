#include "migrate/compare.h"
#include "migrate/tool.h"
#include "sdk/base/own.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

enum { CHUNK = 256 * 1024, NAMES_MAX = 64 * 1024, LINK_MAX_BYTES = 4096 };

typedef struct Comparison {
	GHashTable *links; /* "device:inode" of one side -> inode of the other */
	char *buffer[2];
	void (*progress)(uint64_t bytes, void *data);
	void *data;
	dev_t device; /* of the top: mounts are not entered */
} Comparison;

static int differs(Error **err, const char *path, const char *what)
{
	return error_set(err, ERROR_INTERNAL, "\"%s\" differs in its %s", path, what);
}

/* Where there is data again, from `at` on; G_MAXOFFSET: holes to the end. */
static off_t next_data(int fd, off_t at)
{
	off_t data = lseek(fd, at, SEEK_DATA);
	return data >= 0 ? data : errno == ENXIO ? G_MAXOFFSET : at;
}

/* What is a hole on both sides is the same: a sparse disk's image may be many times what it has. */
static int compare_data(Comparison *c, int one, int other, const char *path, Error **err)
{
	for (off_t at = 0;;) {
		off_t data = next_data(one, at), second = next_data(other, at);
		at = MIN(data, second);
		if (at == G_MAXOFFSET)
			return 0;
		ssize_t n = pread(one, c->buffer[0], CHUNK, at);
		ssize_t m = n < 0 ? -1 : pread(other, c->buffer[1], CHUNK, at);
		if (n < 0 || m < 0)
			return error_errno(
			    err, ERROR_INTERNAL, errno, "\"%s\" cannot be read", path);
		if (n != m || memcmp(c->buffer[0], c->buffer[1], (size_t)n) != 0)
			return differs(err, path, "content");
		if (n == 0)
			return 0;
		at += n;
		if (c->progress)
			c->progress((uint64_t)n, c->data);
	}
}

/* Through /proc: what a link or a device has is not to be opened. -1: the name has none. */
static ssize_t attribute(int dir, const char *name, const char *key, char *value, size_t size)
{
	g_autofree char *path = g_strdup_printf("/proc/self/fd/%d/%s", dir, name);
	return key ? lgetxattr(path, key, value, size) : llistxattr(path, value, size);
}

static int compare_attributes(
    Comparison *c, int one, int other, const char *name, const char *path, Error **err)
{
	g_autofree char *list = g_malloc(NAMES_MAX), *second = g_malloc(NAMES_MAX);
	ssize_t length = attribute(one, name, NULL, list, NAMES_MAX);
	if (length < 0 && errno == ENOTSUP)
		return 0;
	if (length < 0 || length != attribute(other, name, NULL, second, NAMES_MAX))
		return differs(err, path, "extended attributes");
	for (const char *key = list; key < list + length; key += strlen(key) + 1) {
		ssize_t n = attribute(one, name, key, c->buffer[0], CHUNK);
		ssize_t m = attribute(other, name, key, c->buffer[1], CHUNK);
		if (n != m || n < 0 || memcmp(c->buffer[0], c->buffer[1], (size_t)n) != 0)
			return differs(err, path, key);
	}
	return 0;
}

static int compare_links(
    Comparison *c, const struct stat *a, const struct stat *b, const char *path, Error **err)
{
	if (a->st_nlink < 2 || S_ISDIR(a->st_mode))
		return 0;
	g_autofree char *key = g_strdup_printf("%ju", (uintmax_t)a->st_ino);
	g_autofree char *value = g_strdup_printf("%ju", (uintmax_t)b->st_ino);
	const char *known = g_hash_table_lookup(c->links, key);
	if (known && strcmp(known, value) != 0)
		return differs(err, path, "hard links");
	if (!known)
		g_hash_table_insert(c->links, g_steal_pointer(&key), g_steal_pointer(&value));
	return 0;
}

static int compare_stat(const struct stat *a, const struct stat *b, const char *path, Error **err)
{
	if (a->st_mode != b->st_mode)
		return differs(err, path, "mode");
	if (a->st_uid != b->st_uid || a->st_gid != b->st_gid)
		return differs(err, path, "owner");
	if ((S_ISCHR(a->st_mode) || S_ISBLK(a->st_mode)) && a->st_rdev != b->st_rdev)
		return differs(err, path, "device number");
	if (!S_ISDIR(a->st_mode) && a->st_size != b->st_size)
		return differs(err, path, "size");
	if (a->st_mtim.tv_sec != b->st_mtim.tv_sec || a->st_mtim.tv_nsec != b->st_mtim.tv_nsec)
		return differs(err, path, "time");
	return 0;
}

static int compare_folder(Comparison *c, int one, int other, const char *path, Error **err);

static int compare_kind(Comparison *c, int one, int other, const struct stat *st, const char *name,
    const char *path, Error **err)
{
	if (S_ISLNK(st->st_mode)) {
		char a[LINK_MAX_BYTES], b[LINK_MAX_BYTES];
		ssize_t n = readlinkat(one, name, a, sizeof(a));
		ssize_t m = readlinkat(other, name, b, sizeof(b));
		return n != m || n < 0 || memcmp(a, b, (size_t)n) != 0 ?
		    differs(err, path, "target") :
		    0;
	}
	if (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode))
		return 0;
	int flags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
	autofd int a = openat(one, name, flags), b = openat(other, name, flags);
	if (a < 0 || b < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "\"%s\" cannot be opened", path);
	return S_ISREG(st->st_mode) ? compare_data(c, a, b, path, err) :
				      compare_folder(c, a, b, path, err);
}

static int compare_entry(
    Comparison *c, int one, int other, const char *name, const char *path, Error **err)
{
	struct stat a, b;
	if (fstatat(one, name, &a, AT_SYMLINK_NOFOLLOW) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "\"%s\" cannot be looked at", path);
	if (fstatat(other, name, &b, AT_SYMLINK_NOFOLLOW) < 0)
		return error_set(err, ERROR_INTERNAL, "\"%s\" is missing in the copy", path);
	if (a.st_dev != c->device) /* a mount, which the copy did not enter either */
		return 0;
	if (compare_stat(&a, &b, path, err) < 0 || compare_links(c, &a, &b, path, err) < 0 ||
	    compare_attributes(c, one, other, name, path, err) < 0)
		return -1;
	return compare_kind(c, one, other, &a, name, path, err);
}

static int count_names(int fd, guint *ret_n)
{
	autodir DIR *dir = fdopendir(dup(fd));
	*ret_n = 0;
	if (!dir)
		return -1;
	rewinddir(dir);
	while (readdir(dir))
		(*ret_n)++;
	return 0;
}

static int compare_folder(Comparison *c, int one, int other, const char *path, Error **err)
{
	guint n, m;
	if (tool_check_stop(err) < 0)
		return -1;
	if (count_names(one, &n) < 0 || count_names(other, &m) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "\"%s\" cannot be read", path);
	if (n != m)
		return differs(err, path, "number of entries");
	autodir DIR *dir = fdopendir(dup(one));
	if (!dir)
		return error_errno(err, ERROR_INTERNAL, errno, "\"%s\" cannot be read", path);
	rewinddir(dir);
	for (struct dirent *d; (d = readdir(dir));) {
		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		g_autofree char *below = g_build_filename(path, d->d_name, NULL);
		if (compare_entry(c, one, other, d->d_name, below, err) < 0)
			return -1;
	}
	return 0;
}

int compare_trees(
    int one_fd, int other_fd, void (*progress)(uint64_t bytes, void *data), void *data, Error **err)
{
	struct stat a, b;
	if (fstat(one_fd, &a) < 0 || fstat(other_fd, &b) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "A copy cannot be compared");
	Comparison c = { .links = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free),
		.buffer = { g_malloc(CHUNK), g_malloc(CHUNK) },
		.progress = progress,
		.data = data,
		.device = a.st_dev };
	int result = compare_stat(&a, &b, ".", err);
	if (result == 0)
		result = compare_attributes(&c, one_fd, other_fd, ".", ".", err);
	if (result == 0)
		result = compare_folder(&c, one_fd, other_fd, "", err);
	g_hash_table_unref(c.links);
	g_free(c.buffer[0]);
	g_free(c.buffer[1]);
	return result;
}
