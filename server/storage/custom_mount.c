/* Custom volumes as disks of containers: mounted, counted, and with the owners that the container's
 * users have. */
#include "sdk/base/log.h"
#include "server/project/project.h"
#include "server/storage/custom_volume.h"
#include "server/storage/pool_private.h"
#include "server/storage/shift.h"
#include "server/storage/snapshot.h"
#include "server/storage/store.h"
#include "server/storage/volume_block.h"
#include <string.h>

static int attach_volume(Pool *p, const char *project, const char *name, Volume **ret, Error **err)
{
	g_autofree char *effective = NULL;
	if (project_effective(p->daemon, project, PROJECT_STORAGE_VOLUMES, &effective, err) < 0)
		return -1;
	*ret = volume_new(p, VOLUME_CUSTOM, effective, name);
	return 0;
}

int pool_custom_check(Pool *p, const char *project, const char *volume_name, Error **err)
{
	g_autoptr(Volume) volume = NULL;
	if (attach_volume(p, project, volume_name, &volume, err) < 0 ||
	    volume_load(p, volume, NULL, NULL, err) < 0 ||
	    store_check_volume(p->daemon, p->name, volume->project, volume_name, err) < 0)
		return -1;
	return volume->content == CONTENT_FILESYSTEM ?
	    0 :
	    error_set(err, ERROR_INVALID, "Custom %s volumes cannot be used on containers",
		volume_content_name(volume->content));
}

/* ---- owners ---- */

typedef struct Noted {
	Pool *pool;
	const Volume *volume;
} Noted;

static int note_owners(void *data, const GArray *map, Error **err)
{
	const Noted *noted = data;
	g_autofree char *json = id_map_json(map);
	return volume_row_set(noted->pool, noted->volume, "volatile.idmap.next", json, err) < 0 ?
	    -1 :
	    volume_row_set(noted->pool, noted->volume, VOLUME_OWNERS, json, err);
}

/* Which map the owners on disk should have for a container with `idmap`; *ret_mapped: the mount
 * does the rest. */
static int wanted_owners(Pool *pool, const Volume *volume, const Config *config,
    const GArray *idmap, GArray **ret_map, gboolean *ret_mapped, Error **err)
{
	gboolean can = TRUE;
	gboolean needs = idmap && idmap->len > 0 && !config_true(config, "security.unmapped");
	if (needs && shift_can_map(pool->daemon, volume->path, &can, err) < 0)
		return -1;
	if (!can && config_true(config, "security.shifted"))
		return error_set(err, ERROR_UNSUPPORTED,
		    "Required idmapping abilities not available for storage volume \"%s\"",
		    volume->name);
	*ret_mapped = needs && can;
	*ret_map = can ? g_array_new(FALSE, TRUE, sizeof(IdRange)) :
			 g_array_copy((GArray *)idmap);
	return 0;
}

static guint users_of(Pool *pool, const Volume *volume)
{
	g_mutex_lock(&pool->lock);
	int count = GPOINTER_TO_INT(g_hash_table_lookup(pool->mounts, volume->path));
	g_mutex_unlock(&pool->lock);
	return (guint)count;
}

/* The caller holds the volume's lock and has mounted it. */
static int settle_owners(Pool *pool, const Volume *volume, const Config *config,
    const GArray *idmap, gboolean *ret_mapped, Error **err)
{
	g_autoptr(GArray) wanted = NULL;
	g_autoptr(GArray) now = NULL;
	Noted noted = { pool, volume };
	Shift shift = { .pool = pool, .volume = volume, .note = note_owners, .data = &noted };
	if (wanted_owners(pool, volume, config, idmap, &wanted, ret_mapped, err) < 0 ||
	    id_map_parse(config_get(config, VOLUME_OWNERS), &now, err) < 0)
		return -1;
	if (id_map_equal(now, wanted))
		return 0;
	if (users_of(pool, volume) > 1)
		return error_set(err, ERROR_BUSY,
		    "Idmaps of container and storage volume \"%s\" are not identical",
		    volume->name);
	return shift_run(&shift, now, wanted, err);
}

static int finish_owners(Pool *pool, const Volume *volume, Error **err)
{
	Noted noted = { pool, volume };
	Shift shift = { .pool = pool, .volume = volume, .note = note_owners, .data = &noted };
	return shift_resume(&shift, err);
}

int custom_owners(Pool *pool, const Volume *volume, const GPtrArray *rows, GArray **ret_owners,
    GPtrArray **ret_of_snapshots, Error **err)
{
	g_autoptr(Config) config = NULL;
	g_autoptr(GPtrArray) maps = g_ptr_array_new_with_free_func((GDestroyNotify)g_array_unref);
	for (guint n = 0; n < rows->len; n++) {
		const Config *own = ((SnapshotRow *)rows->pdata[n])->config;
		GArray *map;
		if (id_map_parse(own ? config_get(own, VOLUME_OWNERS) : NULL, &map, err) < 0)
			return -1;
		g_ptr_array_add(maps, map);
	}
	if (volume_row_find(pool, volume, NULL, &config, err) < 0 ||
	    id_map_parse(config_get(config, VOLUME_OWNERS), ret_owners, err) < 0)
		return -1;
	*ret_of_snapshots = g_steal_pointer(&maps);
	return 0;
}

int custom_set_owners(Pool *pool, const Volume *volume, const char *map, Error **err)
{
	g_autoptr(Config) config = NULL;
	g_autoptr(GArray) now = NULL;
	g_autoptr(GArray) wanted = NULL;
	Noted noted = { pool, volume };
	Shift shift = { .pool = pool, .volume = volume, .note = note_owners, .data = &noted };
	if (volume_row_find(pool, volume, NULL, &config, err) < 0 ||
	    id_map_parse(config_get(config, VOLUME_OWNERS), &now, err) < 0 ||
	    id_map_parse(map, &wanted, err) < 0)
		return -1;
	if (id_map_equal(now, wanted))
		return 0;
	if (!volume_wait_unmounted(pool, volume))
		return error_set(err, ERROR_BUSY, "Storage volume \"%s\" is in use", volume->name);
	return shift_run_alone(&shift, now, wanted, err);
}

void custom_owners_repair(Pool *pool)
{
	g_autoptr(GPtrArray) volumes = shift_interrupted(pool, VOLUME_CUSTOM);
	for (guint n = 0; n < volumes->len; n++) {
		g_autoptr(Error) error = NULL;
		const Volume *volume = volumes->pdata[n];
		if (finish_owners(pool, volume, &error) < 0)
			log_warn("Owners of a storage volume stay half shifted", "pool", pool->name,
			    "volume", volume->name, "err", error->message);
	}
}

/* ---- mounts ---- */

static int mount_locked(Pool *pool, Volume *volume, const GArray *idmap, gboolean *ret_mapped,
    Error **err)
{
	g_autoptr(Config) config = NULL;
	if (finish_owners(pool, volume, err) < 0 ||
	    volume_load(pool, volume, NULL, &config, err) < 0)
		return -1;
	if (!volume_exists(pool, volume, PLACE_OWN))
		return error_set(err, ERROR_NOT_FOUND, "Storage volume not found");
	if (volume_mount_locked(pool, volume, err) < 0)
		return -1;
	if (settle_owners(pool, volume, config, idmap, ret_mapped, err) == 0)
		return 0;
	volume_unmount_locked(pool, volume, NULL);
	return -1;
}

int pool_custom_mount(Pool *p, const char *project, const char *volume_name, const GArray *idmap,
    char **ret_path, gboolean *ret_mapped, Error **err)
{
	g_autoptr(Volume) volume = NULL;
	if (custom_check_pool(p, err) < 0 || pool_custom_check(p, project, volume_name, err) < 0 ||
	    attach_volume(p, project, volume_name, &volume, err) < 0)
		return -1;
	g_autoptr(VolumeLock) lock = volume_lock(p->locks, volume->path, FALSE);
	if (mount_locked(p, volume, idmap, ret_mapped, err) < 0)
		return -1;
	*ret_path = g_strdup(volume->path);
	return 0;
}

int pool_custom_content(Pool *p, const char *project, const char *volume_name, gboolean *ret_block,
    gboolean *ret_iso, Error **err)
{
	g_autoptr(Volume) volume = NULL;
	if (attach_volume(p, project, volume_name, &volume, err) < 0 ||
	    volume_load(p, volume, NULL, NULL, err) < 0)
		return -1;
	*ret_block = volume->content == CONTENT_BLOCK;
	*ret_iso = volume->content == CONTENT_ISO;
	return 0;
}

int pool_custom_disk(Pool *p, const char *project, const char *volume_name, char **ret_path,
    gboolean *ret_iso, Error **err)
{
	g_autoptr(Volume) volume = NULL;
	if (custom_check_pool(p, err) < 0 ||
	    attach_volume(p, project, volume_name, &volume, err) < 0 ||
	    volume_load(p, volume, NULL, NULL, err) < 0)
		return -1;
	if (volume->content == CONTENT_FILESYSTEM)
		return error_set(
		    err, ERROR_INVALID, "Volume \"%s\" is no image of a disk", volume_name);
	if (volume_mount(p, volume, err) < 0)
		return -1;
	g_autofree char *path = volume_block_path(p, volume, PLACE_OWN);
	if (volume_block_trust(path, err) < 0) {
		volume_unmount(p, volume, NULL);
		return -1;
	}
	*ret_path = g_steal_pointer(&path);
	*ret_iso = volume->content == CONTENT_ISO;
	return 0;
}

int pool_custom_adopt(Pool *p, const char *project, const char *volume_name, Error **err)
{
	g_autoptr(Volume) volume = NULL;
	return attach_volume(p, project, volume_name, &volume, err) < 0 ?
	    -1 :
	    volume_mount(p, volume, err);
}

int pool_custom_unmount(Pool *p, const char *project, const char *volume_name, Error **err)
{
	g_autoptr(Volume) volume = NULL;
	return attach_volume(p, project, volume_name, &volume, err) < 0 ?
	    -1 :
	    volume_unmount(p, volume, err);
}
