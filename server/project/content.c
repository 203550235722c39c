#include "server/project/content.h"
#include "server/key/device_type.h"

#include <string.h>

static void holder_free(void *data)
{
	Holder *holder = data;
	g_free(holder->name);
	g_hash_table_unref(holder->config);
	g_hash_table_unref(holder->devices);
	g_free(holder);
}

static void held_volume_free(void *data)
{
	HeldVolume *volume = data;
	g_free(volume->pool);
	g_free(volume->name);
	g_free(volume->size);
	g_free(volume);
}

void content_free(ProjectContent *content)
{
	if (!content)
		return;
	project_free(content->project);
	g_clear_pointer(&content->instances, g_ptr_array_unref);
	g_clear_pointer(&content->profiles, g_ptr_array_unref);
	g_clear_pointer(&content->volumes, g_ptr_array_unref);
	g_free(content);
}

static Holder *add_holder(GPtrArray *list, const char *name)
{
	Holder *holder = g_new0(Holder, 1);
	holder->name = g_strdup(name);
	holder->config = config_new();
	holder->devices = devices_new();
	g_ptr_array_add(list, holder);
	return holder;
}

/* Columns: id, name, type; gives the holders by id. */
static int load_holders(
    Tx *tx, GPtrArray *list, GHashTable *by_id, const char *sql, int64_t project, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	int more;
	if (tx_query(tx, &rows, err, sql, "i", project) < 0)
		return -1;
	while ((more = rows_next(rows, err)) > 0) {
		Holder *holder = add_holder(list, rows_text(rows, 1));
		holder->id = rows_int(rows, 0);
		holder->machine = rows_int(rows, 2) == 1;
		g_hash_table_insert(by_id, &holder->id, holder);
	}
	return more;
}

static Holder *row_holder(GHashTable *by_id, Rows *rows)
{
	int64_t id = rows_int(rows, 0);
	return g_hash_table_lookup(by_id, &id);
}

/* Columns: id, key, value; later rows win. */
static int load_keys(Tx *tx, GHashTable *by_id, const char *sql, int64_t project, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	int more;
	if (tx_query(tx, &rows, err, sql, "i", project) < 0)
		return -1;
	while ((more = rows_next(rows, err)) > 0) {
		Holder *holder = row_holder(by_id, rows);
		if (holder)
			config_set(holder->config, rows_text(rows, 1), rows_text(rows, 2));
	}
	return more;
}

/* Columns: id, device id, name, type, key, value; a later device of the same name replaces a whole
 * one. */
static int load_devices(Tx *tx, GHashTable *by_id, const char *sql, int64_t project, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	const Holder *owner = NULL;
	int64_t current = -1;
	int more;
	if (tx_query(tx, &rows, err, sql, "i", project) < 0)
		return -1;
	while ((more = rows_next(rows, err)) > 0) {
		Holder *holder = row_holder(by_id, rows);
		if (!holder)
			continue;
		if (holder != owner || rows_int(rows, 1) != current) {
			g_autoptr(Config) fresh = config_new();
			config_set(fresh, "type", device_type_from_number((int)rows_int(rows, 3)));
			devices_set(holder->devices, rows_text(rows, 2), fresh);
			owner = holder;
			current = rows_int(rows, 1);
		}
		if (!rows_null(rows, 4))
			config_set(devices_get(holder->devices, rows_text(rows, 2)),
			    rows_text(rows, 4), rows_text(rows, 5));
	}
	return more;
}

static int load_instances(Tx *tx, ProjectContent *content, Error **err)
{
	g_autoptr(GHashTable) by_id = g_hash_table_new(g_int64_hash, g_int64_equal);
	int64_t project = content->project->id;
	if (load_holders(tx, content->instances, by_id,
		"SELECT id, name, type FROM instances WHERE project_id = ? ORDER BY name", project,
		err) < 0)
		return -1;
	if (load_keys(tx, by_id,
		"SELECT ip.instance_id, c.key, c.value FROM instances_profiles AS ip"
		" JOIN instances AS i ON i.id = ip.instance_id JOIN profiles_config AS c ON "
		"c.profile_id = ip.profile_id"
		" WHERE i.project_id = ? ORDER BY ip.instance_id, ip.apply_order",
		project, err) < 0 ||
	    load_keys(tx, by_id,
		"SELECT c.instance_id, c.key, c.value FROM instances_config AS c JOIN instances AS "
		"i ON i.id = c.instance_id"
		" WHERE i.project_id = ?",
		project, err) < 0)
		return -1;
	if (load_devices(tx, by_id,
		"SELECT ip.instance_id, d.id, d.name, d.type, c.key, c.value FROM "
		"instances_profiles AS ip"
		" JOIN instances AS i ON i.id = ip.instance_id JOIN profiles_devices AS d ON "
		"d.profile_id = ip.profile_id"
		" LEFT JOIN profiles_devices_config AS c ON c.profile_device_id = d.id"
		" WHERE i.project_id = ? ORDER BY ip.instance_id, ip.apply_order, d.id",
		project, err) < 0)
		return -1;
	return load_devices(tx, by_id,
	    "SELECT d.instance_id, d.id, d.name, d.type, c.key, c.value FROM instances_devices AS d"
	    " JOIN instances AS i ON i.id = d.instance_id LEFT JOIN instances_devices_config AS c "
	    "ON c.instance_device_id = d.id"
	    " WHERE i.project_id = ? ORDER BY d.id",
	    project, err);
}

static int load_profiles(Tx *tx, ProjectContent *content, Error **err)
{
	g_autoptr(GHashTable) by_id = g_hash_table_new(g_int64_hash, g_int64_equal);
	int64_t project = content->project->id;
	if (load_holders(tx, content->profiles, by_id,
		"SELECT id, name, 0 FROM profiles WHERE project_id = ? ORDER BY name", project,
		err) < 0 ||
	    load_keys(tx, by_id,
		"SELECT c.profile_id, c.key, c.value FROM profiles_config AS c JOIN profiles AS p "
		"ON p.id = c.profile_id"
		" WHERE p.project_id = ?",
		project, err) < 0)
		return -1;
	for (guint i = 0; i < content->profiles->len; i++)
		((Holder *)g_ptr_array_index(content->profiles, i))->is_profile = TRUE;
	return load_devices(tx, by_id,
	    "SELECT d.profile_id, d.id, d.name, d.type, c.key, c.value FROM profiles_devices AS d"
	    " JOIN profiles AS p ON p.id = d.profile_id LEFT JOIN profiles_devices_config AS c ON "
	    "c.profile_device_id = d.id"
	    " WHERE p.project_id = ? ORDER BY d.id",
	    project, err);
}

static int load_volumes(Tx *tx, ProjectContent *content, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	int more;
	if (tx_query(tx, &rows, err,
		"SELECT p.name, v.name, c.value FROM storage_volumes AS v JOIN storage_pools AS p "
		"ON p.id = v.storage_pool_id"
		" LEFT JOIN storage_volumes_config AS c ON c.storage_volume_id = v.id AND c.key = "
		"'size'"
		" WHERE v.project_id = ? AND v.type = 2 ORDER BY p.name, v.name",
		"i", content->project->id) < 0)
		return -1;
	while ((more = rows_next(rows, err)) > 0)
		content_put_volume(content, rows_text(rows, 0), rows_text(rows, 1),
		    rows_null(rows, 2) ? NULL : rows_text(rows, 2));
	return more;
}

int content_load(Tx *tx, int64_t project, ProjectContent **ret_content, Error **err)
{
	g_autoptr(ProjectContent) content = g_new0(ProjectContent, 1);
	content->instances = g_ptr_array_new_with_free_func(holder_free);
	content->profiles = g_ptr_array_new_with_free_func(holder_free);
	content->volumes = g_ptr_array_new_with_free_func(held_volume_free);
	if (project_load_id(tx, project, &content->project, err) < 0 ||
	    load_instances(tx, content, err) < 0 || load_profiles(tx, content, err) < 0 ||
	    load_volumes(tx, content, err) < 0 ||
	    tx_int(tx, &content->networks, err,
		"SELECT COUNT(*) FROM networks WHERE project_id = ?", "i", project) < 0)
		return -1;
	*ret_content = g_steal_pointer(&content);
	return 0;
}

Holder *content_put_instance(ProjectContent *content, const char *name, gboolean machine,
    const Config *config, const Devices *devices)
{
	Holder *holder = NULL;
	for (guint i = 0; i < content->instances->len && !holder; i++)
		if (strcmp(((Holder *)g_ptr_array_index(content->instances, i))->name, name) == 0)
			holder = g_ptr_array_index(content->instances, i);
	if (!holder)
		holder = add_holder(content->instances, name);
	holder->machine = machine;
	g_hash_table_unref(holder->config);
	g_hash_table_unref(holder->devices);
	holder->config = config_copy(config);
	holder->devices = devices_copy(devices);
	return holder;
}

HeldVolume *content_put_volume(
    ProjectContent *content, const char *pool, const char *name, const char *size)
{
	HeldVolume *volume = NULL;
	for (guint i = 0; i < content->volumes->len && !volume; i++) {
		HeldVolume *there = g_ptr_array_index(content->volumes, i);
		if (strcmp(there->pool, pool) == 0 && strcmp(there->name, name) == 0)
			volume = there;
	}
	if (!volume) {
		volume = g_new0(HeldVolume, 1);
		volume->pool = g_strdup(pool);
		volume->name = g_strdup(name);
		g_ptr_array_add(content->volumes, volume);
	}
	g_free(volume->size);
	volume->size = g_strdup(size);
	return volume;
}
