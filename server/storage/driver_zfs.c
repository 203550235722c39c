#include "sdk/base/file.h"
#include "sdk/base/units.h"
#include "server/storage/disk_name.h"
#include "server/storage/driver_pair.h"
#include "server/storage/driver_zfs_private.h"
#include "server/storage/filesystem.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- names ---- */

static const char *const places[] = {
	[PLACE_OWN] = "", [PLACE_UNFINISHED] = "unfinished/", [PLACE_DELETED] = "deleted/"
};
static const char *const suffixes[] = {
	[CONTENT_FILESYSTEM] = "", [CONTENT_BLOCK] = ".block", [CONTENT_ISO] = ".iso"
};

/* zfsconcepts(7). */
#define ALLOWED "_.- "
enum { MARK = ':' };

char *zfs_name_read(const char *name)
{
	return disk_name_read(name, MARK);
}

char *zfs_dataset_of(const DriverPool *pool, const DriverVolume *volume, VolumePlace place)
{
	g_autofree char *name = disk_name_escape(volume->name, ALLOWED, MARK);
	return g_strdup_printf("%s/%s%s/%s%s", zfs_pool_dataset(pool), places[place],
	    driver_folder(volume->type), name, suffixes[volume->content]);
}

char *zfs_dataset(const DriverPool *pool, const DriverVolume *volume)
{
	return zfs_dataset_of(pool, volume, volume->place);
}

char *zfs_snapshot_name(const DriverPool *pool, const DriverVolume *volume, const char *snapshot)
{
	g_autofree char *dataset = zfs_dataset(pool, volume),
			*name = disk_name_escape(snapshot, ALLOWED, MARK);
	return g_strdup_printf("%s@" ZFS_SNAPSHOT "%s", dataset, name);
}

/* The dataset or, of a snapshot, its name (g_free). */
static char *name_of(const DriverPool *pool, const DriverVolume *volume)
{
	return volume->snapshot ? zfs_snapshot_name(pool, volume, volume->snapshot) :
				  zfs_dataset(pool, volume);
}

char *zfs_unique(const char *prefix)
{
	g_autofree char *uuid = g_uuid_string_random();
	return g_strdup_printf("%s-%s", prefix, uuid);
}

/* ---- making ---- */

static const char *option(const DriverVolume *volume, const char *key, const char *initial)
{
	const char *value = config_get(volume->config, key);
	return value ? value : initial;
}

gboolean zfs_is_zvol_wanted(const DriverVolume *volume)
{
	return volume->content != CONTENT_FILESYSTEM ||
	    config_true(volume->config, "zfs.block_mode");
}

static int zvol_size(const DriverVolume *volume, int64_t *ret_bytes, Error **err)
{
	enum {
		STEP = 1 << 20
	}; /* a multiple of every block size that a zvol can have, but the largest */
	if (units_parse_bytes(option(volume, "size", "10GiB"), ret_bytes, err) < 0)
		return -1;
	*ret_bytes = (*ret_bytes + STEP - 1) / STEP * STEP;
	return *ret_bytes > 0 ? 0 :
				error_set(err, ERROR_INVALID, "A volume of 0 bytes cannot be made");
}

static int block_size(const DriverVolume *volume, char **ret_size, Error **err)
{
	int64_t bytes = 0;
	const char *size = config_get(volume->config, "zfs.blocksize");
	if (size && units_parse_bytes(size, &bytes, err) < 0)
		return -1;
	if (size && (bytes < 512 || bytes > 16 << 20 || bytes & (bytes - 1)))
		return error_set(err, ERROR_INVALID,
		    "zfs.blocksize is a power of two from 512 to 16MiB, not \"%s\"", size);
	*ret_size = size ? g_strdup_printf("%" PRId64, bytes) : NULL;
	return 0;
}

static int make_zvol(const DriverVolume *volume, const char *dataset, Error **err)
{
	int64_t bytes;
	g_autofree char *block = NULL, *device = NULL;
	if (zvol_size(volume, &bytes, err) < 0 || block_size(volume, &block, err) < 0)
		return -1;
	g_autofree char *size = g_strdup_printf("%" PRId64, bytes);
	const char *argv[12] = { "zfs", "create", "-o", "volmode=dev", "-V", size };
	size_t n = 6;
	if (!config_true(volume->config, "zfs.reserve_space"))
		argv[n++] = "-s";
	if (block) {
		argv[n++] = "-b";
		argv[n++] = block;
	}
	argv[n] = dataset;
	if (zfs_run_vector(argv, err) < 0)
		return -1;
	if (volume->content != CONTENT_FILESYSTEM)
		return 0;
	return zfs_device(dataset, &device, err) < 0 ?
	    -1 :
	    filesystem_make(device, option(volume, "block.filesystem", "ext4"), NULL, TRUE, err);
}

static int make_dataset(const DriverVolume *volume, const char *dataset, Error **err)
{
	g_autofree char *block = NULL;
	if (block_size(volume, &block, err) < 0)
		return -1;
	g_autofree char *record = block ? g_strconcat("recordsize=", block, NULL) : NULL;
	if (record)
		return zfs_run(err, "zfs", "create", "-o", "mountpoint=legacy", "-o",
		    "canmount=noauto", "-o", record, dataset, NULL);
	return zfs_run(err, "zfs", "create", "-o", "mountpoint=legacy", "-o", "canmount=noauto",
	    dataset, NULL);
}

static int zfs_volume_create(DriverPool *pool, const DriverVolume *volume, Error **err)
{
	g_autofree char *dataset = zfs_dataset(pool, volume);
	if (config_true(volume->config, "zfs.delegate"))
		return error_set(err, ERROR_UNSUPPORTED,
		    "Datasets are not delegated to containers by this server (zfs.delegate)");
	if (zfs_exists(dataset))
		return error_set(err, ERROR_EXISTS,
		    "Volume \"%s\" already exists on storage pool \"%s\"", volume->name,
		    pool->name);
	const ZfsKind kind = { .zvol = zfs_is_zvol_wanted(volume) };
	if (zfs_make_parent(dataset, err) < 0)
		return -1;
	int result = kind.zvol ? make_zvol(volume, dataset, err) :
				 make_dataset(volume, dataset, err);
	if (result == 0 && (kind.zvol || zfs_volume_apply(pool, volume, &kind, err) == 0))
		return 0;
	zfs_run(NULL, "zfs", "destroy", "-r", dataset, NULL);
	return -1;
}

/* ---- going ---- */

static gboolean is_ghost(const DriverPool *pool, const char *name)
{
	g_autofree char *prefix = g_strdup_printf("%s/deleted/ghosts/", zfs_pool_dataset(pool));
	return g_str_has_prefix(name, prefix);
}

/* The dataset of its origin if that is a ghost (g_free). */
static char *ghost_of(const DriverPool *pool, const char *dataset)
{
	g_autofree char *origin = NULL;
	if (zfs_get(dataset, "origin", &origin, NULL) < 0 || !is_ghost(pool, origin))
		return NULL;
	return g_strndup(origin, strcspn(origin, "@"));
}

int zfs_destroy(const DriverPool *pool, const char *dataset, Error **err)
{
	g_autofree char *ghost = ghost_of(pool, dataset);
	if (zfs_remove("-r", dataset, NULL) < 0) {
		g_autofree char *name = g_uuid_string_random();
		g_autofree char *to = g_strdup_printf(
		    "%s/deleted/ghosts/%s", zfs_pool_dataset(pool), name);
		return zfs_make_parent(to, err) < 0 ?
		    -1 :
		    zfs_run(err, "zfs", "rename", dataset, to, NULL);
	}
	while (ghost) {
		g_autofree char *gone = g_steal_pointer(&ghost);
		ghost = ghost_of(pool, gone);
		if (zfs_run(NULL, "zfs", "destroy", "-r", gone, NULL) < 0)
			break; /* others need it still */
	}
	return 0;
}

static void remove_mount_point(const char *path)
{
	filesystem_unmount(path, NULL);
	rmdir(path);
}

/* Of the snapshots, as far as they are not in use. */
static void remove_snapshot_mount_points(const DriverPool *pool, const DriverVolume *volume)
{
	g_autofree char *folder = driver_path(
	    pool->path, volume->type, volume->place, volume->name, "");
	g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
	for (const char *name; dir && (name = g_dir_read_name(dir));) {
		g_autofree char *path = g_build_filename(folder, name, NULL);
		remove_mount_point(path);
	}
	rmdir(folder);
}

/* Whatever its content: what a crash left is known by its name alone. */
static int zfs_volume_delete(DriverPool *pool, const DriverVolume *volume, Error **err)
{
	remove_snapshot_mount_points(pool, volume);
	remove_mount_point(volume->path);
	for (size_t i = 0; i < G_N_ELEMENTS(suffixes); i++) {
		DriverVolume one = *volume;
		one.content = (VolumeContent)i;
		g_autofree char *dataset = zfs_dataset(pool, &one);
		if (zfs_exists(dataset) && zfs_destroy(pool, dataset, err) < 0)
			return error_prefix(err,
			    "Cannot delete volume \"%s\" of storage pool \"%s\"", volume->name,
			    pool->name);
	}
	return 0;
}

/* ZFS replaces nothing. */
static int rename_dataset(DriverPool *pool, const char *from, const DriverVolume *to, Error **err)
{
	Error *inner = NULL;
	g_autofree char *target = zfs_dataset(pool, to);
	if (zfs_make_parent(target, err) < 0)
		return -1;
	if (zfs_run(&inner, "zfs", "rename", from, target, NULL) == 0)
		return 0;
	if (!zfs_exists(target))
		return error_propagate(err, inner);
	error_free(inner);
	return error_set(err, ERROR_EXISTS, "Volume \"%s\" already exists on storage pool \"%s\"",
	    to->name, pool->name);
}

/* Snapshots are part of the dataset. */
static int zfs_volume_rename(
    DriverPool *pool, const DriverVolume *volume, const DriverVolume *to, Error **err)
{
	g_autofree char *from = zfs_dataset(pool, volume);
	if (filesystem_unmount(volume->path, err) < 0)
		return -1;
	remove_snapshot_mount_points(pool, volume);
	if (rename_dataset(pool, from, to, err) < 0)
		return -1;
	rmdir(volume->path);
	return to->place == PLACE_OWN ? file_mkdir_all(to->path, 0700, err) : 0;
}

static gboolean zfs_volume_exists(DriverPool *pool, const DriverVolume *volume)
{
	g_autofree char *name = name_of(pool, volume);
	return zfs_exists(name);
}

static int zfs_volume_list(
    DriverPool *pool, VolumeType type, VolumePlace place, GPtrArray *ret_names, Error **err)
{
	g_autofree char *parent = g_strdup_printf(
	    "%s/%s%s", zfs_pool_dataset(pool), places[place], driver_folder(type));
	g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
	if (zfs_children(parent, names, err) < 0)
		return -1;
	for (guint i = 0; i < names->len; i++) {
		char *name = names->pdata[i];
		for (size_t s = CONTENT_BLOCK; s <= CONTENT_ISO; s++)
			if (g_str_has_suffix(name, suffixes[s]))
				name[strlen(name) - strlen(suffixes[s])] = '\0';
		g_ptr_array_add(ret_names, zfs_name_read(name));
	}
	return 0;
}

/* ---- mounted ones ---- */

int zfs_kind(const char *dataset, ZfsKind *ret_kind, Error **err)
{
	g_autofree char *values = NULL;
	if (zfs_get(dataset, "type," ZFS_FOREIGN, &values, err) < 0)
		return -1;
	*ret_kind = (ZfsKind){ .zvol = g_str_has_prefix(values, "volume\n"),
		.foreign = g_str_has_suffix(values, "\nyes") };
	return 0;
}

/* A snapshot is a device of its own, once its volume says so. */
static int open_zvol(
    const DriverPool *pool, const DriverVolume *volume, char **ret_device, Error **err)
{
	g_autofree char *dataset = zfs_dataset(pool, volume), *name = name_of(pool, volume);
	if (volume->snapshot && zfs_run(err, "zfs", "set", "snapdev=visible", dataset, NULL) < 0)
		return -1;
	return zfs_device(name, ret_device, err);
}

/* Snapshots cannot be written to: journals are not replayed. No stranger made it
 * (zfs_volume_is_portable). */
static int mount_zvol(const DriverPool *pool, const DriverVolume *volume, Error **err)
{
	g_autofree char *device = NULL, *type = NULL;
	if (open_zvol(pool, volume, &device, err) < 0 || filesystem_probe(device, &type, err) < 0)
		return -1;
	gboolean xfs = g_strcmp0(type, "xfs") == 0;
	g_autofree char *options = g_strconcat(option(volume, "block.mount_options", "discard"),
	    xfs ? ",nouuid" : "",
	    !volume->snapshot		     ? "" :
		xfs			     ? ",ro,norecovery" :
		g_strcmp0(type, "ext4") == 0 ? ",ro,noload" :
					       ",ro",
	    NULL);
	return filesystem_mount(device, volume->path, type ? type : "", options, err);
}

static int mount_dataset(const DriverPool *pool, const DriverVolume *volume, const char *dataset,
    gboolean foreign, Error **err)
{
	g_autofree char *snapshot = volume->snapshot ?
	    zfs_snapshot_name(pool, volume, volume->snapshot) :
	    NULL;
	const char *options = snapshot ? (foreign ? "ro,nodev" : "ro") : foreign ? "nodev" : NULL;
	return filesystem_mount(snapshot ? snapshot : dataset, volume->path, "zfs", options, err);
}

int zfs_volume_mount(DriverPool *pool, const DriverVolume *volume, Error **err)
{
	ZfsKind kind;
	g_autofree char *dataset = zfs_dataset(pool, volume), *device = NULL;
	if (volume->content != CONTENT_FILESYSTEM)
		return volume->snapshot ? open_zvol(pool, volume, &device, err) : 0;
	if (filesystem_is_mounted(volume->path)) /* from before a restart */
		return 0;
	if (zfs_kind(dataset, &kind, err) < 0 || file_mkdir_all(volume->path, 0700, err) < 0 ||
	    (kind.zvol ? mount_zvol(pool, volume, err) :
			 mount_dataset(pool, volume, dataset, kind.foreign, err)) < 0)
		return -1;
	if (volume->snapshot || volume->place != PLACE_UNFINISHED)
		return 0;
	/* A root volume's users come in only through rootfs/, mounted elsewhere. */
	return filesystem_open_volume(volume->path, volume->type == VOLUME_CUSTOM, err);
}

int zfs_volume_unmount(DriverPool *pool, const DriverVolume *volume, Error **err)
{
	if (volume->content == CONTENT_FILESYSTEM && filesystem_unmount(volume->path, err) < 0)
		return -1;
	if (volume->place != PLACE_OWN)
		rmdir(volume->path);
	return 0;
}

static char *zfs_block_path(DriverPool *pool, const DriverVolume *volume)
{
	g_autofree char *name = name_of(pool, volume), *device = NULL;
	return zfs_device(name, &device, NULL) == 0 ? g_steal_pointer(&device) :
						      g_strconcat("/dev/zvol/", name, NULL);
}

/* The numbers of several properties, in their order ("a,b"): 0 for what is no number. */
static int numbers_of(
    const char *name, const char *properties, int64_t *ret_values, size_t n, Error **err)
{
	g_autofree char *values = NULL;
	if (zfs_get(name, properties, &values, err) < 0)
		return -1;
	g_auto(GStrv) lines = g_strsplit(values, "\n", -1);
	for (size_t i = 0; i < n && lines[i]; i++)
		ret_values[i] = g_ascii_strtoll(lines[i], NULL, 10);
	return 0;
}

static int zfs_volume_usage(DriverPool *pool, const DriverVolume *volume, int64_t *ret_used,
    int64_t *ret_total, Error **err)
{
	enum { USED, REFERENCED, QUOTA, REFQUOTA, VOLSIZE, N };
	int64_t values[N] = { 0 };
	gboolean referenced = !volume->snapshot && config_true(volume->config, "zfs.use_refquota");
	g_autofree char *name = name_of(pool, volume);
	if (numbers_of(name, "used,referenced,quota,refquota,volsize", values, N, err) < 0)
		return -1;
	int64_t total = volume->snapshot ? 0 :
	    values[VOLSIZE] > 0		 ? values[VOLSIZE] :
					   values[referenced ? REFQUOTA : QUOTA];
	*ret_used = values[referenced ? REFERENCED : USED];
	*ret_total = total > 0 ? total : -1;
	return 0;
}

/* ---- sizes ---- */

static int grow_zvol(
    DriverPool *pool, const DriverVolume *volume, const char *dataset, int64_t bytes, Error **err)
{
	g_autofree char *property = g_strdup_printf("volsize=%" PRId64, bytes), *device = NULL,
			*type = NULL;
	if (zfs_run(err, "zfs", "set", property, dataset, NULL) < 0)
		return -1;
	if (volume->content != CONTENT_FILESYSTEM)
		return 0;
	gboolean mounted = filesystem_is_mounted(volume->path);
	if (!mounted && zfs_volume_mount(pool, volume, err) < 0)
		return -1;
	int result = zfs_device(dataset, &device, err) < 0 ||
		filesystem_probe(device, &type, err) < 0 ?
	    -1 :
	    filesystem_grow(device, volume->path, type ? type : "", err);
	if (!mounted && zfs_volume_unmount(pool, volume, result == 0 ? err : NULL) < 0)
		return -1;
	return result;
}

static int set_zvol_size(
    DriverPool *pool, const DriverVolume *volume, const char *dataset, int64_t bytes, Error **err)
{
	enum { STEP = 1 << 20 };
	int64_t now = 0, wanted = (bytes + STEP - 1) / STEP * STEP;
	if (bytes == 0) /* a block device has a size; it keeps that */
		return 0;
	if (numbers_of(dataset, "volsize", &now, 1, err) < 0)
		return -1;
	if (wanted < now)
		return error_set(err, ERROR_INVALID, "Block volumes cannot be shrunk");
	return wanted == now ? 0 : grow_zvol(pool, volume, dataset, wanted, err);
}

static int set_size(
    DriverPool *pool, const DriverVolume *volume, const ZfsKind *kind, int64_t bytes, Error **err)
{
	g_autofree char *dataset = zfs_dataset(pool, volume);
	if (kind->zvol)
		return set_zvol_size(pool, volume, dataset, bytes, err);
	gboolean referenced = config_true(volume->config, "zfs.use_refquota");
	gboolean reserve = config_true(volume->config, "zfs.reserve_space");
	g_autofree char *value = bytes ? g_strdup_printf("%" PRId64, bytes) : g_strdup("none");
	g_autofree char *quota = g_strdup_printf("%s=%s", referenced ? "refquota" : "quota", value);
	g_autofree char *other = g_strdup_printf("%s=none", referenced ? "quota" : "refquota");
	g_autofree char *room = g_strdup_printf(
	    "%s=%s", referenced ? "refreservation" : "reservation", reserve ? value : "none");
	return zfs_run(err, "zfs", "set", other, quota, room, dataset, NULL);
}

int zfs_volume_set_size(DriverPool *pool, const DriverVolume *volume, int64_t bytes, Error **err)
{
	ZfsKind kind;
	g_autofree char *dataset = zfs_dataset(pool, volume);
	return zfs_kind(dataset, &kind, err) < 0 ? -1 : set_size(pool, volume, &kind, bytes, err);
}

int zfs_volume_apply(DriverPool *pool, const DriverVolume *volume, const ZfsKind *kind, Error **err)
{
	int64_t bytes = 0;
	const char *size = config_get(volume->config, "size");
	if (!size || volume->type == VOLUME_IMAGE)
		return 0;
	return units_parse_bytes(size, &bytes, err) < 0 ? -1 :
							  set_size(pool, volume, kind, bytes, err);
}

static gboolean zfs_volume_is_foreign(DriverPool *pool, const DriverVolume *volume)
{
	ZfsKind kind = { 0 };
	g_autofree char *dataset = zfs_dataset(pool, volume);
	return zfs_kind(dataset, &kind, NULL) == 0 && kind.foreign;
}

static const StorageDriver zfs_one = {
	.volume_create = zfs_volume_create,
	.volume_delete = zfs_volume_delete,
	.volume_rename = zfs_volume_rename,
	.volume_exists = zfs_volume_exists,
	.volume_clone = zfs_volume_clone,
	.volume_mount = zfs_volume_mount,
	.volume_unmount = zfs_volume_unmount,
	.volume_block_path = zfs_block_path,
	.volume_usage = zfs_volume_usage,
	.volume_set_size = zfs_volume_set_size,
	.snapshot_list = zfs_snapshot_list,
	.snapshot_create = zfs_snapshot_create,
	.snapshot_delete = zfs_snapshot_delete,
	.snapshot_rename = zfs_snapshot_rename,
	.snapshot_restore = zfs_snapshot_restore,
	.volume_send = zfs_volume_send,
	.volume_receive = zfs_volume_receive,
	.volume_is_portable = zfs_volume_is_portable,
	.volume_is_foreign = zfs_volume_is_foreign,
	.backup_send = zfs_backup_send,
	.backup_receive = zfs_backup_receive,
};

const StorageDriver driver_zfs = {
	.name = "zfs",
	.one = &zfs_one,
	.probe = zfs_version,
	.pool_prepare = zfs_pool_prepare,
	.pool_create = zfs_pool_create,
	.pool_delete = zfs_pool_delete,
	.pool_mount = zfs_pool_mount,
	.pool_unmount = zfs_pool_unmount,
	.pool_update = zfs_pool_update,
	.pool_resources = zfs_pool_resources,
	.volume_list = zfs_volume_list,
	PAIR_VOLUMES,
	.volume_send = pair_volume_send,
	.volume_receive = pair_volume_receive,
	.volume_is_portable = pair_volume_is_portable,
	.volume_is_foreign = pair_volume_is_foreign,
	.backup_send = pair_backup_send,
	.backup_receive = pair_backup_receive,
};
