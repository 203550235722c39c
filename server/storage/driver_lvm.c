#include "sdk/base/file.h"
#include "sdk/base/spawn.h"
#include "sdk/base/units.h"
#include "server/storage/disk_name.h"
#include "server/storage/driver_lvm_private.h"
#include "server/storage/driver_pair.h"
#include "server/storage/filesystem.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* ---- names ---- */

static const char *const places[] = {
	[PLACE_OWN] = "", [PLACE_UNFINISHED] = "new_", [PLACE_DELETED] = "old_"
};
static const char *const suffixes[] = {
	[CONTENT_FILESYSTEM] = "", [CONTENT_BLOCK] = ".block", [CONTENT_ISO] = ".iso"
};

enum { MARK = '+' };

/* A single hyphen divides volume and snapshot, so that those of names are doubled. */
static void append_name(GString *lv, const char *plain)
{
	g_autofree char *escaped = disk_name_escape(plain, "_.-", MARK);
	for (const char *name = escaped; *name; name++) {
		g_string_append_c(lv, *name);
		if (*name == '-')
			g_string_append_c(lv, '-');
	}
}

char *lvm_name_of(const DriverVolume *volume, VolumePlace place, const char *snapshot)
{
	GString *lv = g_string_new(places[place]);
	g_string_append_printf(lv, "%s_", driver_folder(volume->type));
	append_name(lv, volume->name);
	if (snapshot) {
		g_string_append_c(lv, '-');
		append_name(lv, snapshot);
	}
	g_string_append(lv, suffixes[volume->content]);
	return g_string_free(lv, FALSE);
}

char *lvm_name(const DriverVolume *volume)
{
	return lvm_name_of(volume, volume->place, volume->snapshot);
}

/* Takes doubled hyphens back and stops at a single one. */
static const char *parse_part(const char *at, GString *part)
{
	for (; *at; at++) {
		if (*at == '-' && *++at != '-')
			return at;
		g_string_append_c(part, *at);
	}
	return NULL;
}

gboolean lvm_name_parse(
    const char *lv, VolumeType type, VolumePlace place, char **ret_name, char **ret_snapshot)
{
	g_autofree char *prefix = g_strdup_printf("%s%s_", places[place], driver_folder(type));
	if (!g_str_has_prefix(lv, prefix))
		return FALSE;
	g_autofree char *plain = g_strdup(lv + strlen(prefix));
	for (size_t i = CONTENT_BLOCK; i <= CONTENT_ISO; i++)
		if (g_str_has_suffix(plain, suffixes[i]))
			plain[strlen(plain) - strlen(suffixes[i])] = '\0';
	GString *name = g_string_new(NULL), *snapshot = g_string_new(NULL);
	const char *rest = parse_part(plain, name);
	if (rest)
		parse_part(rest, snapshot);
	*ret_snapshot = rest ? disk_name_read(snapshot->str, MARK) : NULL;
	*ret_name = disk_name_read(name->str, MARK);
	g_string_free(snapshot, TRUE);
	g_string_free(name, TRUE);
	return TRUE;
}

static char *full(const DriverPool *pool, const char *lv)
{
	return g_strdup_printf("%s/%s", lvm_pool_group(pool), lv);
}

/* ---- volumes ---- */

static const char *option(const DriverVolume *volume, const char *key, const char *initial)
{
	const char *value = config_get(volume->config, key);
	return value ? value : initial;
}

enum { SECTOR = 512 };

static int size_of(const DriverVolume *volume, int64_t *ret_bytes, Error **err)
{
	if (units_parse_bytes(option(volume, "size", "10GiB"), ret_bytes, err) < 0)
		return -1;
	*ret_bytes = (*ret_bytes + SECTOR - 1) / SECTOR * SECTOR; /* as the tools want it */
	return *ret_bytes > 0 ? 0 :
				error_set(err, ERROR_INVALID, "A volume of 0 bytes cannot be made");
}

static int make_volume(DriverPool *pool, const DriverVolume *volume, const char *lv, Error **err)
{
	int64_t bytes;
	if (size_of(volume, &bytes, err) < 0)
		return -1;
	g_autofree char *size = g_strdup_printf("%" PRId64 "b", bytes);
	g_autofree char *thin = lvm_pool_thin(pool) ? full(pool, lvm_pool_thin(pool)) : NULL;
	g_autoptr(GPtrArray) words = program_words("lvcreate", "-y", "-Wy", "-n", lv, NULL);
	if (thin) {
		program_add(words, "--virtualsize", size, "--thinpool", thin, NULL);
		return lvm_run_words(words, err);
	}
	program_add(words, "--size", size, NULL);
	if (lvm_add_stripes(words, volume->config, "", err) < 0)
		return -1;
	program_add(words, lvm_pool_group(pool), NULL);
	return lvm_run_words(words, err);
}

int lvm_remove(DriverPool *pool, const char *name, Error **err)
{
	g_autofree char *lv = full(pool, name);
	return lvm_run(err, "lvremove", "-f", "-y", lv, NULL);
}

int lvm_rename(DriverPool *pool, const char *name, const char *to, Error **err)
{
	return lvm_run(err, "lvrename", lvm_pool_group(pool), name, to, NULL);
}

/* For everything of a thick volume to be written anew: a snapshot that runs full is lost. LVM adds
 * what its tables need. */
static int64_t snapshot_room(int64_t bytes)
{
	return ((bytes + bytes / 50 + (9 << 20)) >> 20) << 20;
}

int lvm_snapshot(DriverPool *pool, const char *from, const char *name, Error **err)
{
	g_autofree char *origin = full(pool, from);
	g_autoptr(LvmVolume) volume = NULL;
	if (lvm_pool_thin(pool))
		return lvm_run(err, "lvcreate", "-y", "-kn", "-ay", "-s", "-n", name, origin, NULL);
	if (lvm_volume_find(lvm_pool_group(pool), from, &volume, err) < 0)
		return -1;
	g_autofree char *size = g_strdup_printf("%" PRId64 "b", snapshot_room(volume->bytes));
	return lvm_run(err, "lvcreate", "-y", "-s", "-n", name, "--size", size, origin, NULL);
}

static int lvm_volume_create(DriverPool *pool, const DriverVolume *volume, Error **err)
{
	g_autofree char *lv = lvm_name(volume),
			*device = lvm_volume_device(lvm_pool_group(pool), lv);
	Error *inner = NULL;
	if (make_volume(pool, volume, lv, &inner) < 0) {
		if (!lvm_volume_exists(lvm_pool_group(pool), lv))
			return error_propagate(err, inner);
		error_free(inner);
		return error_set(err, ERROR_EXISTS,
		    "Volume \"%s\" already exists on storage pool \"%s\"", volume->name,
		    pool->name);
	}
	if (volume->content != CONTENT_FILESYSTEM ||
	    filesystem_make(device, option(volume, "block.filesystem", "ext4"), NULL,
		lvm_pool_thin(pool) != NULL, err) == 0)
		return 0;
	lvm_remove(pool, lv, NULL);
	return -1;
}

static gboolean lvm_volume_is_there(DriverPool *pool, const DriverVolume *volume)
{
	g_autofree char *lv = lvm_name(volume);
	return lvm_volume_exists(lvm_pool_group(pool), lv);
}

/* Of a volume that is one half of a virtual machine, not what belongs to the other half. */
static gboolean is_of(const DriverVolume *volume, const char *lv, const char *name)
{
	return strcmp(name, volume->name) == 0 &&
	    (volume->type != VOLUME_MACHINE ||
		g_str_has_suffix(lv, suffixes[CONTENT_BLOCK]) ==
		    (volume->content == CONTENT_BLOCK));
}

/* Names of a type in a place: of its volumes, or of one volume's snapshots. */
static int list(DriverPool *pool, VolumeType type, VolumePlace place, const DriverVolume *of,
    GPtrArray *names, Error **err)
{
	g_autoptr(GPtrArray) volumes = NULL;
	if (lvm_volume_list(lvm_pool_group(pool), &volumes, err) < 0)
		return -1;
	for (guint i = 0; i < volumes->len; i++) {
		const char *lv = ((const LvmVolume *)volumes->pdata[i])->name;
		g_autofree char *name = NULL, *snapshot = NULL;
		if (!lvm_name_parse(lv, type, place, &name, &snapshot))
			continue;
		if (of ? snapshot && is_of(of, lv, name) : !snapshot)
			g_ptr_array_add(
			    names, of ? g_steal_pointer(&snapshot) : g_steal_pointer(&name));
	}
	return 0;
}

static int lvm_list(
    DriverPool *pool, VolumeType type, VolumePlace place, GPtrArray *ret_names, Error **err)
{
	return list(pool, type, place, NULL, ret_names, err);
}

int lvm_snapshot_list(
    DriverPool *pool, const DriverVolume *volume, GPtrArray *ret_names, Error **err)
{
	return list(pool, volume->type, volume->place, volume, ret_names, err);
}

static void remove_mount_point(const char *path)
{
	filesystem_unmount(path, NULL);
	rmdir(path);
}

/* One call, for they take long. A thick volume's snapshots would go with it before their turn. */
static int remove_all(DriverPool *pool, GPtrArray *names, Error **err)
{
	g_autoptr(GPtrArray) words = program_words("lvremove", "-f", "-y", NULL);
	for (guint i = 0; i < names->len; i++) {
		g_autofree char *lv = full(pool, names->pdata[i]);
		if (lvm_pool_thin(pool))
			program_add(words, lv, NULL);
		else if (lvm_remove(pool, names->pdata[i], err) < 0)
			return -1;
	}
	return lvm_pool_thin(pool) && names->len > 0 ? lvm_run_words(words, err) : 0;
}

/* With every snapshot, and whatever its content: what a crash left is known by its name alone. */
static int lvm_volume_delete(DriverPool *pool, const DriverVolume *volume, Error **err)
{
	g_autoptr(GPtrArray) volumes = NULL, names = g_ptr_array_new();
	if (lvm_volume_list(lvm_pool_group(pool), &volumes, err) < 0)
		return -1;
	for (guint i = volumes->len; i > 0; i--) { /* origins are older than their snapshots */
		char *lv = ((LvmVolume *)volumes->pdata[i - 1])->name;
		g_autofree char *name = NULL, *snapshot = NULL;
		if (!lvm_name_parse(lv, volume->type, volume->place, &name, &snapshot) ||
		    strcmp(name, volume->name) != 0)
			continue;
		g_autofree char *path = driver_path(
		    pool->path, volume->type, volume->place, name, snapshot);
		remove_mount_point(path);
		g_ptr_array_add(names, lv);
	}
	if (remove_all(pool, names, err) < 0)
		return error_prefix(err, "Cannot delete volume \"%s\" of storage pool \"%s\"",
		    volume->name, pool->name);
	g_autofree char *folder = driver_path(
	    pool->path, volume->type, volume->place, volume->name, "");
	rmdir(folder);
	remove_mount_point(volume->path);
	return 0;
}

/* Moves what is left: an interrupted one is finished, or undone, by calling it again. */
static int lvm_volume_rename(
    DriverPool *pool, const DriverVolume *volume, const DriverVolume *to, Error **err)
{
	const char *group = lvm_pool_group(pool);
	g_autofree char *from_lv = lvm_name(volume), *to_lv = lvm_name(to);
	g_autoptr(GPtrArray) snapshots = g_ptr_array_new_with_free_func(g_free);
	if (filesystem_unmount(volume->path, err) < 0 ||
	    lvm_snapshot_list(pool, volume, snapshots, err) < 0)
		return -1;
	gboolean there = lvm_volume_exists(group, to_lv), here = lvm_volume_exists(group, from_lv);
	if (there && here)
		return error_set(err, ERROR_EXISTS,
		    "Volume \"%s\" already exists on storage pool \"%s\"", to->name, pool->name);
	if (!there && lvm_rename(pool, from_lv, to_lv, err) < 0)
		return -1;
	for (guint i = 0; i < snapshots->len; i++) {
		g_autofree char *old_name = lvm_name_of(volume, volume->place, snapshots->pdata[i]);
		g_autofree char *new_name = lvm_name_of(to, to->place, snapshots->pdata[i]);
		g_autofree char *path = driver_path(
		    pool->path, volume->type, volume->place, volume->name, snapshots->pdata[i]);
		remove_mount_point(path);
		if (lvm_rename(pool, old_name, new_name, err) < 0)
			return -1;
	}
	g_autofree char *folder = driver_path(
	    pool->path, volume->type, volume->place, volume->name, "");
	rmdir(folder);
	rmdir(volume->path);
	return to->place == PLACE_OWN ? file_mkdir_all(to->path, 0700, err) : 0;
}

/* ---- mounted ones ---- */

/* A copy has its origin's UUID, with which xfs refuses to be mounted beside it. */
static char *mount_options(const DriverVolume *volume, const char *type)
{
	const char *options = option(volume, "block.mount_options", "discard");
	return g_strdup_printf("%s%s%s", options, strcmp(type, "xfs") == 0 ? ",nouuid" : "",
	    volume->snapshot ? ",ro" : "");
}

/* Two file systems of btrfs with one UUID cannot be mounted side by side. */
static int renew_uuid(const char *device, const char *type, Error **err)
{
	return g_strcmp0(type, "btrfs") == 0 ?
	    program_run(err, "btrfstune", "-f", "-u", device, NULL) :
	    0;
}

static int mount_active(const DriverVolume *volume, const char *device, Error **err)
{
	g_autofree char *type = NULL;
	if (filesystem_probe(device, &type, err) < 0)
		return -1;
	if (!type)
		return error_set(
		    err, ERROR_INTERNAL, "Volume \"%s\" has no file system", volume->name);
	/* Its volume, which may be mounted, can have this one's by a restore. */
	if (volume->snapshot && renew_uuid(device, type, err) < 0)
		return -1;
	g_autofree char *options = mount_options(volume, type);
	if (file_mkdir_all(volume->path, 0700, err) < 0 ||
	    filesystem_mount(device, volume->path, type, options, err) < 0)
		return -1;
	if (volume->snapshot || volume->place != PLACE_UNFINISHED)
		return 0;
	/* A root volume's users come in only through rootfs/, mounted elsewhere. */
	return filesystem_open_volume(volume->path, volume->type == VOLUME_CUSTOM, err);
}

int lvm_volume_mount(DriverPool *pool, const DriverVolume *volume, Error **err)
{
	g_autofree char *name = lvm_name(volume), *lv = full(pool, name);
	g_autofree char *device = lvm_volume_device(lvm_pool_group(pool), name);
	if (volume->content == CONTENT_FILESYSTEM &&
	    filesystem_is_mounted(volume->path)) /* from before a restart */
		return 0;
	/* The tools wait for udev: the device is there while the volume is active. */
	if (access(device, F_OK) < 0 && lvm_run(err, "lvchange", "-y", "-ay", "-K", lv, NULL) < 0)
		return -1;
	return volume->content == CONTENT_FILESYSTEM ? mount_active(volume, device, err) : 0;
}

int lvm_volume_unmount(DriverPool *pool, const DriverVolume *volume, Error **err)
{
	g_autofree char *name = lvm_name(volume), *lv = full(pool, name);
	if (volume->content == CONTENT_FILESYSTEM && filesystem_unmount(volume->path, err) < 0)
		return -1;
	if (volume->place != PLACE_OWN) { /* it is mounted again soon, or removed */
		rmdir(volume->path);
		return 0;
	}
	/* Thick snapshots are read through their origin, which then stays. */
	lvm_run(NULL, "lvchange", "-an", lv, NULL);
	return 0;
}

static char *lvm_block_path(DriverPool *pool, const DriverVolume *volume)
{
	g_autofree char *name = lvm_name(volume);
	return lvm_volume_device(lvm_pool_group(pool), name);
}

static int lvm_volume_usage_quick(DriverPool *pool, const DriverVolume *volume, int64_t *ret_used,
    int64_t *ret_total, Error **err)
{
	struct statvfs fs;
	*ret_used = *ret_total = -1;
	if (!volume->snapshot && filesystem_is_mounted(volume->path) &&
	    statvfs(volume->path, &fs) == 0) {
		*ret_total = (int64_t)((uint64_t)fs.f_blocks * fs.f_frsize);
		*ret_used = *ret_total - (int64_t)((uint64_t)fs.f_bfree * fs.f_frsize);
	}
	return 0;
}

/* What a thin volume takes is known while it is active, which it may stay: who mounts it meanwhile
 * wants it so. */
static int lvm_volume_usage(DriverPool *pool, const DriverVolume *volume, int64_t *ret_used,
    int64_t *ret_total, Error **err)
{
	g_autofree char *name = lvm_name(volume), *lv = full(pool, name);
	g_autoptr(LvmVolume) found = NULL;
	if (lvm_volume_usage_quick(pool, volume, ret_used, ret_total, err) == 0 && *ret_used >= 0)
		return 0;
	if (lvm_volume_find(lvm_pool_group(pool), name, &found, err) < 0)
		return -1;
	if (found->used < 0 && lvm_pool_thin(pool) &&
	    lvm_run(NULL, "lvchange", "-y", "-ay", "-K", lv, NULL) == 0) {
		g_clear_pointer(&found, lvm_volume_free);
		if (lvm_volume_find(lvm_pool_group(pool), name, &found, err) < 0)
			return -1;
	}
	*ret_total = found->bytes;
	*ret_used = found->used < 0 ? -1 : (int64_t)((double)found->bytes * found->used / 100);
	return 0;
}

/* ---- sizes ---- */

static int resize(DriverPool *pool, const char *name, const char *tool, int64_t bytes, Error **err)
{
	g_autofree char *lv = full(pool, name), *size = g_strdup_printf("%" PRId64 "b", bytes);
	return lvm_run(err, tool, "-f", "-y", "--size", size, lv, NULL);
}

/* LVM gives a thick volume that has snapshots another size only while nobody uses it, and its
 * snapshots follow: what they had beyond a smaller size would be lost. */
static int let_resize(DriverPool *pool, const DriverVolume *volume, const LvmVolume *found,
    gboolean larger, Error **err)
{
	g_autofree char *lv = full(pool, found->name);
	if (!found->origin)
		return 0;
	if (!larger)
		return error_set(err, ERROR_INVALID,
		    "Volume \"%s\" has snapshots and no thin pool: it cannot be shrunk",
		    volume->name);
	return lvm_run(NULL, "lvchange", "-an", lv, NULL) == 0 ?
	    0 :
	    error_set(err, ERROR_BUSY,
		"Volume \"%s\" has snapshots and no thin pool: it cannot grow while it is in use",
		volume->name);
}

/* File systems grow while they are mounted: that needs no check before. */
static int grow_filesystem(
    DriverPool *pool, const DriverVolume *volume, const char *name, Error **err)
{
	g_autofree char *device = lvm_volume_device(lvm_pool_group(pool), name), *type = NULL;
	gboolean mounted = filesystem_is_mounted(volume->path);
	if (!mounted && lvm_volume_mount(pool, volume, err) < 0)
		return -1;
	int result = filesystem_probe(device, &type, err) < 0 ?
	    -1 :
	    filesystem_grow(device, volume->path, type ? type : "", err);
	if (!mounted && lvm_volume_unmount(pool, volume, result == 0 ? err : NULL) < 0)
		return -1;
	return result;
}

/* After their volume, whose size bounds theirs. */
static int grow_snapshots(
    DriverPool *pool, const DriverVolume *volume, int64_t bytes, Error **err)
{
	const char *group = lvm_pool_group(pool);
	g_autoptr(GPtrArray) snapshots = g_ptr_array_new_with_free_func(g_free);
	if (lvm_snapshot_list(pool, volume, snapshots, err) < 0)
		return -1;
	for (guint i = 0; i < snapshots->len; i++) {
		g_autofree char *name = lvm_name_of(volume, volume->place, snapshots->pdata[i]);
		g_autoptr(LvmVolume) now = NULL;
		int64_t room = snapshot_room(bytes);
		if (lvm_volume_find(group, name, &now, err) < 0 ||
		    (now->bytes < room && resize(pool, name, "lvextend", room, err) < 0))
			return -1;
	}
	return 0;
}

int lvm_volume_grow(
    DriverPool *pool, const DriverVolume *volume, const LvmVolume *now, int64_t bytes, Error **err)
{
	if (now->bytes < bytes &&
	    (resize(pool, now->name, "lvextend", bytes, err) < 0 ||
		(now->origin && grow_snapshots(pool, volume, bytes, err) < 0)))
		return -1;
	return volume->content == CONTENT_FILESYSTEM ?
	    grow_filesystem(pool, volume, now->name, err) :
	    0;
}

static int shrink(
    DriverPool *pool, const DriverVolume *volume, const char *name, int64_t bytes, Error **err)
{
	g_autofree char *lv = full(pool, name),
			*device = lvm_volume_device(lvm_pool_group(pool), name), *type = NULL;
	if (volume->content != CONTENT_FILESYSTEM)
		return error_set(err, ERROR_INVALID, "Block volumes cannot be shrunk");
	if (filesystem_is_mounted(volume->path))
		return error_set(
		    err, ERROR_BUSY, "Volume \"%s\" is in use and cannot be shrunk", volume->name);
	if (lvm_run(err, "lvchange", "-y", "-ay", "-K", lv, NULL) < 0 ||
	    filesystem_probe(device, &type, err) < 0 ||
	    filesystem_shrink(device, type ? type : "", bytes, err) < 0 ||
	    resize(pool, name, "lvreduce", bytes, err) < 0)
		return -1;
	return lvm_run(err, "lvchange", "-an", lv, NULL);
}

static int lvm_volume_set_size(
    DriverPool *pool, const DriverVolume *volume, int64_t bytes, Error **err)
{
	g_autofree char *name = lvm_name(volume);
	g_autoptr(LvmVolume) found = NULL;
	if (bytes == 0) /* a block device has a size; it keeps that */
		return 0;
	if (lvm_volume_find(lvm_pool_group(pool), name, &found, err) < 0)
		return -1;
	int64_t extent = MAX(found->extent, 1);
	int64_t wanted = (bytes + extent - 1) / extent * extent;
	if (wanted == found->bytes)
		return 0;
	gboolean larger = wanted > found->bytes;
	if (let_resize(pool, volume, found, larger, err) < 0)
		return -1;
	return larger ? lvm_volume_grow(pool, volume, found, wanted, err) :
			shrink(pool, volume, name, wanted, err);
}

/* ---- copies ---- */

static int settle_copy(
    DriverPool *pool, const DriverVolume *volume, const char *name, Error **err)
{
	g_autofree char *device = lvm_volume_device(lvm_pool_group(pool), name), *type = NULL;
	return volume->content != CONTENT_FILESYSTEM ? 0 :
	    filesystem_probe(device, &type, err) < 0  ? -1 :
							renew_uuid(device, type, err);
}

static int lvm_volume_clone(
    DriverPool *pool, const DriverVolume *from, const DriverVolume *volume, Error **err)
{
	g_autofree char *origin = lvm_name(from), *name = lvm_name(volume);
	int64_t bytes = 0;
	if (!lvm_pool_thin(pool))
		return error_set(err, ERROR_UNSUPPORTED, "Thick volumes share no blocks");
	if (config_get(volume->config, "size") &&
	    units_parse_bytes(config_get(volume->config, "size"), &bytes, err) < 0)
		return -1;
	if (lvm_snapshot(pool, origin, name, err) < 0)
		return -1;
	if (settle_copy(pool, volume, name, err) == 0 &&
	    lvm_volume_set_size(pool, volume, bytes, err) == 0)
		return 0;
	lvm_remove(pool, name, NULL);
	return -1;
}

static const StorageDriver lvm_one = {
	.files_size = "100MiB",
	.volume_create = lvm_volume_create,
	.volume_delete = lvm_volume_delete,
	.volume_rename = lvm_volume_rename,
	.volume_exists = lvm_volume_is_there,
	.volume_clone = lvm_volume_clone,
	.volume_mount = lvm_volume_mount,
	.volume_unmount = lvm_volume_unmount,
	.volume_block_path = lvm_block_path,
	.volume_usage = lvm_volume_usage,
	.volume_usage_quick = lvm_volume_usage_quick,
	.volume_set_size = lvm_volume_set_size,
	.snapshot_list = lvm_snapshot_list,
	.snapshot_create = lvm_snapshot_create,
	.snapshot_delete = lvm_snapshot_delete,
	.snapshot_rename = lvm_snapshot_rename,
	.snapshot_restore = lvm_snapshot_restore,
};

const StorageDriver driver_lvm = {
	.name = "lvm",
	.one = &lvm_one,
	.probe = lvm_version,
	.pool_prepare = lvm_pool_prepare,
	.pool_create = lvm_pool_create,
	.pool_delete = lvm_pool_delete,
	.pool_mount = lvm_pool_mount,
	.pool_unmount = lvm_pool_unmount,
	.pool_update = lvm_pool_update,
	.pool_resources = lvm_pool_resources,
	.volume_list = lvm_list,
	PAIR_VOLUMES,
};
