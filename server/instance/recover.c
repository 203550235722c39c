#include "server/instance/recover.h"
#include "sdk/base/fault.h"
#include "sdk/base/file.h"
#include "server/image/metadata.h"
#include "server/instance/copy.h"
#include "server/instance/private.h"
#include "server/instance/recover_private.h"
#include "server/network/network.h"
#include "server/profile/profile.h"
#include "server/project/project.h"
#include "server/storage/pool_recover.h"
#include <string.h>

enum { FILE_MAX = 16 * 1024 * 1024 };

static GMutex recovering;

static void item_free(void *data)
{
	RecoveryItem *item = data;
	pool_unref(item->pool);
	volume_free(item->volume);
	backup_index_free(item->index);
	g_clear_pointer(&item->snapshots, g_ptr_array_unref);
	g_free(item);
}

static void close_pool(void *pool)
{
	pool_recover_close(pool);
}

static Recovery *recovery_new(Daemon *d)
{
	Recovery *recovery = g_new0(Recovery, 1);
	recovery->daemon = d;
	recovery->pools = g_ptr_array_new_with_free_func(close_pool);
	recovery->items = g_ptr_array_new_with_free_func(item_free);
	recovery->missing = g_ptr_array_new_with_free_func(g_free);
	g_mutex_lock(&recovering);
	return recovery;
}

void recovery_free(Recovery *recovery)
{
	if (!recovery)
		return;
	g_ptr_array_unref(recovery->items);
	g_ptr_array_unref(recovery->missing);
	g_ptr_array_unref(recovery->pools);
	g_free(recovery);
	g_mutex_unlock(&recovering);
}

/* ---- what is there ---- */

static int read_below(const char *path, BackupIndex **ret_index, Error **err)
{
	g_autofree char *yaml = NULL;
	size_t length;
	autofd int directory = file_open_directory(path, err);
	if (directory < 0 ||
	    file_read(directory, "backup.yaml", FILE_LINKS_NONE, FILE_MAX, &yaml, &length, err) < 0)
		return -1;
	return backup_file_parse(yaml, length, ret_index, err);
}

static int read_index(RecoveryItem *item, Error **err)
{
	if (volume_mount(item->pool, item->volume, err) < 0)
		return -1;
	int result = read_below(item->volume->path, &item->index, err);
	if (volume_unmount(item->pool, item->volume, result == 0 ? err : NULL) < 0)
		return -1;
	if (result == 0 && strcmp(item->index->volume->name, item->volume->name) != 0)
		return error_set(
		    err, ERROR_INVALID, "its backup.yaml is that of \"%s\"", item->index->volume->name);
	return result;
}

/* ---- what it needs ---- */

static void miss(Recovery *recovery, char *text)
{
	if (g_ptr_array_find_with_equal_func(recovery->missing, text, g_str_equal, NULL))
		g_free(text);
	else
		g_ptr_array_add(recovery->missing, text);
}

static void need_networks(Recovery *recovery, const RecoveryItem *item)
{
	GHashTableIter iter;
	void *config;
	g_hash_table_iter_init(&iter, item->index->devices);
	while (g_hash_table_iter_next(&iter, NULL, &config)) {
		g_autoptr(Network) network = NULL;
		const char *name = config_get(config, "network"),
			   *type = config_get(config, "type");
		if (name && g_strcmp0(type, "nic") == 0 &&
		    network_get(recovery->daemon, item->volume->project, name, &network, NULL) < 0)
			miss(recovery,
			    g_strdup_printf(
				"Network \"%s\" in project \"%s\"", name, item->volume->project));
	}
}

static void need_profiles(Recovery *recovery, const RecoveryItem *item)
{
	for (char **name = item->index->profiles; *name; name++) {
		g_autoptr(Profile) profile = NULL;
		if (profile_get(
			recovery->daemon, item->volume->project, *name, FALSE, &profile, NULL) < 0)
			miss(recovery,
			    g_strdup_printf(
				"Profile \"%s\" in project \"%s\"", *name, item->volume->project));
	}
}

static void need(Recovery *recovery, const RecoveryItem *item)
{
	g_autoptr(Project) project = NULL;
	g_autoptr(Instance) taken = NULL;
	const Volume *volume = item->volume;
	if (project_get(recovery->daemon, volume->project, FALSE, &project, NULL) < 0) {
		miss(recovery, g_strdup_printf("Project \"%s\"", volume->project));
		return;
	}
	if (!item->index)
		return;
	if (instance_get(recovery->daemon, volume->project, volume->name, &taken, NULL) == 0)
		miss(recovery,
		    g_strdup_printf(
			"Another name for instance \"%s\" in project \"%s\", which is not that of pool \"%s\"",
			volume->name, volume->project, pool_name(item->pool)));
	need_profiles(recovery, item);
	need_networks(recovery, item);
}

/* ---- scanning ---- */

static int scan_volume(Recovery *recovery, Pool *pool, Volume *volume, Error **err)
{
	RecoveryItem *item = g_new0(RecoveryItem, 1);
	g_autoptr(Error) broken = NULL;
	item->pool = pool_ref(pool);
	item->volume = volume;
	g_ptr_array_add(recovery->items, item);
	if (snapshot_list_data(pool, volume, &item->snapshots, err) < 0)
		return -1;
	if (volume->type != VOLUME_CUSTOM && read_index(item, &broken) < 0)
		miss(recovery,
		    g_strdup_printf(
			"A usable backup.yaml of %s \"%s\" in project \"%s\" on pool \"%s\": %s",
			volume_type_name(volume->type), volume->name, volume->project,
			pool_name(pool), broken->message));
	else
		need(recovery, item);
	return 0;
}

static int scan_pool(Recovery *recovery, Pool *pool, Error **err)
{
	g_autoptr(GPtrArray) volumes = NULL;
	if (pool_recover_list(pool, &volumes, err) < 0)
		return error_prefix(err, "Cannot scan pool \"%s\"", pool_name(pool));
	g_ptr_array_set_free_func(volumes, NULL); /* they go to their items */
	int result = 0;
	for (guint n = 0; n < volumes->len; n++) {
		if (result == 0)
			result = scan_volume(recovery, pool, volumes->pdata[n], err);
		else
			volume_free(volumes->pdata[n]);
	}
	return result;
}

static int open_pools(
    Recovery *recovery, const RecoverySource *sources, size_t n_sources, Error **err)
{
	for (size_t n = 0; n < n_sources; n++) {
		Pool *pool;
		if (pool_recover_open(recovery->daemon, sources[n].name, sources[n].driver,
			sources[n].config, &pool, err) < 0)
			return -1;
		g_ptr_array_add(recovery->pools, pool);
	}
	g_autoptr(GPtrArray) known = pool_list(recovery->daemon);
	for (guint n = 0; n < known->len; n++)
		if (strcmp(pool_status(known->pdata[n]), "Created") == 0)
			g_ptr_array_add(recovery->pools, pool_ref(known->pdata[n]));
	return 0;
}

int recovery_scan(Daemon *d, const RecoverySource *sources, size_t n_sources,
    Recovery **ret_recovery, Error **err)
{
	g_autoptr(Recovery) recovery = recovery_new(d);
	if (open_pools(recovery, sources, n_sources, err) < 0)
		return -1;
	for (guint n = 0; n < recovery->pools->len; n++)
		if (scan_pool(recovery, recovery->pools->pdata[n], err) < 0)
			return -1;
	*ret_recovery = g_steal_pointer(&recovery);
	return 0;
}

/* ---- importing ---- */

/* What an instance on it says about the pool, but for where it is now. */
static int adopt_pool(const Recovery *recovery, Pool *pool, Error **err)
{
	g_autoptr(Config) given = pool_config(pool);
	const Config *config = given;
	const char *description = "";
	for (guint n = 0; n < recovery->items->len; n++) {
		const RecoveryItem *item = recovery->items->pdata[n];
		if (item->pool != pool || !item->index ||
		    strcmp(item->index->volume->pool, pool_name(pool)) != 0 ||
		    strcmp(item->index->volume->driver, pool_driver(pool)) != 0)
			continue;
		config_set(item->index->pool_config, "source", config_get(given, "source"));
		config = item->index->pool_config;
		description = item->index->pool_description;
		break;
	}
	return pool_recover_adopt(pool, description, config, err);
}

int recovery_import(Recovery *recovery, Error **err)
{
	if (recovery->missing->len)
		return error_set(
		    err, ERROR_INVALID, "Missing: %s", (const char *)recovery->missing->pdata[0]);
	for (guint n = 0; n < recovery->pools->len; n++) {
		Pool *pool = recovery->pools->pdata[n];
		if (pool_id(pool) == 0 && adopt_pool(recovery, pool, err) < 0)
			return error_prefix(err, "Cannot recover pool \"%s\"", pool_name(pool));
		if (pool_recover_drop_images(pool, err) < 0)
			return -1;
	}
	for (guint n = 0; n < recovery->items->len; n++) {
		const RecoveryItem *item = recovery->items->pdata[n];
		if (fault_point("recover volume", err) < 0 ||
		    recover_item(recovery->daemon, item, err) < 0)
			return error_prefix(err, "Cannot recover volume \"%s\" of pool \"%s\"",
			    item->volume->name, pool_name(item->pool));
	}
	return 0;
}
