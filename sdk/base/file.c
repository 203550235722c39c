#include "sdk/base/file.h"

#include "sdk/base/own.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

int file_open_directory(const char *path, Error **err)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		error_errno(err, errno == ENOENT ? ERROR_NOT_FOUND : ERROR_INTERNAL, errno,
		    "Failed to open directory \"%s\"", path);
	return fd;
}

int file_openat(int dir_fd, const char *path, int flags, mode_t mode, FileLinks links)
{
	static const uint64_t resolve[] = {
		[FILE_LINKS_NONE] = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS,
		[FILE_LINKS_BENEATH] = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
		[FILE_LINKS_IN_ROOT] = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	/* openat2 refuses mode bits where nothing is created. */
	gboolean creates = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
	struct open_how how = {.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
		.mode = creates ? mode : 0,
		.resolve = resolve[links]};
	/* RESOLVE_NO_SYMLINKS gives ELOOP for a final link even with O_PATH|O_NOFOLLOW, except
	 * that openat2(2) lets exactly that combination through. */
	int fd;
	do /* EAGAIN: something was renamed meanwhile; the kernel could not prove the path stays
	      beneath */
		fd = (int)syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));
	while (fd < 0 && (errno == EAGAIN || errno == EINTR));
	return fd;
}

static ErrorKind file_error_kind(int errno_value)
{
	switch (errno_value) {
	case ENOENT:
		return ERROR_NOT_FOUND;
	case EXDEV:
	case ELOOP:
		return ERROR_FORBIDDEN;
	case ENAMETOOLONG:
	case ENOTDIR:
	case EISDIR:
		return ERROR_INVALID;
	case EEXIST:
		return ERROR_EXISTS;
	default:
		return ERROR_INTERNAL;
	}
}

static int file_fail(Error **err, int errno_value, const char *what, const char *path)
{
	if (errno_value == EXDEV || errno_value == ELOOP)
		return error_set(
		    err, ERROR_FORBIDDEN, "%s \"%s\": path leads out of its directory", what, path);
	return error_errno(err, file_error_kind(errno_value), errno_value, "%s \"%s\"", what, path);
}

int file_open_beneath(
    int dir_fd, const char *path, int flags, mode_t mode, FileLinks links, Error **err)
{
	int fd = file_openat(dir_fd, path, flags, mode, links);
	if (fd < 0)
		file_fail(err, errno, "Failed to open", path);
	return fd;
}

int file_open_parent(
    int dir_fd, const char *path, FileLinks links, const char **ret_name, Error **err)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return error_set(err, ERROR_INVALID, "Invalid path \"%s\"", path);
	g_autofree char *parent = slash ? g_strndup(path, (gsize)(slash - path)) : NULL;
	if (slash && !*parent && links != FILE_LINKS_IN_ROOT)
		return error_set(err, ERROR_INVALID, "Path \"%s\" is not relative", path);
	int fd = file_open_beneath(
	    dir_fd, parent && *parent ? parent : ".", O_RDONLY | O_DIRECTORY, 0, links, err);
	if (fd >= 0)
		*ret_name = name;
	return fd;
}

/* The new directory is opened and given its mode through the fd: a name could be swapped. */
static int mkdir_one(int dir_fd, const char *name, mode_t mode, Error **err)
{
	if (mkdirat(dir_fd, name, 0700) < 0) {
		if (errno != EEXIST)
			return file_fail(err, errno, "Failed to create directory", name);
		struct stat st;
		if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
			return 0;
		return error_set(err, ERROR_EXISTS, "\"%s\" exists and is no directory", name);
	}
	autofd int fd = file_openat(
	    dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, FILE_LINKS_NONE);
	if (fd < 0 || fchmod(fd, mode) < 0)
		return file_fail(err, errno, "Failed to set the mode of", name);
	return 0;
}

void file_restore_times(int fd, const struct stat *before)
{
	const struct timespec times[] = { before->st_atim, before->st_mtim };
	utimensat(fd, "", times, AT_EMPTY_PATH);
}

int file_mkdir_beneath(int dir_fd, const char *path, mode_t mode, gboolean all, Error **err)
{
	if (all) {
		g_auto(GStrv) parts = g_strsplit(path, "/", -1);
		autofd int fd = file_openat(
		    dir_fd, ".", O_RDONLY | O_DIRECTORY, 0, FILE_LINKS_NONE);
		for (char **part = parts; *part; part++) {
			if (!**part || strcmp(*part, ".") == 0)
				continue;
			if (strcmp(*part, "..") == 0)
				return error_set(err, ERROR_INVALID, "Invalid path \"%s\"", path);
			if (mkdir_one(fd, *part, mode, err) < 0)
				return -1;
			int next = file_open_beneath(
			    fd, *part, O_RDONLY | O_DIRECTORY, 0, FILE_LINKS_NONE, err);
			if (next < 0)
				return -1;
			close(fd);
			fd = next;
		}
		return 0;
	}
	const char *name;
	autofd int parent = file_open_parent(dir_fd, path, FILE_LINKS_BENEATH, &name, err);
	return parent < 0 ? -1 : mkdir_one(parent, name, mode, err);
}

int file_mkdir_all(const char *path, mode_t mode, Error **err)
{
	g_autofree char *copy = g_strdup(path);
	for (char *c = copy + 1;; c++) {
		if (*c && *c != '/')
			continue;
		char kept = *c;
		*c = 0;
		if (mkdir(copy, mode) == 0) {
			if (chmod(copy, mode) < 0) /* past the umask */
				return error_errno(err, ERROR_INTERNAL, errno,
				    "Failed to set the mode of \"%s\"", copy);
		} else if (errno != EEXIST) {
			return error_errno(
			    err, ERROR_INTERNAL, errno, "Failed to create directory \"%s\"", copy);
		}
		*c = kept;
		if (!kept)
			break;
	}
	struct stat st;
	if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
		return error_set(err, ERROR_INTERNAL, "\"%s\" is no directory", path);
	return 0;
}

int file_read_fd(int fd, size_t limit, char **ret_data, size_t *ret_length, Error **err)
{
	struct stat st;
	size_t size = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? (size_t)st.st_size + 1 : 4096;
	size_t used = 0;
	size = MIN(size, MIN(limit, (size_t)1 << 30) + 1);
	g_autofree char *data = g_malloc(size + 1);
	for (;;) {
		ssize_t n = read(fd, data + used, size - used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, ERROR_INTERNAL, errno, "Failed to read");
		if (n == 0)
			break;
		used += (size_t)n;
		if (used > limit)
			return error_set(err, ERROR_TOO_LARGE, "More than %zu bytes", limit);
		if (used == size) {
			size *= 2;
			data = g_realloc(data, size + 1);
		}
	}
	data[used] = 0;
	if (ret_length)
		*ret_length = used;
	*ret_data = g_steal_pointer(&data);
	return 0;
}

int file_read(int dir_fd, const char *path, FileLinks links, size_t limit, char **ret_data,
    size_t *ret_length, Error **err)
{
	/* O_NONBLOCK: a FIFO planted under the name must not hang us. */
	autofd int fd = dir_fd == AT_FDCWD
	    ? open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY)
	    : file_openat(dir_fd, path, O_RDONLY | O_NOCTTY | O_NONBLOCK, 0, links);
	if (fd < 0)
		return file_fail(err, errno, "Failed to open", path);
	struct stat st;
	if (dir_fd != AT_FDCWD && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)))
		return error_set(err, ERROR_INVALID, "\"%s\" is no regular file", path);
	if (file_read_fd(fd, limit, ret_data, ret_length, err) < 0)
		return error_prefix(err, "Failed to read \"%s\"", path);
	return 0;
}

int file_write_all(int fd, const void *data, size_t length)
{
	for (const char *at = data; length;) {
		ssize_t n = write(fd, at, length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		at += n;
		length -= (size_t)n;
	}
	return 0;
}

static int compare_names(gconstpointer a, gconstpointer b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int file_names(int dir_fd, GPtrArray **ret_names, Error **err)
{
	g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
	int copy = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	autodir DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	if (!dir)
		return error_errno(err, ERROR_INTERNAL, errno, "Failed to read a directory");
	for (struct dirent *d; (d = readdir(dir));) {
		struct stat st;
		if (fstatat(dir_fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISREG(st.st_mode))
			g_ptr_array_add(names, g_strdup(d->d_name));
	}
	g_ptr_array_sort(names, compare_names);
	*ret_names = g_steal_pointer(&names);
	return 0;
}

int file_write_plain(const char *path, const char *text, mode_t mode, Error **err)
{
	autofd int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0 || file_write_all(fd, text, strlen(text)) < 0)
		return file_fail(err, errno, "Failed to write", path);
	return 0;
}

static int write_temporary(
    int dir_fd, const char *name, const void *data, size_t length, mode_t mode)
{
	autofd int fd = openat(
	    dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -1;
	if (fchmod(fd, mode) < 0 || file_write_all(fd, data, length) < 0 || fsync(fd) < 0)
		return -1;
	return close(own_steal_fd(&fd));
}

int file_write_atomic(
    int dir_fd, const char *path, const void *data, size_t length, mode_t mode, Error **err)
{
	const char *name = strrchr(path, '/');
	name = name ? name + 1 : path;
	autofd int parent = -1;
	if (dir_fd == AT_FDCWD) {
		g_autofree char *directory = g_path_get_dirname(path);
		parent = file_open_directory(directory, err);
	} else {
		parent = file_open_parent(dir_fd, path, FILE_LINKS_BENEATH, &name, err);
	}
	if (parent < 0)
		return -1;
	g_autofree char *temporary = g_strdup_printf(".%s.%08x", name, g_random_int());
	if (write_temporary(parent, temporary, data, length, mode) < 0 ||
	    renameat(parent, temporary, parent, name) < 0) {
		int saved = errno;
		unlinkat(parent, temporary, 0);
		return error_errno(err, ERROR_INTERNAL, saved, "Failed to write \"%s\"", path);
	}
	if (fsync(parent) < 0 && errno != EINVAL) /* some file systems know no fsync of folders */
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Failed to sync the directory of \"%s\"", path);
	return 0;
}

/* Removal. Descends with one fd a level, so a directory deeper than this is first moved up to the
 * top. */
enum { REMOVE_DEPTH = 64 };

typedef struct Removal {
	int top_fd;
	unsigned moved;
	Error **err;
} Removal;

static void clear_immutable(int dir_fd, const char *name)
{
	autofd int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	int flags;
	if (fd >= 0 && ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 &&
	    (flags & (FS_IMMUTABLE_FL | FS_APPEND_FL))) {
		flags &= ~(FS_IMMUTABLE_FL | FS_APPEND_FL);
		ioctl(fd, FS_IOC_SETFLAGS, &flags);
	}
}

static int unlink_forced(int dir_fd, const char *name, int flags)
{
	if (unlinkat(dir_fd, name, flags) == 0 || errno == ENOENT)
		return 0;
	if (errno != EPERM && errno != EACCES)
		return -1;
	clear_immutable(dir_fd, name);
	clear_immutable(dir_fd, ".");
	return unlinkat(dir_fd, name, flags) == 0 || errno == ENOENT ? 0 : -1;
}

static int remove_entry(Removal *removal, int dir_fd, const char *name, unsigned depth);

static int remove_children(Removal *removal, int fd, unsigned depth)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	autodir DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	if (!dir) {
		int saved = errno;
		if (copy >= 0)
			close(copy);
		return error_errno(
		    removal->err, ERROR_INTERNAL, saved, "Failed to read a directory");
	}
	for (struct dirent *entry; (errno = 0, entry = readdir(dir));)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
		    remove_entry(removal, fd, entry->d_name, depth + 1) < 0)
			return -1;
	return errno ?
	    error_errno(removal->err, ERROR_INTERNAL, errno, "Failed to read a directory") :
	    0;
}

static int remove_directory(Removal *removal, int dir_fd, const char *name, unsigned depth)
{
	if (depth >= REMOVE_DEPTH && removal->top_fd >= 0) {
		g_autofree char *moved = g_strdup_printf(
		    ".deep-%u-%08x", removal->moved++, g_random_int());
		if (renameat(dir_fd, name, removal->top_fd, moved) == 0)
			return remove_entry(removal, removal->top_fd, moved, 1);
	}
	struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS |
		    RESOLVE_NO_XDEV };
	autofd int fd = (int)syscall(SYS_openat2, dir_fd, name, &how, sizeof(how));
	if (fd < 0)
		return errno == ENOENT ?
		    0 :
		    errno == EXDEV ?
		    error_set(removal->err, ERROR_BUSY, "\"%s\" is a mount point: unmount it first",
			name) :
		    error_errno(removal->err, ERROR_INTERNAL, errno, "Failed to open \"%s\"", name);
	gboolean top = removal->top_fd < 0;
	if (top)
		removal->top_fd = fd;
	int failed = remove_children(removal, fd, depth);
	if (failed == 0 && unlink_forced(dir_fd, name, AT_REMOVEDIR) < 0) {
		/* Directories moved up while the listing ran may have been missed: look again. */
		failed = errno == ENOTEMPTY || errno == EEXIST ?
		    remove_children(removal, fd, depth) :
		    0;
		if (failed == 0 && unlink_forced(dir_fd, name, AT_REMOVEDIR) < 0)
			failed = error_errno(removal->err,
			    errno == EBUSY ? ERROR_BUSY : ERROR_INTERNAL, errno,
			    "Failed to remove directory \"%s\"", name);
	}
	if (top)
		removal->top_fd = -1;
	return failed;
}

static int remove_entry(Removal *removal, int dir_fd, const char *name, unsigned depth)
{
	if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno == EISDIR)
		return remove_directory(removal, dir_fd, name, depth);
	if (errno == EBUSY)
		return error_set(
		    removal->err, ERROR_BUSY, "\"%s\" is a mount point: unmount it first", name);
	int failed = errno;
	struct stat st; /* EPERM: a directory (POSIX lets unlink say so) or an immutable file */
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
		return remove_directory(removal, dir_fd, name, depth);
	if ((failed == EPERM || failed == EACCES) && unlink_forced(dir_fd, name, 0) == 0)
		return 0;
	return error_errno(removal->err, ERROR_INTERNAL, failed, "Failed to remove \"%s\"", name);
}

int file_remove_all(int dir_fd, const char *path, Error **err)
{
	g_autofree char *trimmed = g_strdup(path);
	size_t length = strlen(trimmed);
	while (length > 1 && trimmed[length - 1] == '/')
		trimmed[--length] = 0;
	const char *name = strrchr(trimmed, '/');
	name = name ? name + 1 : trimmed;
	autofd int parent = -1;
	g_autoptr(Error) failed = NULL;
	if (dir_fd == AT_FDCWD) {
		g_autofree char *directory = g_path_get_dirname(trimmed);
		parent = file_open_directory(directory, &failed);
	} else {
		parent = file_open_parent(dir_fd, trimmed, FILE_LINKS_BENEATH, &name, &failed);
	}
	if (parent < 0)
		return failed->kind == ERROR_NOT_FOUND ?
		    0 :
		    error_propagate(err, g_steal_pointer(&failed));
	if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return error_set(err, ERROR_INVALID, "Invalid path \"%s\"", path);
	Removal removal = {.top_fd = -1, .err = err};
	if (remove_entry(&removal, parent, name, 0) < 0)
		return error_prefix(err, "Failed to remove \"%s\"", path);
	return 0;
}
