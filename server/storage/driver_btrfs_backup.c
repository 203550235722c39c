/* Optimised backups as Incus writes and reads them: one stream of the kernel's for each subvolume,
 * raw, and a document about them. */
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "sdk/base/spawn.h"
#include "sdk/base/yaml.h"
#include "server/storage/driver_btrfs_private.h"
#include "server/storage/subvolume.h"
#include "server/storage/unpack.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* ---- there ---- */

/* What can be written to is sent as a snapshot, which goes afterwards. */
static int send_sealed(
    DriverPool *pool, const DriverVolume *volume, const char *since, int fd, Error **err)
{
	g_autofree char *folder = driver_path(
	    pool->path, volume->type, PLACE_DELETED, volume->name, "");
	g_autofree char *sealed = g_build_filename(folder, "backup", NULL);
	if (file_mkdir_all(folder, 0711, err) < 0 || subvolume_delete(sealed, err) < 0 ||
	    subvolume_snapshot(volume->path, sealed, TRUE, err) < 0)
		return -1;
	int result = subvolume_send(sealed, since, fd, err);
	if (subvolume_delete(sealed, result == 0 ? err : NULL) < 0)
		return -1;
	rmdir(folder);
	return result;
}

int btrfs_backup_send(
    DriverPool *pool, const DriverVolume *volume, const char *parent, int fd, Error **err)
{
	g_autofree char *since = parent ?
	    driver_path(pool->path, volume->type, volume->place, volume->name, parent) :
	    NULL;
	return volume->snapshot ? subvolume_send(volume->path, since, fd, err) :
				  send_sealed(pool, volume, since, fd, err);
}

/* ---- back ---- */

/* What was received under the names of snapshots, until their volume comes: "@NAME". */
enum { KEPT_MARK = '@' };

/* The one subvolume that a stream has just made. */
static char *received(const char *folder, Error **err)
{
	g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
	g_autofree char *path = NULL;
	const char *name;
	guint found = 0;
	while (dir && (name = g_dir_read_name(dir))) {
		if (name[0] == KEPT_MARK)
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

/* Nodes of devices are doors to the host, as in any archive. */
static int drop_devices(const char *path, Error **err)
{
	autofd int fd = file_open_directory(path, err);
	return fd < 0 ? -1 : unpack_drop_devices(fd, err);
}

/* `..` of a subvolume is its own, so that it moves only while it can be written to. */
static int place_snapshot(const char *from, const char *to, Error **err)
{
	if (subvolume_set_read_only(from, FALSE, err) < 0 || drop_devices(from, err) < 0)
		return -1;
	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) < 0)
		return error_errno(err, errno == EEXIST ? ERROR_EXISTS : ERROR_INTERNAL, errno,
		    "Cannot move \"%s\" to \"%s\"", from, to);
	return subvolume_set_read_only(to, TRUE, err);
}

static int place_snapshots(
    DriverPool *pool, const DriverVolume *volume, const char *folder, Error **err)
{
	g_autofree char *to = driver_path(pool->path, volume->type, volume->place, volume->name, "");
	g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
	const char *name;
	while (dir && (name = g_dir_read_name(dir))) {
		g_autofree char *from_path = g_build_filename(folder, name, NULL);
		g_autofree char *to_path = g_build_filename(to, name + 1, NULL);
		if (name[0] == KEPT_MARK &&
		    (file_mkdir_all(to, 0711, err) < 0 ||
			place_snapshot(from_path, to_path, err) < 0))
			return -1;
	}
	return 0;
}

/* A snapshot of what was received does not claim to be what was sent, once it is written to. */
static int place_volume(DriverPool *pool, const DriverVolume *volume, const char *folder,
    const char *path, Error **err)
{
	if (place_snapshots(pool, volume, folder, err) < 0 ||
	    subvolume_snapshot(path, volume->path, FALSE, err) < 0)
		return -1;
	if (drop_devices(volume->path, err) == 0)
		return 0;
	subvolume_delete(volume->path, NULL);
	return -1;
}

static int keep_snapshot(
    const DriverVolume *volume, const char *folder, const char *path, Error **err)
{
	g_autofree char *name = g_strdup_printf("%c%s", KEPT_MARK, volume->snapshot);
	g_autofree char *kept = g_build_filename(folder, name, NULL);
	return renameat2(AT_FDCWD, path, AT_FDCWD, kept, RENAME_NOREPLACE) == 0 ?
	    0 :
	    error_errno(err, ERROR_INTERNAL, errno, "Cannot keep \"%s\"", kept);
}

char *btrfs_backup_folder(const DriverPool *pool, const DriverVolume *volume)
{
	/* No volume can have such a name; what a crash leaves there is swept. */
	g_autofree char *name = g_strconcat(volume->name, "~restore", NULL);
	return driver_path(pool->path, volume->type, PLACE_UNFINISHED, name, NULL);
}

/* `btrfs receive` follows the links that a stream has made before, so it must not see more than
 * what it makes; and it finds a stream's parent only within its root, which must be a subvolume.
 * So all streams of a volume are received into one, and the volume comes last. */
int btrfs_backup_receive(DriverPool *pool, const DriverVolume *volume, int fd, Error **err)
{
	g_autofree char *folder = btrfs_backup_folder(pool, volume);
	const char *const argv[] = { "btrfs", "-q", "receive", "-C", "-e", folder, NULL };
	Spawn spawn = { .argv = argv, .stdin_fd = fd };
	if (!subvolume_is(folder) && subvolume_create(folder, err) < 0)
		return -1;
	if (spawn_run(&spawn, NULL, NULL, err) < 0)
		return -1;
	g_autofree char *path = received(folder, err);
	if (!path)
		return -1;
	if (volume->snapshot)
		return keep_snapshot(volume, folder, path, err);
	int result = place_volume(pool, volume, folder, path, err);
	return subvolume_delete(folder, result == 0 ? err : NULL) < 0 ? -1 : result;
}

/* ---- what Incus writes beside the streams ---- */

static int describe_one(DriverPool *pool, const DriverVolume *volume, const char *snapshot,
    json_t *list, Error **err)
{
	g_autofree char *path = snapshot ?
	    driver_path(pool->path, volume->type, volume->place, volume->name, snapshot) :
	    g_strdup(volume->path);
	g_autofree char *uuid = NULL;
	gboolean nested;
	if (subvolume_has_nested(path, &nested, err) < 0 || subvolume_uuid(path, &uuid, err) < 0)
		return -1;
	if (nested)
		return error_set(err, ERROR_UNSUPPORTED, "\"%s\" has subvolumes inside", path);
	json_array_append_new(list,
	    json_pack("{s:s, s:s, s:b, s:s}", "path", "/", "snapshot", snapshot ? snapshot : "",
		"readonly", snapshot != NULL, "uuid", uuid));
	return 0;
}

int btrfs_backup_header(DriverPool *pool, const DriverVolume *volume, const GPtrArray *snapshots,
    char **ret_yaml, Error **err)
{
	json_t *list = json_array();
	json_t *document = json_pack("{s:o}", "subvolumes", list);
	int result = 0;
	for (guint n = 0; result == 0 && n < snapshots->len; n++)
		result = describe_one(pool, volume, snapshots->pdata[n], list, err);
	if (result == 0)
		result = describe_one(pool, volume, NULL, list, err);
	if (result == 0)
		*ret_yaml = yaml_write(document);
	json_decref(document);
	return result;
}
