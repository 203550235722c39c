/* Virtual machines in archives: a tree with a disk in it. */
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "server/storage/disk_image.h"
#include "server/storage/pool_private.h"
#include "server/storage/store.h"
#include "server/storage/volume_archive_private.h"
#include "server/storage/volume_block.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char disk_name[] = "root.img", variables_name[] = "qemu.nvram";

/* ---- in ---- */

static int read_disk(Unpacker *unpacker, int fd, Error **err)
{
	return unpacker_content(unpacker, fd, err) < 0 ? -1 : disk_image_check_raw(fd, err);
}

static int change_disk(const VolumeArchive *archive, Unpacker *unpacker, int old, Error **err)
{
	autofd int fd = store_temporary(archive->pool->daemon, STORE_BACKUPS, err);
	if (fd < 0 || read_disk(unpacker, fd, err) < 0)
		return -1;
	return volume_block_write_fd(fd, old, err);
}

int archive_machine_disk(const VolumeArchive *archive, Unpacker *unpacker, int tree_fd, Error **err)
{
	g_autofree char *device = volume_has_device(archive->pool, archive->volume) ?
	    volume_block_path(archive->pool, archive->volume, PLACE_UNFINISHED) :
	    NULL;
	autofd int old = device ? open(device, O_RDWR | O_NOFOLLOW | O_CLOEXEC) :
				  file_openat(tree_fd, disk_name, O_RDWR, 0, FILE_LINKS_NONE);
	if (device && old < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot open \"%s\"", device);
	if (old >= 0)
		return change_disk(archive, unpacker, old, err);
	autofd int fd = file_open_beneath(
	    tree_fd, disk_name, O_RDWR | O_CREAT | O_EXCL, 0600, FILE_LINKS_NONE, err);
	return fd < 0 ? -1 : read_disk(unpacker, fd, err);
}

static gboolean is_file(int tree_fd, const char *name)
{
	struct stat st;
	return fstatat(tree_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
}

/* Incus keeps the firmware's variables under the name of the file that they were made from, and has
 * a link to it. */
int archive_machine_settle(int tree_fd, Error **err)
{
	char target[NAME_MAX + 1];
	ssize_t n = readlinkat(tree_fd, variables_name, target, sizeof(target) - 1);
	if (n < 0)
		return 0; /* a file, or none */
	target[n] = '\0';
	int result = !strchr(target, '/') && is_file(tree_fd, target) ?
	    renameat(tree_fd, target, tree_fd, variables_name) :
	    unlinkat(tree_fd, variables_name, 0);
	return result == 0 ?
	    0 :
	    error_errno(err, ERROR_INTERNAL, errno, "Cannot place the firmware's variables");
}

int archive_machine_check(int tree_fd, Error **err)
{
	struct stat st;
	autofd int fd = file_openat(tree_fd, disk_name, O_RDONLY | O_NONBLOCK, 0, FILE_LINKS_NONE);
	if (fd < 0 || !is_file(tree_fd, disk_name))
		return error_set(err, ERROR_INVALID, "Backup holds no disk");
	if (fstatat(tree_fd, variables_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    !S_ISREG(st.st_mode) && archive_machine_settle(tree_fd, err) < 0)
		return -1;
	return disk_image_check_raw(fd, err);
}
