#include "server/storage/unpack.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "server/operation/operation.h"
#include "server/storage/archive_source.h"
#include "server/storage/unpack_attributes.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum { NAME_LENGTH_MAX = 4095, PROGRESS_STEP = 64, SPARSE_PIECE = 4096 };

/* What a directory gets last: filling it changes its times, and what is made in it takes after its
 * default ACL. */
typedef struct DirTimes {
	char *path;
	GByteArray *acl;
	struct timespec times[2];
} DirTimes;

struct Unpacker {
	int root;
	char *prefix; /* what names have before those below `root`; NULL: nothing */
	const UnpackOptions *options;
	ArchiveSource *source;
	struct archive_entry *entry; /* the one unpacker_next() came to, and its name */
	char *path;
	char *parent_path; /* the directory that parent_fd is, or NULL */
	int parent_fd;
	GArray *dirs;
	uint64_t bytes;
	unsigned entries;
	int64_t started_us;
};

static void dir_times_clear(void *data)
{
	DirTimes *late = data;
	g_free(late->path);
	g_clear_pointer(&late->acl, g_byte_array_unref);
}

static int open_beneath(int root, const char *path, int flags)
{
	return file_openat(root, *path ? path : ".", flags, 0, FILE_LINKS_NONE);
}

/* Whether the name's first part is one that an image has. */
static gboolean part_of_image(const char *path)
{
	static const char *const parts[] = { "metadata.yaml", "rootfs", "rootfs.img", "templates" };
	size_t n = strcspn(path, "/");
	for (size_t i = 0; i < G_N_ELEMENTS(parts); i++)
		if (strlen(parts[i]) == n && memcmp(parts[i], path, n) == 0)
			return TRUE;
	return FALSE;
}

/* "./a//b/" becomes "a/b", the top becomes "". NULL for names that leave the directory. Image
 * makers exist that write "/rootfs/x"; in an image only, that is taken for what it means. */
static char *name_normalise(const char *name, UnpackShape shape)
{
	if (!name || strlen(name) > NAME_LENGTH_MAX)
		return NULL;
	if (*name == '/' && (shape == UNPACK_TREE || !part_of_image(name + strspn(name, "/"))))
		return NULL;
	GString *out = g_string_new(NULL);
	for (const char *p = name; *p;) {
		size_t n = strcspn(p, "/");
		if (n == 2 && p[0] == '.' && p[1] == '.') {
			g_string_free(out, TRUE);
			return NULL;
		}
		if (n > 0 && !(n == 1 && *p == '.')) {
			if (out->len)
				g_string_append_c(out, '/');
			g_string_append_len(out, p, (gssize)n);
		}
		p += n + (p[n] == '/');
	}
	return g_string_free(out, FALSE);
}

/* The name as it is below the root, NULL when it is not there. */
static const char *name_below(const Unpacker *w, const char *path)
{
	size_t n = w->prefix ? strlen(w->prefix) : 0;
	if (n == 0)
		return path;
	if (strncmp(path, w->prefix, n) != 0 || (path[n] != '/' && path[n] != '\0'))
		return NULL;
	return path + n + (path[n] == '/');
}

static char *name_of(const Unpacker *w, const char *name)
{
	return name_normalise(name, w->prefix ? UNPACK_TREE : w->options->shape);
}

static int refuse(Error **err, const char *path, const char *why)
{
	g_autofree char *shown = g_strescape(path, NULL);
	return error_set(err, ERROR_INVALID, "Archive entry \"%s\" %s", shown, why);
}

static int entry_errno(Error **err, const char *path)
{
	int e = errno;
	if (e == ELOOP || e == ENOTDIR || e == EXDEV)
		return refuse(err, path, "goes through something that is not a directory");
	if (e == ENAMETOOLONG)
		return refuse(err, path, "has a name that is too long");
	g_autofree char *shown = g_strescape(path, NULL);
	return error_errno(err, ERROR_INTERNAL, e, "Cannot unpack \"%s\"", shown);
}

/* Makes the directories of `path` that an archive left out. */
static int make_parents(Unpacker *w, const char *path)
{
	g_autofree char *copy = g_strdup(path);
	for (char *p = copy;; p++) {
		p += strcspn(p, "/");
		char kept = *p;
		*p = '\0';
		char *slash = strrchr(copy, '/');
		autofd int fd = -1;
		if (slash) {
			*slash = '\0';
			fd = open_beneath(w->root, copy, O_PATH | O_DIRECTORY);
			*slash = '/';
			if (fd < 0)
				return -1;
		}
		if (mkdirat(slash ? fd : w->root, slash ? slash + 1 : copy, 0755) < 0 &&
		    errno != EEXIST)
			return -1;
		if (!kept)
			return 0;
		*p = kept;
	}
}

/* The directory of `path`, kept open for the entries that follow in it. */
static int parent_open(Unpacker *w, const char *path, const char **ret_base, Error **err)
{
	const char *slash = strrchr(path, '/');
	g_autofree char *parent = slash ? g_strndup(path, (gsize)(slash - path)) : g_strdup("");
	*ret_base = slash ? slash + 1 : path;
	if (w->parent_path && strcmp(w->parent_path, parent) == 0)
		return w->parent_fd;
	autofd int fd = open_beneath(w->root, parent, O_PATH | O_DIRECTORY);
	if (fd < 0 && errno == ENOENT && make_parents(w, parent) == 0)
		fd = open_beneath(w->root, parent, O_PATH | O_DIRECTORY);
	if (fd < 0)
		return entry_errno(err, path);
	own_close_fd(&w->parent_fd);
	w->parent_fd = own_steal_fd(&fd);
	g_free(w->parent_path);
	w->parent_path = g_steal_pointer(&parent);
	return w->parent_fd;
}

static int write_block(int fd, const char *data, size_t size, off_t offset)
{
	while (size > 0) {
		ssize_t n = pwrite(fd, data, size, offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		data += n;
		size -= (size_t)n;
		offset += n;
	}
	return 0;
}

static int check_progress(Unpacker *w, Error **err)
{
	struct Operation *op = w->options->op;
	if (!op)
		return 0;
	if (operation_cancelled(op))
		return error_set(err, ERROR_CANCELLED, "Unpacking was cancelled");
	uint64_t done, total;
	archive_source_progress(w->source, &done, &total);
	operation_set_progress(op, w->options->stage, w->options->what, done, total, w->started_us);
	return 0;
}

static gboolean is_zero(const char *data, size_t size)
{
	return size > 0 && data[0] == 0 && memcmp(data, data + 1, size - 1) == 0;
}

/* Into an empty file: zeros are there already. */
static int write_sparse(int fd, const char *data, size_t size, off_t offset)
{
	for (size_t done = 0, piece; done < size; done += piece) {
		piece = MIN(size - done, SPARSE_PIECE);
		if (!is_zero(data + done, piece) &&
		    write_block(fd, data + done, piece, offset + (off_t)done) < 0)
			return -1;
	}
	return 0;
}

typedef int (*BlockWriter)(int fd, const char *data, size_t size, off_t offset);

static int write_content(Unpacker *w, int fd, const char *path, BlockWriter write, Error **err)
{
	struct archive *tar = archive_source_reader(w->source);
	const void *data;
	size_t size;
	la_int64_t offset;
	unsigned blocks = 0;
	int rc;
	while ((rc = archive_read_data_block(tar, &data, &size, &offset)) == ARCHIVE_OK ||
	    rc == ARCHIVE_WARN) {
		w->bytes += size;
		if (w->options->limit && w->bytes > w->options->limit)
			return error_set(err, ERROR_TOO_LARGE,
			    "The archive unpacks to more than the %" G_GUINT64_FORMAT
			    " bytes there may be",
			    (guint64)w->options->limit);
		if (write(fd, data, size, offset) < 0)
			return entry_errno(err, path);
		if (++blocks % PROGRESS_STEP == 0 && check_progress(w, err) < 0)
			return -1;
	}
	return rc == ARCHIVE_EOF ? 0 : archive_source_fail(w->source, err);
}

static int unpack_regular(Unpacker *w, int parent, const char *base, const char *path,
    struct archive_entry *entry, Error **err)
{
	struct stat st;
	if (fstatat(parent, base, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		if (!S_ISREG(st.st_mode))
			return refuse(err, path, "replaces something that is not a file");
		if (unlinkat(parent, base, 0) < 0)
			return entry_errno(err, path);
	}
	autofd int fd = openat(
	    parent, base, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return entry_errno(err, path);
	la_int64_t size = archive_entry_size_is_set(entry) ? archive_entry_size(entry) : 0;
	if (size < 0)
		return refuse(err, path, "has a negative size");
	if (size > 0 && write_content(w, fd, path, write_block, err) < 0)
		return -1;
	/* Holes at the end have no block. */
	if (archive_entry_sparse_count(entry) > 0 && ftruncate(fd, size) < 0)
		return entry_errno(err, path);
	return attributes_set_fd(fd, entry) < 0 ? entry_errno(err, path) : 0;
}

static void remember_directory(Unpacker *w, const char *path, struct archive_entry *entry)
{
	DirTimes late = { .path = g_strdup(path), .acl = attributes_default_acl(entry) };
	attributes_times(entry, late.times);
	g_array_append_val(w->dirs, late);
}

static int unpack_directory(Unpacker *w, int parent, const char *base, const char *path,
    struct archive_entry *entry, Error **err)
{
	if (mkdirat(parent, base, 0700) < 0 && errno != EEXIST)
		return entry_errno(err, path);
	autofd int fd = openat(parent, base, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return refuse(err, path, "replaces something that is not a directory");
	if (attributes_set_fd(fd, entry) < 0)
		return entry_errno(err, path);
	remember_directory(w, path, entry);
	return 0;
}

static int unpack_hardlink(Unpacker *w, int parent, const char *base, const char *path,
    struct archive_entry *entry, Error **err)
{
	g_autofree char *whole = name_of(w, archive_entry_hardlink(entry));
	g_autofree char *target = whole ? g_strdup(name_below(w, whole)) : NULL;
	if (!target || !*target)
		return refuse(err, path, "is a hard link that leaves the archive");
	char *slash = strrchr(target, '/');
	autofd int dir = -1;
	if (slash) {
		*slash = '\0';
		dir = open_beneath(w->root, target, O_PATH | O_DIRECTORY);
		if (dir < 0)
			return refuse(err, path,
			    "is a hard link to something that the archive does not hold");
	}
	int from = slash ? dir : w->root;
	const char *from_base = slash ? slash + 1 : target;
	struct stat st;
	if (fstatat(from, from_base, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return refuse(
		    err, path, "is a hard link to something that the archive does not hold");
	if (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode))
		return refuse(err, path, "is a hard link to something that is not a file");
	if (linkat(from, from_base, parent, base, 0) < 0)
		return errno == EEXIST ? refuse(err, path, "replaces an entry by a link") :
					 entry_errno(err, path);
	return 0;
}

static int unpack_symlink(
    int parent, const char *base, const char *path, struct archive_entry *entry, Error **err)
{
	const char *target = archive_entry_symlink(entry);
	if (!target || !*target)
		return refuse(err, path, "is a symbolic link to nothing");
	if (symlinkat(target, parent, base) < 0)
		return errno == EEXIST ? refuse(err, path, "replaces an entry by a link") :
					 entry_errno(err, path);
	return attributes_set_at(parent, base, entry) < 0 ? entry_errno(err, path) : 0;
}

/* The nodes that every container's own /dev has: they give access to nothing. Others would be doors
 * to the host's devices for whoever gets at the tree, so they are left out. 0:0 is overlayfs's
 * "nothing here". */
gboolean unpack_node_is_harmless(mode_t mode, dev_t dev)
{
	if (S_ISFIFO(mode))
		return TRUE;
	if (!S_ISCHR(mode))
		return FALSE;
	unsigned int maj = major(dev), min = minor(dev);
	if (maj == 1)
		return min == 3 || min == 5 || min == 7 || min == 8 || min == 9;
	return (maj == 5 && min <= 2) || (maj == 0 && min == 0);
}

static int unpack_node(
    int parent, const char *base, const char *path, struct archive_entry *entry, Error **err)
{
	mode_t mode = archive_entry_filetype(entry);
	dev_t dev = archive_entry_rdev(entry);
	if (!unpack_node_is_harmless(mode, dev))
		return 0;
	if (mknodat(parent, base, mode | 0600, S_ISFIFO(mode) ? 0 : dev) < 0) {
		if (errno == EPERM) /* a user namespace: as for the other devices */
			return 0;
		return errno == EEXIST ? refuse(err, path, "is in the archive twice") :
					 entry_errno(err, path);
	}
	return attributes_set_at(parent, base, entry) < 0 ? entry_errno(err, path) : 0;
}

/* "qemu.nvram" may be a link to "NAME.fd", as Incus has it. */
static gboolean is_machine_part(const char *name)
{
	return strcmp(name, "qemu.nvram") == 0 || strcmp(name, "state") == 0 ||
	    g_str_has_suffix(name, ".fd") || g_str_has_prefix(name, "tpm.");
}

/* QEMU and its TPM open these by their names: none leads elsewhere. */
static int machine_entry(const char *name, const char *path, gboolean top, mode_t type, Error **err)
{
	gboolean folder = g_str_has_prefix(name, "tpm.");
	if (folder && (type == AE_IFDIR || (!top && type == AE_IFREG)))
		return 1;
	if (!folder && top &&
	    (type == AE_IFREG || (type == AE_IFLNK && strcmp(name, "qemu.nvram") == 0)))
		return 1;
	return refuse(err, path, "of a virtual machine is of the wrong kind");
}

/* 1: unpack it, 0: not part of an image, -1: an image must not have it so. */
static int image_entry(
    const UnpackOptions *options, const char *path, struct archive_entry *entry, Error **err)
{
	if (options->shape == UNPACK_TREE)
		return 1;
	size_t first = strcspn(path, "/");
	gboolean top = path[first] == '\0';
	mode_t type = archive_entry_hardlink(entry) ? 0 : archive_entry_filetype(entry);
	g_autofree char *name = g_strndup(path, first);
	if (strcmp(name, "metadata.yaml") == 0) {
		if (!top || type != AE_IFREG)
			return refuse(err, path, "of an image must be a regular file");
		return 1;
	}
	if (options->shape == UNPACK_MACHINE && is_machine_part(name))
		return machine_entry(name, path, top, type, err);
	if (strcmp(name, "templates") != 0 &&
	    (strcmp(name, "rootfs") != 0 || options->shape != UNPACK_IMAGE))
		return 0;
	if (top && type != AE_IFDIR)
		return refuse(err, path, "of an image must be a directory");
	return 1;
}

int unpacker_entry(Unpacker *w, Error **err)
{
	struct archive_entry *entry = w->entry;
	const char *path = name_below(w, w->path);
	if (!path)
		return refuse(err, w->path, "is not where it belongs");
	if (!*path) {
		if (w->prefix &&
		    (archive_entry_hardlink(entry) || archive_entry_filetype(entry) != AE_IFDIR))
			return refuse(err, w->path, "must be a directory");
		if (w->options->shape != UNPACK_TREE || archive_entry_filetype(entry) != AE_IFDIR)
			return 0;
		remember_directory(w, path, entry);
		return attributes_set_fd(w->root, entry) < 0 ? entry_errno(err, ".") : 0;
	}
	int wanted = image_entry(w->options, path, entry, err);
	if (wanted <= 0)
		return wanted;
	const char *base;
	int parent = parent_open(w, path, &base, err);
	if (parent < 0)
		return -1;
	if (archive_entry_hardlink(entry))
		return unpack_hardlink(w, parent, base, path, entry, err);
	switch (archive_entry_filetype(entry)) {
	case AE_IFREG:
		return unpack_regular(w, parent, base, path, entry, err);
	case AE_IFDIR:
		return unpack_directory(w, parent, base, path, entry, err);
	case AE_IFLNK:
		return unpack_symlink(parent, base, path, entry, err);
	case AE_IFSOCK:
		return 0;
	default:
		return unpack_node(parent, base, path, entry, err);
	}
}

static void set_directory_times(Unpacker *w)
{
	for (guint i = w->dirs->len; i-- > 0;) {
		DirTimes *dir = &g_array_index(w->dirs, DirTimes, i);
		autofd int fd = open_beneath(w->root, dir->path, O_RDONLY | O_DIRECTORY);
		if (fd < 0)
			continue;
		attributes_set_default_acl(fd, dir->acl);
		futimens(fd, dir->times);
	}
	g_array_set_size(w->dirs, 0);
}

void unpacker_leave(Unpacker *w)
{
	if (w->root >= 0)
		set_directory_times(w);
	own_close_fd(&w->parent_fd);
	w->parent_fd = -1;
	g_clear_pointer(&w->parent_path, g_free);
	g_clear_pointer(&w->prefix, g_free);
	w->root = -1;
}

int unpacker_content(Unpacker *w, int fd, Error **err)
{
	struct archive_entry *entry = w->entry;
	if (archive_entry_hardlink(entry) || archive_entry_filetype(entry) != AE_IFREG)
		return refuse(err, w->path, "is not a regular file");
	la_int64_t size = archive_entry_size_is_set(entry) ? archive_entry_size(entry) : 0;
	w->bytes = 0;
	if (size < 0)
		return refuse(err, w->path, "has a negative size");
	if (w->options->limit && (uint64_t)size > w->options->limit)
		return error_set(err, ERROR_TOO_LARGE,
		    "Archive entry \"%s\" is larger than there may be", w->path);
	if (size > 0 && write_content(w, fd, w->path, write_sparse, err) < 0)
		return -1;
	return ftruncate(fd, size) < 0 ? entry_errno(err, w->path) : 0;
}

gboolean unpacker_at_file(const Unpacker *w)
{
	return !archive_entry_hardlink(w->entry) && archive_entry_filetype(w->entry) == AE_IFREG;
}

void unpacker_enter(Unpacker *w, int directory_fd, const char *prefix)
{
	unpacker_leave(w);
	w->root = directory_fd;
	w->bytes = 0;
	w->prefix = g_strdup(prefix);
}

int unpacker_open(
    int archive_fd, const UnpackOptions *options, Unpacker **ret_unpacker, Error **err)
{
	ArchiveSource *source;
	if (archive_source_open(archive_fd, &source, err) < 0)
		return -1;
	Unpacker *w = g_new0(Unpacker, 1);
	*w = (Unpacker){ .root = -1,
		.options = options,
		.source = source,
		.parent_fd = -1,
		.started_us = g_get_monotonic_time() };
	w->dirs = g_array_new(FALSE, FALSE, sizeof(DirTimes));
	g_array_set_clear_func(w->dirs, dir_times_clear);
	*ret_unpacker = w;
	return 0;
}

void unpacker_close(Unpacker *w)
{
	if (!w)
		return;
	g_array_set_size(w->dirs, 0); /* given up: nobody will look at its times */
	unpacker_leave(w);
	g_array_unref(w->dirs);
	archive_source_close(w->source);
	g_free(w->path);
	g_free(w);
}

int unpacker_next(Unpacker *w, const char **ret_path, Error **err)
{
	int more = archive_source_next(w->source, &w->entry, err);
	if (more <= 0)
		return more;
	const char *name = archive_entry_pathname(w->entry);
	g_free(w->path);
	w->path = name_of(w, name);
	if (!w->path)
		return refuse(err, name ? name : "", "has a name that leaves the directory");
	*ret_path = w->path;
	return ++w->entries % PROGRESS_STEP == 0 && check_progress(w, err) < 0 ? -1 : 1;
}

int unpack_archive(int archive_fd, int directory_fd, const UnpackOptions *options, Error **err)
{
	g_autoptr(Unpacker) w = NULL;
	const char *path;
	int more;
	if (unpacker_open(archive_fd, options, &w, err) < 0)
		return -1;
	unpacker_enter(w, directory_fd, NULL);
	while ((more = unpacker_next(w, &path, err)) > 0)
		if (unpacker_entry(w, err) < 0)
			return -1;
	if (more < 0)
		return -1;
	unpacker_leave(w);
	return check_progress(w, err);
}

static int read_content(ArchiveSource *source, struct archive_entry *entry, const char *name,
    size_t limit, char **ret_content, size_t *ret_length, Error **err)
{
	if (archive_entry_hardlink(entry) || archive_entry_filetype(entry) != AE_IFREG)
		return error_set(
		    err, ERROR_INVALID, "\"%s\" of the archive is not a regular file", name);
	g_autofree char *content = g_malloc(limit + 1);
	size_t length = 0;
	la_ssize_t n;
	while ((n = archive_read_data(
		    archive_source_reader(source), content + length, limit + 1 - length)) > 0) {
		length += (size_t)n;
		if (length > limit)
			return error_set(err, ERROR_INVALID,
			    "\"%s\" of the archive is longer than %zu bytes", name, limit);
	}
	if (n < 0)
		return archive_source_fail(source, err);
	content[length] = '\0';
	*ret_content = g_steal_pointer(&content);
	*ret_length = length;
	return 0;
}

int unpack_read_file(int archive_fd, const char *name, size_t limit, char **ret_content,
    size_t *ret_length, Error **err)
{
	g_autoptr(ArchiveSource) source = NULL;
	if (archive_source_open(archive_fd, &source, err) < 0)
		return -1;
	struct archive_entry *entry;
	int more;
	while ((more = archive_source_next(source, &entry, err)) > 0) {
		g_autofree char *path = name_normalise(archive_entry_pathname(entry), UNPACK_IMAGE);
		if (path && strcmp(path, name) == 0)
			return read_content(
			    source, entry, name, limit, ret_content, ret_length, err);
	}
	return more < 0 ? -1 : error_set(err, ERROR_NOT_FOUND, "The archive holds no \"%s\"", name);
}

int unpack_image_content(int archive_fd, ImageContent *ret_content, Error **err)
{
	g_autoptr(ArchiveSource) source = NULL;
	if (archive_source_open(archive_fd, &source, err) < 0)
		return -1;
	struct archive_entry *entry;
	int more;
	while ((more = archive_source_next(source, &entry, err)) > 0) {
		g_autofree char *path = name_normalise(archive_entry_pathname(entry), UNPACK_IMAGE);
		if (!path)
			return refuse(err, archive_entry_pathname(entry),
			    "has a name that leaves the directory");
		mode_t type = archive_entry_hardlink(entry) ? 0 : archive_entry_filetype(entry);
		gboolean top = strcmp(path, "rootfs") == 0;
		if (top && type != AE_IFDIR)
			return refuse(err, path, "of an image must be a directory");
		if (strcmp(path, "templates") == 0 && type != AE_IFDIR)
			return refuse(err, path, "of an image must be a directory");
		if (top || g_str_has_prefix(path, "rootfs/")) {
			*ret_content = IMAGE_CONTENT_CONTAINER;
			return 0;
		}
		if (strcmp(path, "rootfs.img") != 0)
			continue;
		if (type != AE_IFREG)
			return refuse(err, path, "of an image must be a regular file");
		*ret_content = IMAGE_CONTENT_MACHINE;
		return 0;
	}
	return more < 0 ? -1 :
			  error_set(err, ERROR_INVALID,
			      "The archive holds neither \"rootfs\" nor \"rootfs.img\"");
}
