#include "server/storage/unpack.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "sdk/base/spawn.h"
#include "server/operation/operation.h"
#include "server/storage/archive_source.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum { DEPTH_MAX = 1000 };

static gboolean op_cancelled(void *op)
{
	return op && operation_cancelled(op);
}

/* As unpack_archive() leaves them out: unsquashfs makes every node. */
static int remove_nodes(int dir_fd, unsigned depth, Error **err)
{
	if (depth > DEPTH_MAX)
		return error_set(err, ERROR_INVALID, "The file system is nested too deeply");
	int own = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	autodir DIR *dir = own < 0 ? NULL : fdopendir(own);
	if (!dir)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot read the unpacked directory");
	for (struct dirent *d; (d = readdir(dir));) {
		if (d->d_type == DT_BLK || d->d_type == DT_CHR) {
			struct stat st;
			if (fstatat(dir_fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			    !unpack_node_is_harmless(st.st_mode, st.st_rdev))
				unlinkat(dir_fd, d->d_name, 0);
			continue;
		}
		if (d->d_type != DT_DIR || strcmp(d->d_name, ".") == 0 ||
		    strcmp(d->d_name, "..") == 0)
			continue;
		autofd int below = openat(
		    dir_fd, d->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (below < 0)
			return error_errno(
			    err, ERROR_INTERNAL, errno, "Cannot read the unpacked directory");
		if (remove_nodes(below, depth + 1, err) < 0)
			return -1;
	}
	return 0;
}

/* Both ends travel as fds, so that no path is looked up by the program. */
static int unpack_squashfs(int file_fd, int directory_fd, const UnpackOptions *options, Error **err)
{
	const char *const argv[] = { "unsquashfs", "-force", "-no-progress", "-quiet", "-dest",
		"/proc/self/fd/3", "/proc/self/fd/4", NULL };
	const int fds[] = { directory_fd, file_fd };
	Spawn spawn = { .argv = argv,
		.fds = fds,
		.n_fds = G_N_ELEMENTS(fds),
		.cancelled = op_cancelled,
		.cancel_data = options->op };
	if (spawn_run(&spawn, NULL, NULL, err) < 0)
		return error_prefix(err, "Cannot unpack the squashfs image");
	return remove_nodes(directory_fd, 0, err);
}

int unpack_rootfs(const char *file, int directory_fd, const UnpackOptions *options, Error **err)
{
	autofd int fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot read the image's root file system");
	if (archive_kind_of_fd(fd) == ARCHIVE_KIND_SQUASHFS)
		return unpack_squashfs(fd, directory_fd, options, err);
	return unpack_archive(fd, directory_fd, options, err);
}
