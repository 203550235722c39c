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
			    zfs_name_read((const char *)all->pdata[i] + strlen(ZFS_SNAPSHOT)));
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
	return zfs_run(err, "zfs", "rename", name, gone, NULL) < 0 ? -1 :
								     zfs_remove("-d", gone, err);
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
	g_autofree char *dataset = zfs_dataset(pool, from), *unique = zfs_unique(ZFS_COPY);
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

enum { WORDS = 16 };

/* Adds what a copy has of its own: partitions that a guest made on its disk are nothing to the
 * host; nobody mounts it but us; a stranger's stays one. */
static size_t add_properties(const char **words, size_t n, const ZfsKind *kind)
{
	static const char *const files[] = { "-o", "mountpoint=legacy", "-o", "canmount=noauto" };
	static const char *const disk[] = { "-o", "volmode=dev" };
	const char *const *own = kind->zvol ? disk : files;
	for (size_t i = 0; i < (kind->zvol ? G_N_ELEMENTS(disk) : G_N_ELEMENTS(files)); i++)
		words[n++] = own[i];
	if (kind->foreign) {
		words[n++] = "-o";
		words[n++] = ZFS_FOREIGN "=yes";
	}
	return n;
}

/* zfs.clone_copy=false: nothing is shared. "rebase": only what the source itself was copied from
 * is. */
static int copy_whole(
    DriverPool *pool, const char *origin, const ZfsKind *kind, const char *target, Error **err)
{
	g_autofree char *dataset = g_strndup(origin, strcspn(origin, "@")), *base = NULL,
			*received = g_strconcat(target, "@copy", NULL);
	gboolean rebase = g_strcmp0(config_get(pool->config, "zfs.clone_copy"), "rebase") == 0;
	if (rebase && zfs_get(dataset, "origin", &base, err) < 0)
		return -1;
	rebase = rebase && strcmp(base, "-") != 0;
	g_autofree char *property = rebase ? g_strconcat("origin=", base, NULL) : NULL;
	const char *const send[] = { "zfs", "send", origin, NULL };
	const char *const send_since[] = { "zfs", "send", "-i", base, origin, NULL };
	const char *receive[WORDS] = { "zfs", "receive", "-u" };
	size_t n = add_properties(receive, 3, kind);
	if (rebase) {
		receive[n++] = "-o";
		receive[n++] = property;
	}
	receive[n] = received;
	if (zfs_transfer(rebase ? send_since : send, receive, err) < 0) {
		zfs_run(NULL, "zfs", "destroy", "-r", target, NULL);
		return -1;
	}
	return zfs_remove(NULL, received, err);
}

static int make_clone(const char *origin, const ZfsKind *kind, const char *target, Error **err)
{
	const char *words[WORDS] = { "zfs", "clone" };
	size_t n = add_properties(words, 2, kind);
	words[n++] = origin;
	words[n] = target;
	return zfs_run_vector(words, err);
}

static int copy_from(DriverPool *pool, const DriverVolume *from, const char *origin,
    const ZfsKind *kind, const char *target, Error **err)
{
	const char *mode = config_get(pool->config, "zfs.clone_copy");
	gboolean whole = from->type != VOLUME_IMAGE && mode &&
	    (config_false(pool->config, "zfs.clone_copy") || strcmp(mode, "rebase") == 0);
	return whole ? copy_whole(pool, origin, kind, target, err) :
		       make_clone(origin, kind, target, err);
}

int zfs_renew_uuid(const char *dataset, Error **err)
{
	g_autofree char *device = NULL, *held = NULL;
	if (zfs_device(dataset, &device, err) < 0 || filesystem_probe(device, &held, err) < 0)
		return -1;
	return g_strcmp0(held, "btrfs") == 0 ?
	    program_run(err, "btrfstune", "-f", "-u", device, NULL) :
	    0;
}

static int settle_copy(DriverPool *pool, const DriverVolume *volume, const ZfsKind *kind,
    const char *dataset, Error **err)
{
	if (kind->zvol && volume->content == CONTENT_FILESYSTEM && zfs_renew_uuid(dataset, err) < 0)
		return -1;
	return zfs_volume_apply(pool, volume, kind, err);
}

int zfs_volume_clone(
    DriverPool *pool, const DriverVolume *from, const DriverVolume *volume, Error **err)
{
	gboolean fresh;
	ZfsKind kind;
	g_autofree char *dataset = zfs_dataset(pool, from), *origin = NULL,
			*target = zfs_dataset(pool, volume);
	if (zfs_make_parent(target, err) < 0 || zfs_kind(dataset, &kind, err) < 0 ||
	    copy_origin(pool, from, &origin, &fresh, err) < 0)
		return -1;
	int result = copy_from(pool, from, origin, &kind, target, err);
	/* It stays for as long as something was made of it. */
	if (fresh && zfs_remove("-d", origin, result == 0 ? err : NULL) < 0 && result == 0) {
		zfs_destroy(pool, target, NULL);
		return -1;
	}
	if (result < 0)
		return -1;
	if (settle_copy(pool, volume, &kind, target, err) == 0)
		return 0;
	zfs_destroy(pool, target, NULL);
	return -1;
}
