/* file_copy_data, file_copy_tree and file_usage of file.h. */
#include "sdk/base/file.h"
#include "sdk/base/own.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

enum { CHUNK = 1 << 20, RANGE = 16 << 20 };

static const FileCopy defaults = { 0 };

static void count(const FileCopy *options, off_t bytes)
{
	if (options->progress)
		options->progress((uint64_t)bytes, options->data);
}

/* Within a file, too: a disk's image may take an hour. */
static int tell(const FileCopy *options, off_t bytes)
{
	count(options, bytes);
	if (!options->cancelled || !options->cancelled(options->data))
		return 0;
	errno = ECANCELED;
	return -1;
}

/* Plain copy of [offset, offset + length): for file systems that share nothing. */
static int copy_plain(int in_fd, int out_fd, off_t offset, off_t length, const FileCopy *options)
{
	g_autofree char *buffer = g_malloc(CHUNK);
	while (length > 0) {
		ssize_t n = pread(in_fd, buffer, (size_t)MIN(length, (off_t)CHUNK), offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return (int)n; /* it shrank meanwhile: what there is was copied */
		for (ssize_t done = 0; done < n;) {
			ssize_t put = pwrite(
			    out_fd, buffer + done, (size_t)(n - done), offset + done);
			if (put < 0 && errno != EINTR)
				return -1;
			done += MAX(put, 0);
		}
		offset += n;
		length -= n;
		if (tell(options, n) < 0)
			return -1;
	}
	return 0;
}

static int copy_range(int in_fd, int out_fd, off_t offset, off_t length, const FileCopy *options)
{
	off_t in = offset, out = offset, end = offset + length;
	while (in < end) {
		ssize_t n = copy_file_range(
		    in_fd, &in, out_fd, &out, (size_t)MIN(end - in, (off_t)RANGE), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 &&
		    (errno == EXDEV || errno == EINVAL || errno == EOPNOTSUPP || errno == ENOSYS ||
			errno == EPERM))
			return copy_plain(in_fd, out_fd, in, end - in, options);
		if (n < 0)
			return -1;
		if (n == 0) /* some file systems (procfs) answer 0 although there is data */
			return copy_plain(in_fd, out_fd, in, end - in, options);
		if (tell(options, n) < 0)
			return -1;
	}
	return 0;
}

static int copy_data(int in_fd, int out_fd, const FileCopy *options)
{
	struct stat st;
	if (fstat(in_fd, &st) < 0)
		return -1;
	if (st.st_size == 0)
		return 0;
	if (ioctl(out_fd, FICLONE, in_fd) == 0)
		return tell(options, st.st_blocks * 512);
	if (st.st_blocks >= st.st_size / 512)
		return copy_range(in_fd, out_fd, 0, st.st_size, options);
	if (ftruncate(out_fd, st.st_size) < 0)
		return -1;
	for (off_t at = 0; at < st.st_size;) {
		off_t data = lseek(in_fd, at, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			break;
		off_t hole = data < 0 ? -1 : lseek(in_fd, data, SEEK_HOLE);
		if (hole < 0) {
			data = at;
			hole = st.st_size;
		}
		if (copy_range(in_fd, out_fd, data, hole - data, options) < 0)
			return -1;
		at = hole;
	}
	return 0;
}

int file_copy_data(int in_fd, int out_fd, Error **err)
{
	if (copy_data(in_fd, out_fd, &defaults) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Failed to copy file data");
	return 0;
}

/* A tree is copied by a few threads that take directories from a queue. A directory's own times and
 * mode are set when its last child is done, so nodes count their unfinished children. */
typedef struct Node {
	struct Node *parent;
	char *path;      /* from the roots; "." for them */
	gint unfinished; /* itself and its child directories */
} Node;

typedef struct HardLink {
	dev_t device;
	ino_t inode;
	char *path; /* in the target */
} HardLink;

typedef struct Copy {
	const FileCopy *options;
	int source_fd, target_fd;
	GMutex lock;
	GCond more;
	GQueue queue;      /* of Node */
	unsigned pending;  /* nodes queued or worked on */
	gint failed;
	Error *error;
	GMutex link_lock;
	GHashTable *links; /* HardLink set */
} Copy;

static guint link_hash(const void *item)
{
	const HardLink *hard = item;
	return (guint)(hard->inode ^ hard->device * 31);
}

static gboolean link_equal(const void *a, const void *b)
{
	const HardLink *one = a, *two = b;
	return one->inode == two->inode && one->device == two->device;
}

static void link_free(void *item)
{
	HardLink *hard = item;
	g_free(hard->path);
	g_free(hard);
}

static int copy_fail(Copy *copy, int errno_value, const char *what, const char *path)
{
	g_mutex_lock(&copy->lock);
	if (!copy->error)
		error_errno(&copy->error, ERROR_INTERNAL, errno_value,
		    "Failed to %s \"%s\"", what, path);
	g_mutex_unlock(&copy->lock);
	g_atomic_int_set(&copy->failed, 1);
	return -1;
}

/* One file system only: what is mounted inside the source is somebody else's. */
static int open_in_tree(int root_fd, const char *path, int flags)
{
	struct open_how how = { .flags = (uint64_t)(unsigned)(flags | O_NOFOLLOW | O_CLOEXEC),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS |
		    RESOLVE_NO_XDEV };
	int fd;
	do
		fd = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
	while (fd < 0 && (errno == EAGAIN || errno == EINTR));
	return fd;
}

/* fd paths work for device nodes too, where f*xattr does not. */
static int copy_xattrs(int in_fd, int out_fd)
{
	char in[64], out[64], names[8192];
	g_snprintf(in, sizeof(in), "/proc/self/fd/%d", in_fd);
	g_snprintf(out, sizeof(out), "/proc/self/fd/%d", out_fd);
	g_autofree char *large = NULL;
	char *list = names;
	ssize_t length = listxattr(in, names, sizeof(names));
	if (length < 0 && errno == ERANGE) {
		large = g_malloc(65536);
		list = large;
		length = listxattr(in, large, 65536);
	}
	if (length < 0)
		return errno == EOPNOTSUPP || errno == ENOTSUP ? 0 : -1;
	for (char *name = list; name < list + length; name += strlen(name) + 1) {
		/* The kernel's own labels (SELinux) and overlay's private marks are not ours to
		 * carry. */
		if (g_str_has_prefix(name, "security.selinux"))
			continue;
		g_autofree char *value = g_malloc(65536);
		ssize_t size = getxattr(in, name, value, 65536);
		if (size < 0 && errno == ENODATA)
			continue;
		if (size < 0 || setxattr(out, name, value, (size_t)size, 0) < 0)
			return -1;
	}
	return 0;
}

/* Not of links. Owner before mode and xattrs: chown clears set-id bits and file capabilities. */
static int copy_attributes(int in_fd, int out_fd, const struct stat *st, gboolean is_path_fd)
{
	struct timespec times[2] = {st->st_atim, st->st_mtim};
	char path[64];
	if (fchownat(out_fd, "", st->st_uid, st->st_gid, AT_EMPTY_PATH) < 0)
		return -1;
	g_snprintf(path, sizeof(path), "/proc/self/fd/%d", out_fd);
	if (copy_xattrs(in_fd, out_fd) < 0)
		return -1;
	if ((is_path_fd ? chmod(path, st->st_mode & 07777) : fchmod(out_fd, st->st_mode & 07777)) <
	    0)
		return -1;
	return is_path_fd ? utimensat(AT_FDCWD, path, times, 0) : futimens(out_fd, times);
}

/* What the source no longer has: copy_attributes() only adds. */
static int clear_xattrs(int out_fd)
{
	char path[64], names[65536];
	g_snprintf(path, sizeof(path), "/proc/self/fd/%d", out_fd);
	ssize_t length = listxattr(path, names, sizeof(names));
	if (length < 0)
		return errno == EOPNOTSUPP || errno == ENOTSUP ? 0 : -1;
	for (char *name = names; name < names + length; name += strlen(name) + 1)
		if (!g_str_has_prefix(name, "security.selinux") && removexattr(path, name) < 0 &&
		    errno != ENODATA)
			return -1;
	return 0;
}

/* TRUE when the target's file is a copy of the source's as it is now; its attributes are then
 * renewed. */
static gboolean keep_regular(
    const Copy *copy, int in_dir, int out_dir, const char *name, const struct stat *st)
{
	struct stat there;
	if (!copy->options->sync || !S_ISREG(st->st_mode) || st->st_nlink > 1 ||
	    fstatat(out_dir, name, &there, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(there.st_mode) ||
	    there.st_nlink > 1 || there.st_size != st->st_size ||
	    there.st_mtim.tv_sec != st->st_mtim.tv_sec ||
	    there.st_mtim.tv_nsec != st->st_mtim.tv_nsec)
		return FALSE;
	autofd int in = openat(in_dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	autofd int out = openat(out_dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (in < 0 || out < 0 || clear_xattrs(out) < 0 || copy_attributes(in, out, st, TRUE) < 0)
		return FALSE;
	count(copy->options, st->st_blocks * 512);
	return TRUE;
}

static int copy_regular(
    Copy *copy, int in_dir, int out_dir, const char *name, const struct stat *st)
{
	autofd int in = openat(in_dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (in < 0)
		return -1;
	autofd int out = openat(
	    out_dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (out < 0)
		return -1;
	return copy_data(in, out, copy->options) < 0 ? -1 : copy_attributes(in, out, st, FALSE);
}

/* A link has an owner and times; what else it has is its target. */
static int copy_symlink(int in_dir, int out_dir, const char *name, const struct stat *st)
{
	struct timespec times[2] = {st->st_atim, st->st_mtim};
	char target[4097];
	ssize_t n = readlinkat(in_dir, name, target, sizeof(target) - 1);
	if (n < 0)
		return -1;
	target[n] = 0;
	if (symlinkat(target, out_dir, name) < 0 ||
	    fchownat(out_dir, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return -1;
	return utimensat(out_dir, name, times, AT_SYMLINK_NOFOLLOW);
}

static int copy_special(int in_dir, int out_dir, const char *name, const struct stat *st)
{
	if (mknodat(out_dir, name, (st->st_mode & S_IFMT) | 0600, st->st_rdev) < 0)
		return -1;
	autofd int in = openat(in_dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	autofd int out = openat(out_dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return in < 0 || out < 0 ? -1 : copy_attributes(in, out, st, TRUE);
}

static int copy_leaf(Copy *copy, int in_dir, int out_dir, const char *name, const struct stat *st)
{
	if (S_ISREG(st->st_mode))
		return copy_regular(copy, in_dir, out_dir, name, st);
	if (S_ISLNK(st->st_mode))
		return copy_symlink(in_dir, out_dir, name, st);
	return copy_special(in_dir, out_dir, name, st);
}

/* The first name of an inode is copied, under the lock, so that the others find it whole. */
static int copy_linked(
    Copy *copy, int in_dir, int out_dir, const char *path, const char *name, const struct stat *st)
{
	HardLink key = {.device = st->st_dev, .inode = st->st_ino};
	g_mutex_lock(&copy->link_lock);
	HardLink *known = g_hash_table_lookup(copy->links, &key);
	int failed;
	if (known) {
		failed = linkat(copy->target_fd, known->path, out_dir, name, 0);
	} else {
		failed = copy_leaf(copy, in_dir, out_dir, name, st);
		HardLink *fresh = g_new(HardLink, 1);
		*fresh = (HardLink){st->st_dev, st->st_ino, g_strdup(path)};
		g_hash_table_add(copy->links, fresh);
	}
	int saved = errno;
	g_mutex_unlock(&copy->link_lock);
	errno = saved;
	return failed;
}

static void copy_push(Copy *copy, Node *parent, char *path)
{
	Node *node = g_new(Node, 1);
	*node = (Node){.parent = parent, .path = path, .unfinished = 1};
	if (parent)
		g_atomic_int_inc(&parent->unfinished);
	g_mutex_lock(&copy->lock);
	copy->pending++;
	g_queue_push_tail(&copy->queue, node);
	g_cond_signal(&copy->more);
	g_mutex_unlock(&copy->lock);
}

static void copy_finish_node(Copy *copy, Node *node)
{
	while (node && g_atomic_int_dec_and_test(&node->unfinished)) {
		if (!g_atomic_int_get(&copy->failed)) {
			autofd int in = open_in_tree(
			    copy->source_fd, node->path, O_RDONLY | O_DIRECTORY);
			autofd int out = open_in_tree(
			    copy->target_fd, node->path, O_RDONLY | O_DIRECTORY);
			struct stat st;
			if (in < 0 || out < 0 || fstat(in, &st) < 0 ||
			    (copy->options->sync && clear_xattrs(out) < 0) ||
			    copy_attributes(in, out, &st, FALSE) < 0)
				copy_fail(copy, errno, "set the attributes of", node->path);
		}
		Node *parent = node->parent;
		g_free(node->path);
		g_free(node);
		node = parent;
	}
}

static int copy_make_directory(Copy *copy, int in_dir, int out_dir, const char *name)
{
	if (mkdirat(out_dir, name, 0700) == 0)
		return 0;
	struct stat there;
	if (errno == EEXIST && (copy->options->overwrite || copy->options->sync) &&
	    fstatat(out_dir, name, &there, AT_SYMLINK_NOFOLLOW) == 0) {
		if (S_ISDIR(there.st_mode))
			return 0;
		return unlinkat(out_dir, name, 0) < 0 ? -1 : mkdirat(out_dir, name, 0700);
	}
	errno = EEXIST;
	return -1;
}

static gboolean is_left_alone(const Copy *copy, const Node *node, const char *name)
{
	return copy->options->without && strcmp(node->path, ".") == 0 &&
	    strcmp(name, copy->options->without) == 0;
}

static int copy_entry(Copy *copy, Node *node, int in_dir, int out_dir, const char *name)
{
	struct stat st;
	if (is_left_alone(copy, node, name))
		return 0;
	g_autofree char *path = strcmp(node->path, ".") == 0 ?
	    g_strdup(name) :
	    g_strconcat(node->path, "/", name, NULL);
	if (fstatat(in_dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : copy_fail(copy, errno, "look at", path);
	if (S_ISDIR(st.st_mode)) {
		if (copy_make_directory(copy, in_dir, out_dir, name) < 0)
			return copy_fail(copy, errno, "create directory", path);
		autofd int probe = open_in_tree(in_dir, name, O_PATH | O_DIRECTORY);
		if (probe >= 0)
			copy_push(copy, node, g_steal_pointer(&path));
		else if (errno != EXDEV) /* a mount point stays an empty directory */
			return copy_fail(copy, errno, "open", path);
		return 0;
	}
	if (keep_regular(copy, in_dir, out_dir, name, &st))
		return 0;
	if (copy->options->overwrite || copy->options->sync) {
		g_autoptr(Error) ignored = NULL;
		if (file_remove_all(out_dir, name, &ignored) < 0)
			return copy_fail(copy, EEXIST, "replace", path);
	}
	int failed = st.st_nlink > 1 ? copy_linked(copy, in_dir, out_dir, path, name, &st)
				     : copy_leaf(copy, in_dir, out_dir, name, &st);
	return failed ? copy_fail(copy, errno, "copy", path) : 0;
}

/* Names of the target that the source has not. */
static void remove_extra(Copy *copy, const Node *node, int in_dir, int out_dir)
{
	int own = openat(out_dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	autodir DIR *dir = own < 0 ? NULL : fdopendir(own);
	for (struct dirent *entry; dir && (entry = readdir(dir));) {
		struct stat st;
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
		    is_left_alone(copy, node, entry->d_name) ||
		    fstatat(in_dir, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
			continue;
		g_autoptr(Error) error = NULL;
		if (file_remove_all(out_dir, entry->d_name, &error) < 0)
			copy_fail(copy, EBUSY, "remove what is no longer in", node->path);
	}
}

static void copy_node(Copy *copy, Node *node)
{
	int in = open_in_tree(copy->source_fd, node->path, O_RDONLY | O_DIRECTORY);
	autofd int out = open_in_tree(copy->target_fd, node->path, O_RDONLY | O_DIRECTORY);
	autodir DIR *dir = in < 0 ? NULL : fdopendir(in);
	if (!dir || out < 0) {
		copy_fail(copy, errno, "open directory", node->path);
		if (!dir && in >= 0)
			close(in);
		return;
	}
	for (struct dirent *entry; (errno = 0, entry = readdir(dir));) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (g_atomic_int_get(&copy->failed))
			return;
		if (copy->options->cancelled && copy->options->cancelled(copy->options->data)) {
			copy_fail(copy, ECANCELED, "copy", node->path);
			return;
		}
		if (copy_entry(copy, node, dirfd(dir), out, entry->d_name) < 0)
			return;
	}
	if (errno)
		copy_fail(copy, errno, "read directory", node->path);
	if (copy->options->sync)
		remove_extra(copy, node, dirfd(dir), out);
}

static void *copy_worker(void *data)
{
	Copy *copy = data;
	for (;;) {
		g_mutex_lock(&copy->lock);
		while (g_queue_is_empty(&copy->queue) && copy->pending)
			g_cond_wait(&copy->more, &copy->lock);
		Node *node = g_queue_pop_tail(&copy->queue); /* depth first keeps the queue short */
		g_mutex_unlock(&copy->lock);
		if (!node)
			return NULL;
		if (!g_atomic_int_get(&copy->failed))
			copy_node(copy, node);
		copy_finish_node(copy, node);
		g_mutex_lock(&copy->lock);
		if (--copy->pending == 0)
			g_cond_broadcast(&copy->more);
		g_mutex_unlock(&copy->lock);
	}
}

int file_copy_tree(int source_fd, int target_fd, const FileCopy *options, Error **err)
{
	Copy copy = { .options = options ? options : &defaults,
		.source_fd = source_fd,
		.target_fd = target_fd };
	unsigned threads = copy.options->threads ? copy.options->threads :
						   (unsigned)CLAMP(get_nprocs(), 1, 8);
	g_mutex_init(&copy.lock);
	g_mutex_init(&copy.link_lock);
	g_cond_init(&copy.more);
	g_queue_init(&copy.queue);
	copy.links = g_hash_table_new_full(link_hash, link_equal, link_free, NULL);
	copy_push(&copy, NULL, g_strdup("."));
	GThread *workers[64] = {0};
	threads = MIN(threads, G_N_ELEMENTS(workers));
	for (unsigned i = 1; i < threads; i++)
		workers[i] = g_thread_try_new("copy", copy_worker, &copy, NULL);
	copy_worker(&copy);
	for (unsigned i = 1; i < threads; i++)
		if (workers[i])
			g_thread_join(workers[i]);
	g_hash_table_unref(copy.links);
	g_cond_clear(&copy.more);
	g_mutex_clear(&copy.link_lock);
	g_mutex_clear(&copy.lock);
	if (!copy.error)
		return 0;
	if (copy.options->cancelled && copy.options->cancelled(copy.options->data))
		copy.error->kind = ERROR_CANCELLED;
	return error_propagate(err, copy.error);
}

static int usage_add(
    int dir_fd, dev_t device, GHashTable *seen, uint64_t *bytes, unsigned depth, Error **err)
{
	int own = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	autodir DIR *dir = own < 0 ? NULL : fdopendir(own);
	if (!dir)
		return error_errno(err, ERROR_INTERNAL, errno, "Failed to read a directory");
	for (struct dirent *entry; (entry = readdir(dir));) {
		struct stat st;
		if (strcmp(entry->d_name, "..") == 0 ||
		    fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    st.st_dev != device)
			continue;
		if (S_ISDIR(st.st_mode) && strcmp(entry->d_name, ".") != 0) {
			autofd int child = openat(dirfd(dir), entry->d_name,
			    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			if (child >= 0 && depth < 512 &&
			    usage_add(child, device, seen, bytes, depth + 1, err) < 0)
				return -1;
			continue;
		}
		if (!S_ISDIR(st.st_mode) && st.st_nlink > 1) {
			gint64 *inode = g_new(gint64, 1);
			*inode = (gint64)st.st_ino;
			if (!g_hash_table_add(seen, inode))
				continue;
		}
		*bytes += (uint64_t)st.st_blocks * 512;
	}
	return 0;
}

int file_usage(int dir_fd, uint64_t *ret_bytes, Error **err)
{
	struct stat st;
	g_autoptr(GHashTable) seen = g_hash_table_new_full(
	    g_int64_hash, g_int64_equal, g_free, NULL);
	uint64_t bytes = 0;
	if (fstat(dir_fd, &st) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Failed to look at a directory");
	if (usage_add(dir_fd, st.st_dev, seen, &bytes, 0, err) < 0)
		return -1;
	*ret_bytes = bytes;
	return 0;
}
