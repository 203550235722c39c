/* Trees of strangers that did not come through unpack.c. */
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "server/storage/unpack.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEPTH_MAX = 500 };

static int drop_in(int directory, unsigned depth, Error **err);

static int drop_below(int directory, const char *name, unsigned depth, Error **err)
{
	autofd int fd = file_openat(directory, name, O_RDONLY | O_DIRECTORY, 0, FILE_LINKS_NONE);
	if (fd < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot open \"%s\"", name);
	return depth > DEPTH_MAX ?
	    error_set(err, ERROR_INVALID, "Directories are nested too deeply: \"%s\"", name) :
	    drop_in(fd, depth + 1, err);
}

static int drop_entry(int directory, const struct dirent *item, unsigned depth, Error **err)
{
	struct stat st;
	if (item->d_type == DT_DIR)
		return drop_below(directory, item->d_name, depth, err);
	if (item->d_type != DT_CHR && item->d_type != DT_BLK)
		return 0;
	if (fstatat(directory, item->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    (!unpack_node_is_harmless(st.st_mode, st.st_rdev) &&
		unlinkat(directory, item->d_name, 0) < 0))
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot remove \"%s\"", item->d_name);
	return 0;
}

static int drop_in(int directory, unsigned depth, Error **err)
{
	int own = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *listing = own < 0 ? NULL : fdopendir(own);
	if (!listing) {
		own_close_fd(&own);
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot read a directory");
	}
	int result = 0;
	struct dirent *item;
	while (result == 0 && (item = readdir(listing)))
		if (strcmp(item->d_name, ".") != 0 && strcmp(item->d_name, "..") != 0)
			result = drop_entry(directory, item, depth, err);
	closedir(listing);
	return result;
}

int unpack_drop_devices(int directory_fd, Error **err)
{
	return drop_in(directory_fd, 0, err);
}
