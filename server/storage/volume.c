#include "server/storage/volume.h"
#include "sdk/base/fault.h"
#include "server/storage/pool_private.h"
#include "server/storage/shift.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

/* How long a change waits for whoever is just reading or writing a file of the volume. */
enum { PATIENCE_US = 3 * G_USEC_PER_SEC };

static const char *const types[] = { [VOLUME_CONTAINER] = "container", [VOLUME_IMAGE] = "image",
	[VOLUME_CUSTOM] = "custom", [VOLUME_MACHINE] = "virtual-machine" };

const char *volume_type_name(VolumeType type)
{
	return types[type];
}

int volume_type_parse(const char *name, VolumeType *ret_type, Error **err)
{
	for (size_t i = 0; i < G_N_ELEMENTS(types); i++)
		if (strcmp(types[i], name) == 0) {
			*ret_type = (VolumeType)i;
			return 0;
		}
	return error_set(err, ERROR_INVALID, "Invalid storage volume type \"%s\"", name);
}

Volume *volume_new(const Pool *pool, VolumeType type, const char *project, const char *name)
{
	Volume *volume = g_new0(Volume, 1);
	volume->type = type;
	/* Images are the same for every project. */
	volume->project = g_strdup(type == VOLUME_IMAGE ? "default" : project);
	volume->name = g_strdup(name);
	gboolean prefix = type == VOLUME_CUSTOM ||
	    (type != VOLUME_IMAGE && strcmp(project, "default") != 0);
	volume->content = type == VOLUME_MACHINE ? CONTENT_BLOCK : CONTENT_FILESYSTEM;
	volume->disk_name = prefix ? g_strdup_printf("%s_%s", project, name) : g_strdup(name);
	volume->path = volume_path(pool, volume, PLACE_OWN);
	return volume;
}

Volume *volume_snapshot(const Pool *pool, const Volume *volume, const char *snapshot)
{
	Volume *one = volume_new(pool, volume->type, volume->project, volume->name);
	one->content = volume->content;
	one->snapshot = g_strdup(snapshot);
	g_free(one->path);
	one->path = volume_path(pool, one, PLACE_OWN);
	return one;
}

void volume_free(Volume *volume)
{
	if (!volume)
		return;
	g_free(volume->project);
	g_free(volume->name);
	g_free(volume->snapshot);
	g_free(volume->disk_name);
	g_free(volume->path);
	g_free(volume);
}

gboolean volume_key_is_internal(const char *key)
{
	return strcmp(key, VOLUME_INTENT) == 0 || strcmp(key, VOLUME_SNAPSHOT_INTENT) == 0 ||
	    strcmp(key, VOLUME_RESTORE_INTENT) == 0 || strcmp(key, VOLUME_MOVING) == 0;
}

char *volume_path(const Pool *pool, const Volume *volume, VolumePlace place)
{
	return driver_path(pool->path, volume->type, place, volume->disk_name, volume->snapshot);
}

DriverCall *driver_call_new(
    Pool *pool, const Volume *volume, VolumePlace place, const Config *config)
{
	DriverCall *call = g_new0(DriverCall, 1);
	call->config = pool_config(pool);
	call->pool = (DriverPool){ .driver = pool->driver, .name = pool->name, .path = pool->path,
		.loop_file = pool->loop_file, .config = call->config };
	call->empty = config_new();
	if (volume) {
		call->path = volume_path(pool, volume, place);
		call->volume = (DriverVolume){ .type = volume->type,
			.content = volume->content,
			.place = place,
			.name = volume->disk_name,
			.snapshot = volume->snapshot,
			.path = call->path,
			.config = config ? config : call->empty };
	}
	return call;
}

DriverCall *driver_call_load(Pool *pool, const Volume *volume, VolumePlace place)
{
	g_autoptr(Config) stored = NULL;
	if (volume_row_find(pool, volume, NULL, &stored, NULL) < 0)
		return driver_call_new(pool, volume, place, NULL);
	DriverCall *call = driver_call_new(pool, volume, place, stored);
	call->stored = g_steal_pointer(&stored);
	return call;
}

void driver_call_free(DriverCall *call)
{
	if (!call)
		return;
	g_hash_table_unref(call->config);
	g_hash_table_unref(call->empty);
	g_clear_pointer(&call->stored, g_hash_table_unref);
	g_free(call->path);
	g_free(call);
}

gboolean volume_exists(Pool *pool, const Volume *volume, VolumePlace place)
{
	g_autoptr(DriverCall) call = driver_call_new(pool, volume, place, NULL);
	if (pool->driver->volume_exists)
		return pool->driver->volume_exists(&call->pool, &call->volume);
	return g_file_test(call->path, G_FILE_TEST_IS_DIR);
}

int volume_move(Pool *pool, const Volume *volume, VolumePlace from, VolumePlace to, Error **err)
{
	g_autoptr(DriverCall) source = driver_call_new(pool, volume, from, NULL);
	g_autoptr(DriverCall) target = driver_call_new(pool, volume, to, NULL);
	if (fault_point("volume move", err) < 0)
		return -1;
	return pool->driver->volume_rename(&source->pool, &source->volume, &target->volume, err);
}

int volume_destroy(Pool *pool, const Volume *volume, VolumePlace place, Error **err)
{
	g_autoptr(DriverCall) call = driver_call_new(pool, volume, place, NULL);
	if (fault_point("volume delete", err) < 0)
		return -1;
	return pool->driver->volume_delete(&call->pool, &call->volume, err);
}

Config *volume_effective_config(Pool *pool, const Config *config)
{
	g_autoptr(Config) defaults = pool_config(pool);
	Config *result = config_new();
	GHashTableIter iter;
	void *key, *value;
	g_hash_table_iter_init(&iter, defaults);
	while (g_hash_table_iter_next(&iter, &key, &value))
		if (g_str_has_prefix(key, "volume."))
			config_set(result, (const char *)key + strlen("volume."), value);
	if (!config)
		return result;
	g_hash_table_iter_init(&iter, (GHashTable *)config);
	while (g_hash_table_iter_next(&iter, &key, &value))
		config_set(result, key, value);
	return result;
}

Config *volume_sized_config(const Config *config, uint64_t bytes)
{
	Config *result = config_copy(config);
	g_autofree char *size = g_strdup_printf("%" G_GUINT64_FORMAT, (guint64)bytes);
	if (bytes)
		config_set(result, "size", size);
	return result;
}

/* Adds to the count of mounts and gives what it was; -1 with nothing counted gives 0. */
static int mounts_change(Pool *pool, const Volume *volume, int by)
{
	g_mutex_lock(&pool->lock);
	int count = GPOINTER_TO_INT(g_hash_table_lookup(pool->mounts, volume->path));
	int now = MAX(count + by, 0);
	if (now)
		g_hash_table_replace(pool->mounts, g_strdup(volume->path), GINT_TO_POINTER(now));
	else
		g_hash_table_remove(pool->mounts, volume->path);
	if (!now)
		g_cond_broadcast(&pool->unmounted);
	g_mutex_unlock(&pool->lock);
	return count;
}

gboolean volume_mounted(Pool *pool, const Volume *volume)
{
	return mounts_change(pool, volume, 0) > 0;
}

gboolean volume_wait_unmounted(Pool *pool, const Volume *volume)
{
	gint64 end = g_get_monotonic_time() + PATIENCE_US;
	gboolean used;
	g_mutex_lock(&pool->lock);
	while ((used = g_hash_table_contains(pool->mounts, volume->path)) &&
	    g_cond_wait_until(&pool->unmounted, &pool->lock, end))
		;
	g_mutex_unlock(&pool->lock);
	if (used)
		return FALSE;
	g_mutex_lock(&pool->mounting); /* the last one may just be unmounting it */
	g_mutex_unlock(&pool->mounting);
	return TRUE;
}

static int mount_first(Pool *pool, const Volume *volume, Error **err)
{
	if (mounts_change(pool, volume, 1) > 0)
		return 0;
	g_autoptr(DriverCall) call = driver_call_load(pool, volume, PLACE_OWN);
	if (pool->driver->volume_mount(&call->pool, &call->volume, err) == 0)
		return 0;
	mounts_change(pool, volume, -1);
	return -1;
}

static int unmount_last(Pool *pool, const Volume *volume, Error **err)
{
	if (mounts_change(pool, volume, -1) != 1)
		return 0;
	g_autoptr(DriverCall) call = driver_call_new(pool, volume, PLACE_OWN, NULL);
	if (pool->driver->volume_unmount(&call->pool, &call->volume, err) == 0)
		return 0;
	mounts_change(pool, volume, 1);
	return -1;
}

int volume_mount_locked(Pool *pool, const Volume *volume, Error **err)
{
	if (!pool->driver->volume_mount) {
		mounts_change(pool, volume, 1);
		return 0;
	}
	g_mutex_lock(&pool->mounting);
	int result = mount_first(pool, volume, err);
	g_mutex_unlock(&pool->mounting);
	return result;
}

int volume_unmount_locked(Pool *pool, const Volume *volume, Error **err)
{
	if (!pool->driver->volume_unmount) {
		mounts_change(pool, volume, -1);
		return 0;
	}
	g_mutex_lock(&pool->mounting);
	int result = unmount_last(pool, volume, err);
	g_mutex_unlock(&pool->mounting);
	return result;
}

int volume_mount(Pool *pool, const Volume *volume, Error **err)
{
	g_autoptr(VolumeLock) lock = volume_lock(pool->locks, volume->path, FALSE);
	if (!volume_exists(pool, volume, PLACE_OWN))
		return error_set(err, ERROR_NOT_FOUND, "Storage volume not found");
	if (shift_check(pool, volume, err) < 0)
		return -1;
	return volume_mount_locked(pool, volume, err);
}

int volume_unmount(Pool *pool, const Volume *volume, Error **err)
{
	/* Without the volume's lock: who holds it may be waiting for this. */
	return volume_unmount_locked(pool, volume, err);
}

/* containers/NAME, or the folder of its snapshots. */
static char *link_path(Pool *pool, const Volume *volume, gboolean snapshots)
{
	return driver_path(
	    pool->daemon->dir, volume->type, PLACE_OWN, volume->disk_name, snapshots ? "" : NULL);
}

static int link_to(Pool *pool, const Volume *volume, gboolean snapshots, Error **err)
{
	g_autofree char *link = link_path(pool, volume, snapshots);
	g_autofree char *target = driver_path(
	    pool->path, volume->type, PLACE_OWN, volume->disk_name, snapshots ? "" : NULL);
	/* Usually it is there: a start asks for all of them, and would make as many inodes anew. */
	g_autofree char *there = g_file_read_link(link, NULL);
	if (g_strcmp0(there, target) == 0 || symlink(target, link) == 0)
		return 0;
	/* One from before, to a tree that is gone. */
	if (errno == EEXIST && unlink(link) == 0 && symlink(target, link) == 0)
		return 0;
	return error_errno(err, ERROR_INTERNAL, errno, "Cannot create the link \"%s\"", link);
}

int volume_link(Pool *pool, const Volume *volume, Error **err)
{
	if (fault_point("volume link", err) < 0 || link_to(pool, volume, FALSE, err) < 0)
		return -1;
	if (link_to(pool, volume, TRUE, err) == 0)
		return 0;
	volume_unlink(pool, volume);
	return -1;
}

void volume_unlink(Pool *pool, const Volume *volume)
{
	g_autofree char *link = link_path(pool, volume, FALSE);
	g_autofree char *snapshots = link_path(pool, volume, TRUE);
	unlink(link);
	unlink(snapshots);
}
