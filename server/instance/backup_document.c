/* Writing what backup_index.h reads. */
#include "server/instance/backup_index.h"
#include "incus/v1/instance.pb-c.h"
#include "sdk/base/file.h"
#include "sdk/base/yaml.h"
#include "server/instance/copy.h"
#include "server/instance/private.h"
#include "server/profile/profile.h"
#include "server/storage/snapshot.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static json_t *devices_json(const Devices *devices)
{
	json_t *object = json_object();
	GHashTableIter iter;
	void *name, *config;
	g_hash_table_iter_init(&iter, (GHashTable *)devices);
	while (g_hash_table_iter_next(&iter, &name, &config))
		json_object_set_new(object, name, volume_index_config(config));
	return object;
}

static json_t *instance_json(Instance *i, Arena *arena)
{
	static const char *const without[] = { "restore", "state", "snapshots", "backups", NULL };
	Pb__Instance *message = arena_message(arena, Pb__Instance, pb__instance);
	instance_render(i, RENDER_ALL, arena, message);
	return volume_index_message(message, without);
}

static json_t *snapshots_json(
    Instance *i, const GPtrArray *snapshots, const ProfileSet *set, Arena *arena)
{
	static const char *const without[] = { NULL };
	json_t *list = json_array();
	for (guint n = 0; n < snapshots->len; n++) {
		Pb__InstanceSnapshot *message = arena_message(
		    arena, Pb__InstanceSnapshot, pb__instance_snapshot);
		instance_snapshot_render(i, set, snapshots->pdata[n], arena, message);
		json_array_append_new(list, volume_index_message(message, without));
	}
	return list;
}

static json_t *pool_json(Pool *pool)
{
	g_autoptr(Config) config = pool_config(pool);
	return json_pack("{s:o, s:s, s:s, s:s, s:[], s:s}", "config", volume_index_config(config),
	    "description", "", "name", pool_name(pool), "driver", pool_driver(pool), "used_by",
	    "status", pool_status(pool));
}

static int profiles_json(Instance *i, json_t **ret, Error **err)
{
	g_auto(GStrv) names = instance_profiles(i);
	json_t *list = *ret = json_array();
	for (int n = 0; names[n]; n++) {
		g_autoptr(Profile) profile = NULL;
		if (profile_get(i->daemon, i->project, names[n], FALSE, &profile, err) < 0)
			return -1;
		json_array_append_new(list,
		    json_pack("{s:o, s:s, s:o, s:s, s:[]}", "config", volume_index_config(profile->config),
			"description", profile->description, "devices",
			devices_json(profile->devices), "name", profile->name, "used_by"));
	}
	return 0;
}

int backup_volume_rows(
    Instance *i, Pool *pool, const GPtrArray *snapshots, GPtrArray **ret_rows, Error **err)
{
	g_autoptr(Volume) volume = copy_root_volume(i, pool);
	g_autoptr(GPtrArray) rows = g_ptr_array_new_with_free_func(
	    (GDestroyNotify)snapshot_row_free);
	for (guint n = 0; n < snapshots->len; n++) {
		SnapshotRow *row = NULL;
		if (snapshot_row_find(pool, volume, ((InstanceSnapshot *)snapshots->pdata[n])->name,
			&row, err) < 0)
			return -1;
		g_ptr_array_add(rows, row);
	}
	*ret_rows = g_steal_pointer(&rows);
	return 0;
}

static int fill(json_t *document, Instance *i, Pool *pool, const GPtrArray *snapshots,
    const GPtrArray *rows, Error **err)
{
	g_autoptr(Arena) arena = arena_new();
	g_autoptr(Volume) volume = copy_root_volume(i, pool);
	g_autoptr(ProfileSet) set = NULL;
	json_t *part = NULL;
	if (profile_set_load(i->daemon, &set, err) < 0)
		return -1;
	json_object_set_new(document, "container", instance_json(i, arena));
	json_object_set_new(document, "snapshots", snapshots_json(i, snapshots, set, arena));
	json_object_set_new(document, "pool", pool_json(pool));
	int result = profiles_json(i, &part, err);
	json_object_set_new(document, "profiles", part);
	if (result < 0 || volume_index_volume(pool, volume, &part, err) < 0)
		return -1;
	json_object_set_new(document, "volume", part);
	json_object_set_new(document, "volume_snapshots", volume_index_snapshots(volume, rows));
	return 0;
}

/* The part that both texts have. */
static json_t *describe(Instance *i, Pool *pool, const GPtrArray *snapshots, const GPtrArray *rows,
    Error **err)
{
	json_t *document = json_object();
	if (fill(document, i, pool, snapshots, rows, err) == 0)
		return document;
	json_decref(document);
	return NULL;
}

/* The archive's trees have the ids of inside, whatever the disk has. */
static void unshift(json_t *object)
{
	static const char *const configs[] = { "config", "expanded_config" };
	for (size_t n = 0; n < G_N_ELEMENTS(configs); n++) {
		json_t *config = json_object_get(object, configs[n]);
		if (json_object_get(config, "volatile.last_state.idmap"))
			json_object_set_new(config, "volatile.last_state.idmap", json_string("[]"));
	}
}

int backup_index_write(Instance *i, const GPtrArray *snapshots, const VolumeIndexHead *head,
    char **ret_yaml, Error **err)
{
	json_t *config = describe(i, head->pool, snapshots, head->snapshots, err);
	if (!config)
		return -1;
	json_t *snapshot;
	size_t at;
	unshift(json_object_get(config, "container"));
	json_array_foreach(json_object_get(config, "snapshots"), at, snapshot)
		unshift(snapshot);
	*ret_yaml = volume_index_write(head, config);
	return 0;
}

/* ---- backup.yaml ---- */

/* Without a sync: what a crash of the host takes, the next change writes again. */
static int replace_file(int directory, const char *text, Error **err)
{
	unlinkat(directory, "backup.yaml.new", 0);
	autofd int fd = openat(directory, "backup.yaml.new",
	    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400);
	if (fd < 0 || file_write_all(fd, text, strlen(text)) < 0 ||
	    renameat(directory, "backup.yaml.new", directory, "backup.yaml") < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot write \"backup.yaml\"");
	return 0;
}

static int write_below(const char *path, const char *text, Error **err)
{
	autofd int fd = file_open_directory(path, err);
	return fd < 0 ? -1 : replace_file(fd, text, err);
}

static int write_file(Instance *i, Error **err)
{
	g_autoptr(Pool) pool = NULL;
	g_autoptr(GPtrArray) snapshots = NULL;
	g_autoptr(GPtrArray) rows = NULL;
	g_autofree char *path = NULL;
	if (instance_pool(i, &pool, err) < 0 || instance_snapshot_list(i, &snapshots, err) < 0 ||
	    backup_volume_rows(i, pool, snapshots, &rows, err) < 0)
		return -1;
	json_t *document = describe(i, pool, snapshots, rows, err);
	if (!document)
		return -1;
	g_autofree char *yaml = yaml_write(document);
	const char *type = instance_type_name(i->type);
	json_decref(document);
	if (pool_instance_mount(pool, i->project, i->name, type, &path, err) < 0)
		return -1;
	int result = write_below(path, yaml, err);
	return pool_instance_unmount(pool, i->project, i->name, type, result == 0 ? err : NULL) <
		0 ?
	    -1 :
	    result;
}

void backup_file_update(Instance *i)
{
	g_autoptr(Error) error = NULL;
	if (write_file(i, &error) < 0)
		log_warn("Cannot write the instance's backup.yaml", "instance", i->name, "project",
		    i->project, "err", error->message);
}
