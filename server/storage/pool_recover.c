#include "server/storage/pool_recover.h"
#include "sdk/base/file.h"
#include "sdk/base/log.h"
#include "sdk/base/names.h"
#include "server/storage/filesystem.h"
#include "server/storage/pool_config.h"
#include "server/storage/pool_private.h"
#include "server/storage/volume_block.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

/* ---- pools ---- */

static int mount_unknown(Pool *pool, Error **err)
{
	g_autoptr(DriverCall) call = driver_call_new(pool, NULL, PLACE_OWN, NULL);
	if (file_mkdir_all(pool->path, 0711, err) < 0)
		return -1;
	pool->passing = !filesystem_is_mounted(pool->path);
	return pool->driver->pool_mount(&call->pool, err);
}

int pool_recover_open(Daemon *d, const char *name, const char *driver_name, const Config *config,
    Pool **ret_pool, Error **err)
{
	const StorageDriver *driver;
	g_autoptr(Pool) known = NULL;
	const char *source = config_get(config, "source");
	if (name_check_pool(name, err) < 0)
		return error_prefix(err, "Invalid storage pool name");
	if (driver_find(driver_name, &driver, err) < 0 ||
	    pool_config_check(driver_name, config, err) < 0)
		return -1;
	if (pool_get(d, name, &known, NULL) == 0)
		return error_set(err, ERROR_EXISTS, "The storage pool already exists");
	/* A driver that knows the pool by its name would do without. */
	if (source && *source == '/' && access(source, F_OK) < 0)
		return error_errno(err, errno == ENOENT ? ERROR_NOT_FOUND : ERROR_INVALID, errno,
		    "Cannot open the source \"%s\" of storage pool \"%s\"", source, name);
	g_autoptr(Pool) pool = pool_new(d, 0, name, driver->name, "", (Config *)config);
	pool->driver = driver;
	if (mount_unknown(pool, err) < 0) {
		rmdir(pool->path);
		return error_prefix(err, "Cannot open the storage pool \"%s\"", name);
	}
	*ret_pool = g_steal_pointer(&pool);
	return 0;
}

void pool_recover_close(Pool *pool)
{
	if (pool && pool->id == 0) {
		g_autoptr(DriverCall) call = driver_call_new(pool, NULL, PLACE_OWN, NULL);
		g_autoptr(Error) error = NULL;
		if (pool->passing && pool->driver->pool_unmount(&call->pool, &error) < 0)
			log_warn("Storage pool not unmounted", "pool", pool->name, "err",
			    error->message);
		rmdir(pool->path);
	}
	pool_unref(pool);
}

int pool_recover_adopt(Pool *pool, const char *description, const Config *config, Error **err)
{
	return pool_adopt(pool, description, config, err);
}

typedef struct SyncCall {
	GHashTable *known; /* names */
} SyncCall;

static int names_tx(Tx *tx, void *data, Error **err)
{
	SyncCall *call = data;
	g_autoptr(Rows) rows = NULL;
	g_hash_table_remove_all(call->known);
	if (tx_query(tx, &rows, err, "SELECT name FROM storage_pools", "") < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0)
		g_hash_table_add(call->known, g_strdup(rows_text(rows, 0)));
	return more;
}

static int sync_locked(Daemon *d, Error **err)
{
	g_autoptr(GHashTable) known = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	SyncCall call = { .known = known };
	if (db_read(d->db, names_tx, &call, err) < 0)
		return -1;
	g_autoptr(GPtrArray) pools = pool_list(d);
	for (guint n = 0; n < pools->len; n++)
		if (!g_hash_table_contains(known, pool_name(pools->pdata[n])))
			pool_table_remove(d->pools, pool_name(pools->pdata[n]));
	return 0;
}

int pool_table_sync(Daemon *d, Error **err)
{
	g_mutex_lock(&d->pools->change);
	int result = sync_locked(d, err);
	g_mutex_unlock(&d->pools->change);
	return result;
}

/* ---- volumes ---- */

/* "PROJECT_NAME", or of an instance in project "default" its name alone. */
static Volume *volume_of(const Pool *pool, VolumeType type, const char *disk_name)
{
	const char *bar = strchr(disk_name, '_');
	if (type == VOLUME_IMAGE)
		return name_check_fingerprint(disk_name, NULL) == 0 ?
		    volume_new(pool, type, "default", disk_name) :
		    NULL;
	if (!bar && type == VOLUME_CUSTOM)
		return NULL;
	g_autofree char *project = bar ? g_strndup(disk_name, (gsize)(bar - disk_name)) :
					 g_strdup("default");
	const char *name = bar ? bar + 1 : disk_name;
	if (name_check_project(project, NULL) < 0 ||
	    (type == VOLUME_CUSTOM ? name_check_volume(name, NULL) :
				     name_check_instance(name, NULL)) < 0)
		return NULL;
	return volume_new(pool, type, project, name);
}

/* Drivers that keep disks as files have just that one in the volume; others tell it by the name. */
static gboolean find_content(Pool *pool, Volume *volume)
{
	const VolumeContent kinds[] = { CONTENT_BLOCK, CONTENT_ISO };
	gboolean found = volume_exists(pool, volume, PLACE_OWN);
	for (size_t i = 0; volume->type == VOLUME_CUSTOM && i < G_N_ELEMENTS(kinds); i++) {
		g_autoptr(Volume) disk = volume_new(
		    pool, volume->type, volume->project, volume->name);
		g_autofree char *file = volume_block_file(volume->path, kinds[i]);
		disk->content = kinds[i];
		if (found ? access(file, F_OK) < 0 : !volume_exists(pool, disk, PLACE_OWN))
			continue;
		volume->content = kinds[i];
		return TRUE;
	}
	return found;
}

static int list_type(Pool *pool, VolumeType type, GPtrArray *volumes, Error **err)
{
	g_autoptr(GHashTable) names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	if (pool_list_place(pool, type, PLACE_OWN, names, err) < 0)
		return -1;
	guint n;
	g_autofree void **keys = g_hash_table_get_keys_as_array(names, &n);
	for (guint i = 0; i < n; i++) {
		g_autoptr(Volume) volume = volume_of(pool, type, keys[i]);
		if (!volume || strcmp(volume->disk_name, keys[i]) != 0 ||
		    !find_content(pool, volume) ||
		    (pool->id && volume_row_find(pool, volume, NULL, NULL, NULL) == 0))
			continue;
		g_ptr_array_add(volumes, g_steal_pointer(&volume));
	}
	return 0;
}

static int compare_volumes(const void *a, const void *b)
{
	return strcmp((*(Volume *const *)a)->path, (*(Volume *const *)b)->path);
}

int pool_recover_list(Pool *pool, GPtrArray **ret_volumes, Error **err)
{
	g_autoptr(GPtrArray) volumes = g_ptr_array_new_with_free_func((GDestroyNotify)volume_free);
	if (list_type(pool, VOLUME_CUSTOM, volumes, err) < 0 ||
	    list_type(pool, VOLUME_CONTAINER, volumes, err) < 0 ||
	    list_type(pool, VOLUME_MACHINE, volumes, err) < 0)
		return -1;
	g_ptr_array_sort(volumes, compare_volumes);
	*ret_volumes = g_steal_pointer(&volumes);
	return 0;
}

gboolean pool_recover_has_container(Daemon *d, const char *disk_name)
{
	g_autoptr(GPtrArray) pools = pool_list(d);
	for (guint n = 0; n < pools->len; n++) {
		Pool *pool = pools->pdata[n];
		g_autoptr(Volume) volume = volume_of(pool, VOLUME_CONTAINER, disk_name);
		if (volume && strcmp(pool->status, "Created") == 0 &&
		    volume_exists(pool, volume, PLACE_OWN))
			return TRUE;
	}
	return FALSE;
}

int pool_recover_drop_images(Pool *pool, Error **err)
{
	g_autoptr(GPtrArray) images = g_ptr_array_new_with_free_func((GDestroyNotify)volume_free);
	if (list_type(pool, VOLUME_IMAGE, images, err) < 0)
		return -1;
	for (guint n = 0; n < images->len; n++)
		if (volume_destroy(pool, images->pdata[n], PLACE_OWN, err) < 0)
			return -1;
	return 0;
}

typedef struct VolumeCall {
	Pool *pool;
	const Volume *volume;
	const GPtrArray *snapshots;
	PoolAlso also;
	void *data;
} VolumeCall;

static int also_snapshots(Tx *tx, void *data, Error **err)
{
	VolumeCall *call = data;
	for (guint n = 0; n < call->snapshots->len; n++)
		if (snapshot_row_insert_in(
			tx, call->pool, call->volume, call->snapshots->pdata[n], err) < 0)
			return -1;
	return call->also ? call->also(tx, call->data, err) : 0;
}

int pool_recover_volume(Pool *pool, const Volume *volume, const char *description,
    const Config *config, const GPtrArray *snapshots, PoolAlso also, void *data, Error **err)
{
	VolumeCall call = { pool, volume, snapshots, also, data };
	gboolean root = volume->type != VOLUME_CUSTOM;
	g_autoptr(VolumeLock) lock = volume_lock(pool->locks, volume->path, FALSE);
	if (root && volume_link(pool, volume, err) < 0)
		return -1;
	if (volume_row_insert(pool, volume, description, config, also_snapshots, &call, err) == 0)
		return 0;
	if (root)
		volume_unlink(pool, volume);
	return -1;
}

/* Devices are there while it is mounted. */
static int find_size(Pool *pool, const Volume *disk, Config *config, Error **err)
{
	if (volume_mount(pool, disk, err) < 0)
		return -1;
	g_autofree char *path = volume_block_path(pool, disk, PLACE_OWN);
	int64_t bytes = path ? volume_block_size(path) : -1;
	g_autofree char *size = g_strdup_printf("%" PRId64, bytes);
	config_set(config, "size", size);
	if (volume_unmount(pool, disk, err) < 0)
		return -1;
	return bytes >= 0 ? 0 :
			    error_set(err, ERROR_INTERNAL, "Cannot find the size of \"%s\"", path);
}

int pool_recover_custom(Pool *pool, const Volume *volume, const GPtrArray *snapshots, Error **err)
{
	g_autoptr(Config) config = config_new();
	if (volume->content != CONTENT_FILESYSTEM && find_size(pool, volume, config, err) < 0)
		return -1;
	return pool_recover_volume(pool, volume, "", config, snapshots, NULL, NULL, err);
}
