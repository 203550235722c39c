/* The kernel's streams of subvolumes as they come, for the driver's own streams and for backups. */
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "sdk/base/spawn.h"
#include "server/storage/driver_btrfs_private.h"
#include "server/storage/subvolume.h"
#include "server/storage/unpack.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* The one subvolume that a stream has just made. */
static char *received(const char *folder, Error **err)
{
	g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
	g_autofree char *path = NULL;
	const char *name;
	guint found = 0;
	while (dir && (name = g_dir_read_name(dir))) {
		if (name[0] == BTRFS_KEPT_MARK)
			continue;
		g_free(path);
		path = g_build_filename(folder, name, NULL);
		found++;
	}
	if (found == 1 && subvolume_is(path))
		return g_steal_pointer(&path);
	error_set(err, ERROR_INVALID, "The stream does not hold one volume");
	return NULL;
}

/* `btrfs receive` follows the links that a stream has made before, and takes data from any subvolume
 * that a stream names, so it must not see more than what it makes; and it finds a stream's parent
 * only within its root, which must be a subvolume. */
int btrfs_receive(const char *folder, int fd, const char *kept, Error **err)
{
	const char *const argv[] = { "btrfs", "-q", "receive", "-C", "-e", folder, NULL };
	Spawn spawn = { .argv = argv, .stdin_fd = fd };
	if (!subvolume_is(folder) && subvolume_create(folder, err) < 0)
		return -1;
	if (spawn_run(&spawn, NULL, NULL, err) < 0)
		return -1;
	g_autofree char *path = received(folder, err);
	if (!path)
		return -1;
	return renameat2(AT_FDCWD, path, AT_FDCWD, kept, RENAME_NOREPLACE) == 0 ?
	    0 :
	    error_errno(err, ERROR_INTERNAL, errno, "Cannot keep \"%s\"", kept);
}

/* Nodes of devices are doors to the host, as in any archive. */
static int drop_devices(const char *path, Error **err)
{
	autofd int fd = file_open_directory(path, err);
	return fd < 0 ? -1 : unpack_drop_devices(fd, err);
}

int btrfs_open_up(const char *path, gboolean foreign, Error **err)
{
	if (subvolume_set_read_only(path, FALSE, err) < 0)
		return -1;
	return foreign ? drop_devices(path, err) : 0;
}

int btrfs_place_inner(int outermost, const char *path, const char *inner, Error **err)
{
	const char *name;
	struct stat before;
	autofd int parent = file_open_parent(outermost, inner, FILE_LINKS_NONE, &name, err);
	if (parent < 0)
		return -1;
	if (fstat(parent, &before) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot look at \"%s\"", inner);
	unlinkat(parent, name, AT_REMOVEDIR); /* what stood for it */
	if (renameat2(AT_FDCWD, path, parent, name, RENAME_NOREPLACE) < 0)
		return error_errno(
		    err, ERROR_INVALID, errno, "Cannot place the subvolume \"%s\"", inner);
	file_restore_times(parent, &before);
	return 0;
}
