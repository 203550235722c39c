#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "server/storage/driver_zfs_private.h"
#include "server/storage/filesystem.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* ---- snapshots ---- */

int zfs_snapshot_list(
    DriverPool *pool, const DriverVolume *volume, GPtrArray *ret_names, Error **err)
{
	g_autofree char *dataset = zfs_dataset(pool, volume);
	g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func(g_free);
	if (zfs_snapshots(dataset, all, err) < 0)
		return -1;
	for (guint i = 0; i < all->len; i++)
		if (g_str_has_prefix(all->pdata[i], ZFS_SNAPSHOT))
			g_ptr_array_add(ret_names,
			    g_strdup((const char *)all->pdata[i] + strlen(ZFS_SNAPSHOT)));
	return 0;
}

int zfs_snapshot_create(DriverPool *pool, const DriverVolume *snapshot, Error **err)
{
	g_autofree char *name = zfs_snapshot_name(pool, snapshot, snapshot->snapshot);
	return zfs_run(err, "zfs", "snapshot", name, NULL);
}

/* One that has clones loses its name now and goes with the last of them. */
static int destroy_snapshot(
    DriverPool *pool, const DriverVolume *snapshot, const char *name, Error **err)
{
	if (zfs_run(NULL, "zfs", "destroy", name, NULL) == 0)
		return 0;
	g_autofree char *dataset = zfs_dataset(pool, snapshot), *unique = zfs_unique("deleted");
	g_autofree char *gone = g_strdup_printf("%s@%s", dataset, unique);
	return zfs_run(err, "zfs", "rename", name, gone, NULL) < 0 ?
	    -1 :
	    zfs_run(err, "zfs", "destroy", "-d", gone, NULL);
}

int zfs_snapshot_delete(DriverPool *pool, const DriverVolume *snapshot, Error **err)
{
	g_autofree char *name = zfs_snapshot_name(pool, snapshot, snapshot->snapshot);
	if (filesystem_unmount(snapshot->path, err) < 0)
		return -1;
	rmdir(snapshot->path);
	return zfs_exists(name) ? destroy_snapshot(pool, snapshot, name, err) : 0;
}

int zfs_snapshot_rename(
    DriverPool *pool, const DriverVolume *snapshot, const char *new_name, Error **err)
{
	g_autofree char *name = zfs_snapshot_name(pool, snapshot, snapshot->snapshot);
	g_autofree char *to = zfs_snapshot_name(pool, snapshot, new_name);
	if (filesystem_unmount(snapshot->path, err) < 0)
		return -1;
	rmdir(snapshot->path);
	return zfs_run(err, "zfs", "rename", name, to, NULL);
}

/* The size of a zvol goes back too: it is kept. */
static int roll_back(DriverPool *pool, const DriverVolume *snapshot, const char *name, Error **err)
{
	DriverVolume volume = *snapshot;
	volume.snapshot = NULL;
	g_autofree char *dataset = zfs_dataset(pool, &volume), *before = NULL, *after = NULL;
	g_autofree char *path = driver_path(
	    pool->path, volume.type, volume.place, volume.name, NULL);
	volume.path = path;
	if (zfs_get(dataset, "volsize", &before, err) < 0 ||
	    zfs_run(err, "zfs", "rollback", "-r", name, NULL) < 0 ||
	    zfs_get(dataset, "volsize", &after, err) < 0)
		return -1;
	int64_t bytes = g_ascii_strtoll(before, NULL, 10); /* 0 of a dataset: "-" */
	return bytes > g_ascii_strtoll(after, NULL, 10) ?
	    zfs_volume_set_size(pool, &volume, bytes, err) :
	    0;
}

/* Rolling back destroys what is newer. */
int zfs_snapshot_restore(DriverPool *pool, const DriverVolume *snapshot, Error **err)
{
	g_autofree char *name = zfs_snapshot_name(pool, snapshot, snapshot->snapshot);
	g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
	if (zfs_snapshot_list(pool, snapshot, names, err) < 0)
		return -1;
	gboolean newest = names->len > 0 &&
	    strcmp(names->pdata[names->len - 1], snapshot->snapshot) == 0;
	if (!newest && !config_true(snapshot->config, "zfs.remove_snapshots"))
		return error_set(err, ERROR_INVALID,
		    "Snapshot \"%s\" cannot be restored due to subsequent snapshot(s). Set zfs.remove_snapshots to override",
		    snapshot->snapshot);
	return roll_back(pool, snapshot, name, err);
}

/* ---- copies ---- */

/* The snapshot that a copy is made from: the named one, an image's own, or a new one that goes with
 * the copy. */
static int copy_origin(
    DriverPool *pool, const DriverVolume *from, char **ret_origin, gboolean *ret_fresh, Error **err)
{
	g_autofree char *dataset = zfs_dataset(pool, from), *unique = zfs_unique("copy");
	gboolean image = from->type == VOLUME_IMAGE;
	*ret_fresh = FALSE;
	*ret_origin = from->snapshot ?
	    zfs_snapshot_name(pool, from, from->snapshot) :
	    g_strdup_printf("%s@%s", dataset, image ? "readonly" : unique);
	if (from->snapshot || (image && zfs_exists(*ret_origin)))
		return 0;
	*ret_fresh = !image;
	/* Two first copies of one image may both be making it. */
	return zfs_run(err, "zfs", "snapshot", *ret_origin, NULL) == 0 ||
		(image && zfs_exists(*ret_origin)) ?
	    0 :
	    -1;
}

/* One process writes what the other reads. */
typedef struct Transfer {
	const char *const *argv;
	int fd, result;
	Error *error;
} Transfer;

static void *write_stream(void *data)
{
	Transfer *transfer = data;
	transfer->result = zfs_stream(transfer->argv, 0, transfer->fd, &transfer->error);
	close(transfer->fd);
	return NULL;
}

static int transfer(const char *const *send, const char *const *receive, Error **err)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot make a pipe");
	Transfer sender = { .argv = send, .fd = ends[1] };
	GThread *thread = g_thread_new("zfs-send", write_stream, &sender);
	int result = zfs_stream(receive, ends[0], 0, err);
	close(ends[0]);
	g_thread_join(thread);
	if (sender.result < 0)
		result = error_propagate(err, sender.error);
	return result;
}

/* zfs.clone_copy=false: nothing is shared. "rebase": only what the source itself was copied from
 * is. */
static int copy_whole(DriverPool *pool, const char *origin, const char *target, Error **err)
{
	g_autofree char *dataset = g_strndup(origin, strcspn(origin, "@")), *base = NULL,
			*received = g_strconcat(target, "@copy", NULL);
	gboolean rebase = g_strcmp0(config_get(pool->config, "zfs.clone_copy"), "rebase") == 0;
	if (rebase && zfs_get(dataset, "origin", &base, err) < 0)
		return -1;
	rebase = rebase && strcmp(base, "-") != 0;
	g_autofree char *property = rebase ? g_strconcat("origin=", base, NULL) : NULL;
	const char *const send[] = { "zfs", "send", origin, NULL },
			  *const receive[] = { "zfs", "receive", "-u", received, NULL };
	const char *const send_since[] = { "zfs", "send", "-i", base, origin, NULL };
	const char *const receive_onto[] = { "zfs", "receive", "-u", "-o", property, received,
		NULL };
	if (transfer(rebase ? send_since : send, rebase ? receive_onto : receive, err) < 0) {
		zfs_run(NULL, "zfs", "destroy", "-r", target, NULL);
		return -1;
	}
	return zfs_run(err, "zfs", "destroy", received, NULL);
}

/* Partitions that a guest made on its disk are nothing to the host. */
static int make_clone(const char *origin, const char *target, Error **err)
{
	g_autofree char *dataset = g_strndup(origin, strcspn(origin, "@")), *type = NULL;
	if (zfs_get(dataset, "type", &type, err) < 0)
		return -1;
	return strcmp(type, "volume") == 0 ?
	    zfs_run(err, "zfs", "clone", "-o", "volmode=dev", origin, target, NULL) :
	    zfs_run(err, "zfs", "clone", origin, target, NULL);
}

static int copy_from(DriverPool *pool, const DriverVolume *from, const char *origin, gboolean fresh,
    const char *target, Error **err)
{
	const char *mode = config_get(pool->config, "zfs.clone_copy");
	if (from->type != VOLUME_IMAGE && mode &&
	    (config_false(pool->config, "zfs.clone_copy") || strcmp(mode, "rebase") == 0)) {
		int result = copy_whole(pool, origin, target, err);
		if (fresh)
			zfs_run(NULL, "zfs", "destroy", origin, NULL);
		return result;
	}
	if (make_clone(origin, target, err) < 0) {
		if (fresh)
			zfs_run(NULL, "zfs", "destroy", origin, NULL);
		return -1;
	}
	return fresh ? zfs_run(err, "zfs", "destroy", "-d", origin, NULL) : 0;
}

/* Of xfs and btrfs, two with one UUID are not mounted side by side; xfs is told to, btrfs gets
 * another. */
static int settle_copy(
    DriverPool *pool, const DriverVolume *volume, const char *dataset, Error **err)
{
	g_autofree char *type = NULL, *device = NULL, *held = NULL;
	if (zfs_get(dataset, "type", &type, err) < 0)
		return -1;
	if (strcmp(type, "filesystem") == 0)
		return zfs_run(err, "zfs", "set", "mountpoint=legacy", "canmount=noauto", dataset,
			   NULL) < 0 ?
		    -1 :
		    zfs_volume_apply(pool, volume, err);
	if (volume->content == CONTENT_FILESYSTEM) {
		if (zfs_device(dataset, &device, err) < 0 ||
		    filesystem_probe(device, &held, err) < 0)
			return -1;
		if (g_strcmp0(held, "btrfs") == 0 &&
		    program_run(err, "btrfstune", "-f", "-u", device, NULL) < 0)
			return -1;
	}
	return zfs_volume_apply(pool, volume, err);
}

int zfs_volume_clone(
    DriverPool *pool, const DriverVolume *from, const DriverVolume *volume, Error **err)
{
	gboolean fresh;
	g_autofree char *origin = NULL, *target = zfs_dataset(pool, volume);
	if (copy_origin(pool, from, &origin, &fresh, err) < 0 ||
	    copy_from(pool, from, origin, fresh, target, err) < 0)
		return -1;
	if (settle_copy(pool, volume, target, err) == 0)
		return 0;
	zfs_destroy(pool, target, NULL);
	return -1;
}

/* ---- streams ---- */

static int send_snapshot(const char *name, const char *since, int fd, Error **err)
{
	const char *const whole[] = { "zfs", "send", name, NULL },
			  *const difference[] = { "zfs", "send", "-i", since, name, NULL };
	return zfs_stream(since ? difference : whole, 0, fd, err);
}

int zfs_volume_send(
    DriverPool *pool, const DriverVolume *volume, const char *parent, int fd, Error **err)
{
	g_autofree char *since = parent ? zfs_snapshot_name(pool, volume, parent) : NULL;
	if (volume->snapshot) {
		g_autofree char *name = zfs_snapshot_name(pool, volume, volume->snapshot);
		return send_snapshot(name, since, fd, err);
	}
	g_autofree char *dataset = zfs_dataset(pool, volume), *unique = zfs_unique("migration");
	g_autofree char *name = g_strdup_printf("%s@%s", dataset, unique);
	if (zfs_run(err, "zfs", "snapshot", name, NULL) < 0)
		return -1;
	int result = send_snapshot(name, since, fd, err);
	return zfs_run(result == 0 ? err : NULL, "zfs", "destroy", name, NULL) < 0 ? -1 : result;
}

/* A package of `zfs send -R` brings others below it, with mount points of its own choice. */
static int check_alone(const char *dataset, Error **err)
{
	g_autoptr(GPtrArray) below = g_ptr_array_new_with_free_func(g_free);
	if (zfs_children(dataset, below, err) < 0)
		return -1;
	return below->len == 0 ?
	    0 :
	    error_set(err, ERROR_INVALID, "The ZFS stream holds more than one dataset");
}

/* Snapshots come first, in their order, into the dataset that becomes the volume with the last
 * stream. */
int zfs_volume_receive(DriverPool *pool, const DriverVolume *volume, int fd, Error **err)
{
	g_autofree char *dataset = zfs_dataset(pool, volume), *unique = zfs_unique("migration");
	g_autofree char *name = volume->snapshot ? zfs_snapshot_name(pool, volume, volume->snapshot)
						 : g_strdup_printf("%s@%s", dataset, unique);
	const char *const argv[] = { "zfs", "receive", "-F", "-u", name, NULL };
	const char *const zvol[] = { "zfs", "receive", "-F", "-u", "-o", "volmode=dev", name, NULL };
	gboolean there = zfs_exists(dataset);
	if (zfs_stream(!there && zfs_is_zvol_wanted(volume) ? zvol : argv, fd, 0, err) < 0 ||
	    check_alone(dataset, err) < 0) {
		if (!there)
			zfs_run(NULL, "zfs", "destroy", "-r", dataset, NULL);
		return -1;
	}
	if (volume->snapshot)
		return 0;
	return zfs_run(err, "zfs", "destroy", name, NULL) < 0 ?
	    -1 :
	    settle_copy(pool, volume, dataset, err);
}
