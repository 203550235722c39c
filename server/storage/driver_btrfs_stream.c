#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "sdk/base/spawn.h"
#include "server/storage/driver_btrfs_private.h"
#include "server/storage/subvolume.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* Streams of the kernel's own format, one for each call, as `btrfs send` writes them. */

/* A volume that can be written to is sent as a snapshot, which goes afterwards. */
static int send_volume(
    DriverPool *pool, const DriverVolume *volume, const char *parent, int fd, Error **err)
{
	g_autofree char *folder =
	    driver_path(pool->path, volume->type, PLACE_DELETED, volume->name, "");
	g_autofree char *sealed = g_build_filename(folder, "send", NULL);
	if (file_mkdir_all(folder, 0711, err) < 0 || subvolume_delete(sealed, err) < 0 ||
	    subvolume_snapshot(volume->path, sealed, TRUE, err) < 0)
		return -1;
	int result = subvolume_send(sealed, parent, fd, err);
	if (subvolume_delete(sealed, result == 0 ? err : NULL) < 0)
		return -1;
	rmdir(folder);
	return result;
}

int btrfs_volume_send(
    DriverPool *pool, const DriverVolume *volume, const char *parent, int fd, Error **err)
{
	gboolean nested;
	if (subvolume_has_nested(volume->path, &nested, err) < 0)
		return -1;
	/* A stream is one subvolume. */
	if (nested)
		return error_set(err, ERROR_UNSUPPORTED,
		    "Volume \"%s\" has subvolumes inside, which a stream cannot hold",
		    volume->name);
	g_autofree char *since =
	    parent ? driver_path(pool->path, volume->type, volume->place, volume->name, parent)
		   : NULL;
	return volume->snapshot ? subvolume_send(volume->path, since, fd, err)
				: send_volume(pool, volume, since, fd, err);
}

/* The one subvolume that a stream has made in a folder. */
static char *received(const char *folder, Error **err)
{
	g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
	const char *name = dir ? g_dir_read_name(dir) : NULL;
	g_autofree char *path = name ? g_build_filename(folder, name, NULL) : NULL;
	if (!path || g_dir_read_name(dir) || !subvolume_is(path)) {
		error_set(err, ERROR_INVALID, "The stream does not hold one volume");
		return NULL;
	}
	return g_steal_pointer(&path);
}

/* `..` of a subvolume is its own, so that it moves only while it can be written to. The next stream
 * since it finds it by what was received, which the kernel takes from a subvolume that becomes
 * writable. */
static int place(const char *folder, const DriverVolume *volume, Error **err)
{
	SubvolumeReceived identity;
	g_autofree char *path = received(folder, err);
	if (!path || subvolume_get_received(path, &identity, err) < 0 ||
	    subvolume_set_read_only(path, FALSE, err) < 0)
		return -1;
	if (renameat2(AT_FDCWD, path, AT_FDCWD, volume->path, RENAME_NOREPLACE) < 0)
		return error_errno(err, errno == EEXIST ? ERROR_EXISTS : ERROR_INTERNAL, errno,
		    "Cannot move \"%s\" to \"%s\"", path, volume->path);
	if (!volume->snapshot)
		return 0;
	return subvolume_set_received(volume->path, &identity, err) < 0 ?
	    -1 :
	    subvolume_set_read_only(volume->path, TRUE, err);
}

int btrfs_volume_receive(DriverPool *pool, const DriverVolume *volume, int fd, Error **err)
{
	/* No volume can have such a name; what a crash leaves there is swept. */
	g_autofree char *name = g_strconcat(volume->name, "~receive", NULL);
	g_autofree char *folder =
	    driver_path(pool->path, volume->type, PLACE_UNFINISHED, name, NULL);
	const char *const argv[] = {"btrfs", "-q", "receive", "-e", folder, NULL};
	Spawn spawn = {.argv = argv, .stdin_fd = fd};
	if (subvolume_delete(folder, err) < 0 || file_mkdir_all(folder, 0700, err) < 0)
		return -1;
	int result = spawn_run(&spawn, NULL, NULL, err) < 0 ? -1 : place(folder, volume, err);
	return subvolume_delete(folder, result == 0 ? err : NULL) < 0 ? -1 : result;
}
