#include "server/storage/driver_pair.h"

typedef struct Pair {
	DriverVolume files, disk;
	Config *config; /* of the files */
} Pair;

static void pair_clear(Pair *pair)
{
	g_clear_pointer(&pair->config, g_hash_table_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Pair, pair_clear)

gboolean pair_is(const DriverVolume *volume)
{
	return volume->content == CONTENT_BLOCK &&
	    (volume->type == VOLUME_MACHINE || volume->type == VOLUME_IMAGE);
}

static Pair pair_of(const DriverPool *pool, const DriverVolume *volume)
{
	Pair pair = { .files = *volume, .disk = *volume, .config = config_copy(volume->config) };
	const char *size = config_get(volume->config, "size.state");
	config_set(pair.config, "size", size ? size : pool->driver->one->files_size);
	config_set(pair.config, "zfs.block_mode", NULL);
	pair.files.content = CONTENT_FILESYSTEM;
	pair.files.config = pair.config;
	return pair;
}

/* ---- volumes ---- */

int pair_volume_create(DriverPool *pool, const DriverVolume *volume, Error **err)
{
	const StorageDriver *one = pool->driver->one;
	if (!pair_is(volume))
		return one->volume_create(pool, volume, err);
	g_auto(Pair) pair = pair_of(pool, volume);
	if (one->volume_create(pool, &pair.files, err) < 0)
		return -1;
	if (one->volume_create(pool, &pair.disk, err) == 0)
		return 0;
	one->volume_delete(pool, &pair.files, NULL);
	return -1;
}

int pair_volume_delete(DriverPool *pool, const DriverVolume *volume, Error **err)
{
	g_auto(Pair) pair = pair_of(pool, volume);
	return pool->driver->one->volume_delete(
	    pool, pair_is(volume) ? &pair.files : volume, err);
}

static int rename_half(
    DriverPool *pool, const DriverVolume *half, const DriverVolume *to, Error **err)
{
	const StorageDriver *one = pool->driver->one;
	return !one->volume_exists(pool, half) && one->volume_exists(pool, to) ?
	    0 :
	    one->volume_rename(pool, half, to, err);
}

int pair_volume_rename(
    DriverPool *pool, const DriverVolume *volume, const DriverVolume *to, Error **err)
{
	if (!pair_is(volume))
		return pool->driver->one->volume_rename(pool, volume, to, err);
	g_auto(Pair) pair = pair_of(pool, volume);
	g_auto(Pair) target = pair_of(pool, to);
	if (rename_half(pool, &pair.files, &target.files, err) < 0)
		return -1;
	if (rename_half(pool, &pair.disk, &target.disk, err) == 0)
		return 0;
	rename_half(pool, &target.files, &pair.files, NULL);
	return -1;
}

gboolean pair_volume_exists(DriverPool *pool, const DriverVolume *volume)
{
	const StorageDriver *one = pool->driver->one;
	if (!pair_is(volume))
		return one->volume_exists(pool, volume);
	g_auto(Pair) pair = pair_of(pool, volume);
	return one->volume_exists(pool, &pair.files) || one->volume_exists(pool, &pair.disk);
}

/* The half comes if it stands there without the other one. 1: it does not. */
static int bring_half(DriverPool *pool, const DriverVolume *from, const DriverVolume *beside,
    const DriverVolume *to, Error **err)
{
	const StorageDriver *one = pool->driver->one;
	return one->volume_exists(pool, from) && !one->volume_exists(pool, beside) ?
	    one->volume_rename(pool, from, to, err) :
	    1;
}

/* Whoever moves a pair moves one half after the other: cut off between them, each stands alone. */
int pair_volume_mend(
    DriverPool *pool, const DriverVolume *volume, const DriverVolume *elsewhere, Error **err)
{
	const StorageDriver *one = pool->driver->one;
	if (!pair_is(volume))
		return 0;
	g_auto(Pair) pair = pair_of(pool, volume);
	g_auto(Pair) other = pair_of(pool, elsewhere);
	gboolean files = one->volume_exists(pool, &pair.files);
	if (files == one->volume_exists(pool, &pair.disk))
		return 0;
	return files ? bring_half(pool, &other.disk, &other.files, &pair.disk, err) :
		       bring_half(pool, &other.files, &other.disk, &pair.files, err);
}

int pair_volume_clone(
    DriverPool *pool, const DriverVolume *from, const DriverVolume *volume, Error **err)
{
	const StorageDriver *one = pool->driver->one;
	if (!pair_is(volume))
		return one->volume_clone(pool, from, volume, err);
	g_auto(Pair) source = pair_of(pool, from);
	g_auto(Pair) pair = pair_of(pool, volume);
	if (one->volume_clone(pool, &source.files, &pair.files, err) < 0)
		return -1;
	if (one->volume_clone(pool, &source.disk, &pair.disk, err) == 0)
		return 0;
	one->volume_delete(pool, &pair.files, NULL);
	return -1;
}

int pair_volume_mount(DriverPool *pool, const DriverVolume *volume, Error **err)
{
	const StorageDriver *one = pool->driver->one;
	if (!pair_is(volume))
		return one->volume_mount(pool, volume, err);
	g_auto(Pair) pair = pair_of(pool, volume);
	if (one->volume_mount(pool, &pair.files, err) < 0)
		return -1;
	if (one->volume_mount(pool, &pair.disk, err) == 0)
		return 0;
	one->volume_unmount(pool, &pair.files, NULL);
	return -1;
}

int pair_volume_unmount(DriverPool *pool, const DriverVolume *volume, Error **err)
{
	const StorageDriver *one = pool->driver->one;
	if (!pair_is(volume))
		return one->volume_unmount(pool, volume, err);
	g_auto(Pair) pair = pair_of(pool, volume);
	return one->volume_unmount(pool, &pair.files, err) < 0 ?
	    -1 :
	    one->volume_unmount(pool, &pair.disk, err);
}

char *pair_block_path(DriverPool *pool, const DriverVolume *volume)
{
	return pool->driver->one->volume_block_path(pool, volume);
}

int pair_volume_usage(DriverPool *pool, const DriverVolume *volume, int64_t *ret_used,
    int64_t *ret_total, Error **err)
{
	return pool->driver->one->volume_usage(pool, volume, ret_used, ret_total, err);
}

int pair_volume_usage_quick(DriverPool *pool, const DriverVolume *volume, int64_t *ret_used,
    int64_t *ret_total, Error **err)
{
	const StorageDriver *one = pool->driver->one;
	return (one->volume_usage_quick ? one->volume_usage_quick : one->volume_usage)(
	    pool, volume, ret_used, ret_total, err);
}

/* The disk's; the file system has its size from its key. */
int pair_volume_set_size(DriverPool *pool, const DriverVolume *volume, int64_t bytes, Error **err)
{
	return pool->driver->one->volume_set_size(pool, volume, bytes, err);
}

/* ---- snapshots ---- */

int pair_snapshot_list(
    DriverPool *pool, const DriverVolume *volume, GPtrArray *ret_names, Error **err)
{
	const StorageDriver *one = pool->driver->one;
	if (!pair_is(volume))
		return one->snapshot_list(pool, volume, ret_names, err);
	g_auto(Pair) pair = pair_of(pool, volume);
	g_autoptr(GPtrArray) of_files = g_ptr_array_new_with_free_func(g_free);
	g_autoptr(GPtrArray) of_disk = g_ptr_array_new_with_free_func(g_free);
	g_autoptr(GHashTable) there = g_hash_table_new(g_str_hash, g_str_equal);
	if (one->snapshot_list(pool, &pair.files, of_files, err) < 0 ||
	    one->snapshot_list(pool, &pair.disk, of_disk, err) < 0)
		return -1;
	for (guint n = 0; n < of_files->len; n++)
		g_hash_table_add(there, of_files->pdata[n]);
	for (guint n = 0; n < of_disk->len; n++)
		if (g_hash_table_contains(there, of_disk->pdata[n]))
			g_ptr_array_add(ret_names, g_strdup(of_disk->pdata[n]));
	return 0;
}

/* What is left of one that was cut off between the halves goes first. */
static int create_half(DriverPool *pool, const DriverVolume *snapshot, Error **err)
{
	const StorageDriver *one = pool->driver->one;
	return one->volume_exists(pool, snapshot) &&
		one->snapshot_delete(pool, snapshot, err) < 0 ?
	    -1 :
	    one->snapshot_create(pool, snapshot, err);
}

int pair_snapshot_create(DriverPool *pool, const DriverVolume *snapshot, Error **err)
{
	const StorageDriver *one = pool->driver->one;
	if (!pair_is(snapshot))
		return one->snapshot_create(pool, snapshot, err);
	g_auto(Pair) pair = pair_of(pool, snapshot);
	if (create_half(pool, &pair.files, err) < 0)
		return -1;
	if (create_half(pool, &pair.disk, err) == 0)
		return 0;
	one->snapshot_delete(pool, &pair.files, NULL);
	return -1;
}

int pair_snapshot_delete(DriverPool *pool, const DriverVolume *snapshot, Error **err)
{
	const StorageDriver *one = pool->driver->one;
	if (!pair_is(snapshot))
		return one->snapshot_delete(pool, snapshot, err);
	g_auto(Pair) pair = pair_of(pool, snapshot);
	return one->snapshot_delete(pool, &pair.files, err) < 0 ?
	    -1 :
	    one->snapshot_delete(pool, &pair.disk, err);
}

static int rename_snapshot_half(
    DriverPool *pool, const DriverVolume *half, const char *new_name, Error **err)
{
	const StorageDriver *one = pool->driver->one;
	DriverVolume to = *half;
	g_autofree char *path = driver_path(
	    pool->path, half->type, half->place, half->name, new_name);
	to.snapshot = new_name;
	to.path = path;
	return !one->volume_exists(pool, half) && one->volume_exists(pool, &to) ?
	    0 :
	    one->snapshot_rename(pool, half, new_name, err);
}

int pair_snapshot_rename(
    DriverPool *pool, const DriverVolume *snapshot, const char *new_name, Error **err)
{
	const StorageDriver *one = pool->driver->one;
	if (!pair_is(snapshot))
		return one->snapshot_rename(pool, snapshot, new_name, err);
	g_auto(Pair) pair = pair_of(pool, snapshot);
	if (rename_snapshot_half(pool, &pair.files, new_name, err) < 0)
		return -1;
	if (rename_snapshot_half(pool, &pair.disk, new_name, err) == 0)
		return 0;
	DriverVolume renamed = pair.files;
	g_autofree char *path = driver_path(
	    pool->path, renamed.type, renamed.place, renamed.name, new_name);
	renamed.snapshot = new_name;
	renamed.path = path;
	rename_snapshot_half(pool, &renamed, snapshot->snapshot, NULL);
	return -1;
}

int pair_snapshot_restore(DriverPool *pool, const DriverVolume *snapshot, Error **err)
{
	const StorageDriver *one = pool->driver->one;
	if (!pair_is(snapshot))
		return one->snapshot_restore(pool, snapshot, err);
	g_auto(Pair) pair = pair_of(pool, snapshot);
	return one->snapshot_restore(pool, &pair.files, err) < 0 ?
	    -1 :
	    one->snapshot_restore(pool, &pair.disk, err);
}

/* ---- streams ---- */

static int no_stream(Error **err)
{
	return error_set(err, ERROR_UNSUPPORTED,
	    "Virtual machines have no stream of this storage driver");
}

int pair_volume_send(
    DriverPool *pool, const DriverVolume *volume, const char *parent, int fd, Error **err)
{
	return pair_is(volume) ? no_stream(err) :
				 pool->driver->one->volume_send(pool, volume, parent, fd, err);
}

int pair_volume_receive(DriverPool *pool, const DriverVolume *volume, int fd, Error **err)
{
	return pair_is(volume) ? no_stream(err) :
				 pool->driver->one->volume_receive(pool, volume, fd, err);
}

gboolean pair_volume_is_portable(DriverPool *pool, const DriverVolume *volume)
{
	return !pair_is(volume) && pool->driver->one->volume_is_portable(pool, volume);
}

gboolean pair_volume_is_foreign(DriverPool *pool, const DriverVolume *volume)
{
	return !pair_is(volume) && pool->driver->one->volume_is_foreign(pool, volume);
}

int pair_backup_send(DriverPool *pool, const DriverVolume *volume,
    const struct BackupStream *stream, const char *parent, int fd, Error **err)
{
	return pair_is(volume) ?
	    no_stream(err) :
	    pool->driver->one->backup_send(pool, volume, stream, parent, fd, err);
}

int pair_backup_receive(DriverPool *pool, const DriverVolume *volume,
    const struct BackupStream *stream, guint number, int fd, Error **err)
{
	return pair_is(volume) ?
	    error_set(err, ERROR_UNSUPPORTED,
		"Optimized backups of virtual machines cannot be read here in this version: export it without --optimized-storage") :
	    pool->driver->one->backup_receive(pool, volume, stream, number, fd, err);
}
