#include "server/instance/volume_user.h"
#include "server/instance/backup_index.h"
#include "server/instance/private.h"
#include "server/project/project.h"
#include <string.h>

/* A volume and where it goes. */
typedef struct VolumeRename {
	const char *project;
	const char *pool, *name;
	const char *new_pool, *new_name;
} VolumeRename;

static gboolean names_volume(const Config *device, const char *pool, const char *name)
{
	return g_strcmp0(config_get(device, "type"), "disk") == 0 &&
	    g_strcmp0(config_get(device, "pool"), pool) == 0 &&
	    g_strcmp0(config_get(device, "source"), name) == 0;
}

static gboolean device_names(const Devices *devices, const char *pool, const char *name)
{
	GHashTableIter iter;
	void *device;
	g_hash_table_iter_init(&iter, (GHashTable *)devices);
	while (g_hash_table_iter_next(&iter, NULL, &device))
		if (names_volume(device, pool, name))
			return TRUE;
	return FALSE;
}

/* What an instance's devices call `name` is that of the project which holds the volumes of its own.
 */
static int uses(Instance *i, const char *pool, const char *project, const char *name,
    gboolean *ret_uses, Error **err)
{
	g_autoptr(GHashTable) devices = instance_expanded_devices(i);
	g_autofree char *effective = NULL;
	*ret_uses = FALSE;
	if (!device_names(devices, pool, name))
		return 0;
	if (project_effective(i->daemon, i->project, PROJECT_STORAGE_VOLUMES, &effective, err) < 0)
		return -1;
	*ret_uses = strcmp(effective, project) == 0;
	return 0;
}

static int find_users(Daemon *d, const char *pool, const char *project, const char *name,
    GPtrArray **ret_users, Error **err)
{
	g_autoptr(GPtrArray) all = instance_list(d, NULL);
	g_autoptr(GPtrArray) users = g_ptr_array_new_with_free_func((GDestroyNotify)instance_unref);
	for (guint n = 0; n < all->len; n++) {
		gboolean is_user;
		if (uses(all->pdata[n], pool, project, name, &is_user, err) < 0)
			return -1;
		if (is_user)
			g_ptr_array_add(users, instance_ref(all->pdata[n]));
	}
	*ret_users = g_steal_pointer(&users);
	return 0;
}

int volume_users_check(Daemon *d, const char *pool, const char *project, const char *name,
    const char *message, Error **err)
{
	g_autoptr(GPtrArray) users = NULL;
	if (find_users(d, pool, project, name, &users, err) < 0)
		return -1;
	for (guint n = 0; n < users->len; n++)
		if (instance_running(users->pdata[n]))
			return error_set(err, ERROR_INVALID, "%s", message);
	return 0;
}

static void release(GPtrArray *users)
{
	for (guint n = 0; n < users->len; n++) {
		instance_unlock(users->pdata[n]);
		instance_unref(users->pdata[n]);
	}
	g_ptr_array_unref(users);
}

/* Several at once: none is waited for. */
static int hold_one(Instance *i, GPtrArray *held, Error **err)
{
	if (instance_trylock(i, err) < 0)
		return -1;
	g_ptr_array_add(held, instance_ref(i));
	return instance_running(i) ?
	    error_set(err, ERROR_INVALID, "Volume is still in use by running instances") :
	    0;
}

/* The instances that have it, each with its flow lock held. */
static int hold_users(Daemon *d, const VolumeRename *to, GPtrArray **ret_users, Error **err)
{
	g_autoptr(GPtrArray) found = NULL;
	if (find_users(d, to->pool, to->project, to->name, &found, err) < 0)
		return -1;
	GPtrArray *held = g_ptr_array_new();
	for (guint n = 0; n < found->len; n++)
		if (hold_one(found->pdata[n], held, err) < 0) {
			release(held);
			return -1;
		}
	*ret_users = held;
	return 0;
}

/* ---- the devices' new words ---- */

typedef struct DeviceTable {
	const char *find, *set;
} DeviceTable;

#define DEVICES(owner, owners)                                                                               \
	{                                                                                                    \
		"SELECT d.id FROM " owners "_devices d JOIN " owners " i ON i.id = d." owner "_id"           \
		" JOIN projects p ON p.id = i.project_id"                                                    \
		" JOIN " owners "_devices_config o ON o." owner                                              \
		"_device_id = d.id AND o.key = 'pool' AND o.value = ?"                                       \
		" JOIN " owners "_devices_config s ON s." owner                                              \
		"_device_id = d.id AND s.key = 'source' AND s.value = ?"                                     \
		" LEFT JOIN projects_config f ON f.project_id = p.id AND f.key = 'features.storage.volumes'" \
		" WHERE CASE WHEN lower(coalesce(f.value, '')) = 'true' THEN p.name ELSE 'default' END = ?", \
		    "UPDATE " owners "_devices_config SET value = ? WHERE " owner                            \
		    "_device_id = ? AND key = ?"                                                             \
	}

static const DeviceTable tables[] = { DEVICES("instance", "instances"),
	DEVICES("profile", "profiles") };

static int find_devices(
    Tx *tx, const DeviceTable *table, const VolumeRename *to, GArray *ids, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	if (tx_query(tx, &rows, err, table->find, "sss", to->pool, to->name, to->project) < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0) {
		int64_t id = rows_int(rows, 0);
		g_array_append_val(ids, id);
	}
	return more;
}

static int rename_in(Tx *tx, void *data, Error **err)
{
	const VolumeRename *to = data;
	for (size_t n = 0; n < G_N_ELEMENTS(tables); n++) {
		g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof(int64_t));
		if (find_devices(tx, &tables[n], to, ids, err) < 0)
			return -1;
		for (guint k = 0; k < ids->len; k++) {
			int64_t id = g_array_index(ids, int64_t, k);
			if (tx_exec(tx, err, tables[n].set, "sis", to->new_pool, id, "pool") < 0 ||
			    tx_exec(tx, err, tables[n].set, "sis", to->new_name, id, "source") < 0)
				return -1;
		}
	}
	return 0;
}

static void change_devices(Devices *devices, const VolumeRename *to)
{
	GHashTableIter iter;
	void *device;
	g_hash_table_iter_init(&iter, devices);
	while (g_hash_table_iter_next(&iter, NULL, &device)) {
		if (!names_volume(device, to->pool, to->name))
			continue;
		config_set(device, "pool", to->new_pool);
		config_set(device, "source", to->new_name);
	}
}

/* The same for the instances in memory. */
static void follow(const GPtrArray *users, const VolumeRename *to)
{
	for (guint n = 0; n < users->len; n++) {
		Instance *i = users->pdata[n];
		g_autoptr(Error) error = NULL;
		g_mutex_lock(&i->lock);
		change_devices(i->devices, to);
		g_mutex_unlock(&i->lock);
		if (instance_reexpand(i, &error) < 0)
			log_warn("An instance does not know its volume's new name", "instance",
			    i->name, "err", error->message);
	}
}

int volume_move_used(const CustomCopy *move, Error **err)
{
	Daemon *d = pool_daemon(move->from_pool);
	VolumeRename to = { .project = move->from_project,
		.pool = pool_name(move->from_pool),
		.name = move->from_name,
		.new_pool = pool_name(move->to_pool),
		.new_name = move->name };
	GPtrArray *users;
	if (strcmp(move->project, move->from_project) != 0 &&
	    custom_check_unused(move->from_pool, move->from_project, move->from_name, err) < 0)
		return -1;
	if (hold_users(d, &to, &users, err) < 0)
		return -1;
	int result = custom_move(move, rename_in, &to, err);
	if (result == 0)
		follow(users, &to);
	release(users);
	return result;
}

void volume_root_changed(Daemon *d, const Volume *volume)
{
	g_autoptr(Instance) i = NULL;
	if ((volume->type != VOLUME_CONTAINER && volume->type != VOLUME_MACHINE) ||
	    instance_get(d, volume->project, volume->name, &i, NULL) < 0 ||
	    instance_lock(i, NULL) < 0)
		return;
	backup_file_update(i);
	instance_unlock(i);
}
