#include "server/storage/custom_snapshot.h"
#include "sdk/base/names.h"
#include "sdk/base/units.h"
#include "server/storage/custom_volume.h"
#include "server/storage/pool_private.h"
#include "server/storage/snapshot_name.h"
#include "server/storage/store.h"
#include <string.h>
#include <time.h>

static int load(Pool *pool, const char *project, const char *name, Volume **ret_volume,
    Config **ret_config, Error **err)
{
	g_autoptr(Volume) volume = NULL;
	if (!pool->driver || strcmp(pool->status, "Created") != 0)
		return error_set(
		    err, ERROR_UNAVAILABLE, "Storage pool \"%s\" is not available", pool->name);
	volume = volume_new(pool, VOLUME_CUSTOM, project, name);
	if (volume_load(pool, volume, NULL, ret_config, err) < 0)
		return -1;
	*ret_volume = g_steal_pointer(&volume);
	return 0;
}

static int next_name(
    Pool *pool, const Volume *volume, const Config *config, char **ret_name, Error **err)
{
	g_autoptr(GPtrArray) rows = NULL;
	g_autoptr(GPtrArray) names = g_ptr_array_new();
	if (snapshot_row_list(pool, volume, &rows, err) < 0)
		return -1;
	for (guint n = 0; n < rows->len; n++)
		g_ptr_array_add(names, ((SnapshotRow *)rows->pdata[n])->name);
	return snapshot_name_next(config_get(config, "snapshots.pattern"), names, ret_name, err);
}

int custom_snapshot_next_name(
    Pool *pool, const char *project, const char *name, char **ret_name, Error **err)
{
	g_autoptr(Volume) volume = NULL;
	g_autoptr(Config) config = NULL;
	return load(pool, project, name, &volume, &config, err) < 0 ?
	    -1 :
	    next_name(pool, volume, config, ret_name, err);
}

static int choose_expiry(
    const CustomSnapshotSpec *spec, const Config *config, Moment *ret_expires, Error **err)
{
	const char *age = config_get(config, "snapshots.expiry");
	*ret_expires = spec->expires;
	if (spec->expires_given || !age)
		return 0;
	return units_parse_expiry(age, time(NULL), &ret_expires->seconds, err);
}

int custom_snapshot_create(Pool *pool, const char *project, const char *name,
    const CustomSnapshotSpec *spec, char **ret_name, Error **err)
{
	g_autoptr(Volume) volume = NULL;
	g_autoptr(Config) config = NULL;
	g_autofree char *snapshot = g_strdup(spec->name ? spec->name : "");
	Moment expires;
	if (load(pool, project, name, &volume, &config, err) < 0 ||
	    choose_expiry(spec, config, &expires, err) < 0 ||
	    store_check_volume(pool->daemon, pool->name, project, name, err) < 0)
		return -1;
	if (volume->content == CONTENT_ISO)
		return error_set(err, ERROR_INVALID,
		    "Volumes of content type \"iso\" do not change and need no snapshots");
	if (!*snapshot) {
		g_clear_pointer(&snapshot, g_free);
		if (next_name(pool, volume, config, &snapshot, err) < 0)
			return -1;
	}
	if (name_check_snapshot(snapshot, err) < 0)
		return error_prefix(err, "Invalid snapshot name");
	if (snapshot_create(pool, volume, snapshot, spec->description ? spec->description : "",
		&expires, err) < 0)
		return -1;
	if (ret_name)
		*ret_name = g_steal_pointer(&snapshot);
	return 0;
}

int custom_snapshot_rename(Pool *pool, const char *project, const char *name, const char *snapshot,
    const char *new_name, Error **err)
{
	g_autoptr(Volume) volume = NULL;
	if (name_check_snapshot(new_name, err) < 0)
		return error_prefix(err, "Invalid snapshot name");
	if (load(pool, project, name, &volume, NULL, err) < 0)
		return -1;
	return snapshot_rename(pool, volume, snapshot, new_name, NULL, NULL, err);
}

int custom_snapshot_delete(
    Pool *pool, const char *project, const char *name, const char *snapshot, Error **err)
{
	g_autoptr(Volume) volume = NULL;
	return load(pool, project, name, &volume, NULL, err) < 0 ?
	    -1 :
	    snapshot_delete(pool, volume, snapshot, err);
}

int custom_snapshot_restore(
    Pool *pool, const char *project, const char *name, const char *snapshot, Error **err)
{
	g_autoptr(Volume) volume = NULL;
	g_autoptr(SnapshotRow) row = NULL;
	Error *inner = NULL;
	if (load(pool, project, name, &volume, NULL, err) < 0 ||
	    snapshot_row_find(pool, volume, snapshot, &row, err) < 0)
		return -1;
	const char *owners = row->config ? config_get(row->config, VOLUME_OWNERS) : NULL;
	if ((volume->content != CONTENT_FILESYSTEM ||
		custom_set_owners(pool, volume, owners, &inner) == 0) &&
	    snapshot_restore(pool, volume, snapshot, &inner) == 0)
		return 0;
	if (inner->kind != ERROR_BUSY)
		return error_propagate(err, inner);
	error_free(inner);
	return error_set(
	    err, ERROR_INVALID, "Cannot restore custom volume used by running instances");
}
