#include "server/profile/profile.h"

#include "sdk/base/names.h"
#include "server/project/project.h"

#include <string.h>

void profile_free(Profile *profile)
{
	if (!profile)
		return;
	g_free(profile->name);
	g_free(profile->description);
	g_clear_pointer(&profile->config, g_hash_table_unref);
	g_clear_pointer(&profile->devices, g_hash_table_unref);
	g_strfreev(profile->used_by);
	g_free(profile);
}

typedef struct ProfileLoad {
	const char *project;
	const char *name;           /* NULL: all */
	gboolean used_by;
	int64_t project_id;         /* the effective one */
	GPtrArray *profiles;
	GHashTable *by_id;          /* int64_t in the Profile -> Profile */
} ProfileLoad;

static int not_found(Error **err)
{
	return error_set(err, ERROR_NOT_FOUND, "Profile not found");
}

static Profile *row_profile(const ProfileLoad *load, Rows *rows)
{
	gint64 id = rows_int(rows, 0);
	return g_hash_table_lookup(load->by_id, &id);
}

static int load_rows(Tx *tx, ProfileLoad *load, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	int more;
	if (tx_query(tx, &rows, err,
		"SELECT id, name, description FROM profiles WHERE project_id = ? AND (? IS NULL OR name = ?) ORDER BY name",
		"iss", load->project_id, load->name, load->name) < 0)
		return -1;
	while ((more = rows_next(rows, err)) > 0) {
		Profile *profile = g_new0(Profile, 1);
		profile->id = rows_int(rows, 0);
		profile->name = g_strdup(rows_text(rows, 1));
		profile->description = g_strdup(rows_text(rows, 2));
		profile->config = config_new();
		profile->devices = devices_new();
		g_ptr_array_add(load->profiles, profile);
		g_hash_table_insert(load->by_id, &profile->id, profile);
	}
	return more;
}

static int load_config(Tx *tx, ProfileLoad *load, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	int more;
	if (tx_query(tx, &rows, err,
		"SELECT c.profile_id, c.key, c.value FROM profiles_config AS c JOIN profiles AS p ON p.id = c.profile_id"
		" WHERE p.project_id = ?",
		"i", load->project_id) < 0)
		return -1;
	while ((more = rows_next(rows, err)) > 0) {
		Profile *profile = row_profile(load, rows);
		if (profile)
			config_set(profile->config, rows_text(rows, 1), rows_text(rows, 2));
	}
	return more;
}

static int load_devices(Tx *tx, ProfileLoad *load, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	int more;
	if (tx_query(tx, &rows, err,
		"SELECT d.profile_id, d.name, d.type, c.key, c.value FROM profiles_devices AS d"
		" JOIN profiles AS p ON p.id = d.profile_id"
		" LEFT JOIN profiles_devices_config AS c ON c.profile_device_id = d.id WHERE p.project_id = ?",
		"i", load->project_id) < 0)
		return -1;
	while ((more = rows_next(rows, err)) > 0) {
		Profile *profile = row_profile(load, rows);
		if (!profile)
			continue;
		Config *device = devices_get(profile->devices, rows_text(rows, 1));
		if (!device) {
			device = config_new();
			config_set(device, "type", device_type_from_number((int)rows_int(rows, 2)));
			g_hash_table_insert(profile->devices, g_strdup(rows_text(rows, 1)), device);
		}
		if (!rows_null(rows, 3))
			config_set(device, rows_text(rows, 3), rows_text(rows, 4));
	}
	return more;
}

/* Instances of any project whose profiles are these. */
static int load_used_by(Tx *tx, ProfileLoad *load, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	g_autoptr(GHashTable) lists = g_hash_table_new_full(
	    g_direct_hash, g_direct_equal, NULL, (GDestroyNotify)g_ptr_array_unref);
	int more;
	if (tx_query(tx, &rows, err,
		"SELECT ip.profile_id, i.name, p.name FROM instances_profiles AS ip JOIN instances AS i ON i.id = ip.instance_id"
		" JOIN projects AS p ON p.id = i.project_id JOIN profiles AS f ON f.id = ip.profile_id"
		" WHERE f.project_id = ? ORDER BY p.name, i.name",
		"i", load->project_id) < 0)
		return -1;
	while ((more = rows_next(rows, err)) > 0) {
		Profile *profile = row_profile(load, rows);
		if (!profile)
			continue;
		GPtrArray *list = g_hash_table_lookup(lists, profile);
		if (!list) {
			list = g_ptr_array_new();
			g_hash_table_insert(lists, profile, list);
		}
		const char *project = rows_text(rows, 2);
		g_autofree char *owner = g_uri_escape_string(project, NULL, FALSE);
		g_ptr_array_add(list,
		    strcmp(project, "default") == 0 ?
			g_strconcat("/1.0/instances/", rows_text(rows, 1), NULL) :
			g_strconcat(
			    "/1.0/instances/", rows_text(rows, 1), "?project=", owner, NULL));
	}
	for (guint i = 0; i < load->profiles->len; i++) {
		Profile *profile = g_ptr_array_index(load->profiles, i);
		GPtrArray *list = g_hash_table_lookup(lists, profile);
		profile->used_by = g_new0(char *, (list ? list->len : 0) + 1);
		for (guint j = 0; list && j < list->len; j++)
			profile->used_by[j] = g_ptr_array_index(list, j);
	}
	return more;
}

static int load_profiles(Tx *tx, void *data, Error **err)
{
	ProfileLoad *load = data;
	g_ptr_array_set_size(load->profiles, 0);
	g_autoptr(GHashTable) by_id = g_hash_table_new(g_int64_hash, g_int64_equal);
	load->by_id = by_id;
	if (project_effective_id(tx, load->project, PROJECT_PROFILES, &load->project_id, err) < 0 ||
	    load_rows(tx, load, err) < 0 || load_config(tx, load, err) < 0 ||
	    load_devices(tx, load, err) < 0)
		return -1;
	return load->used_by ? load_used_by(tx, load, err) : 0;
}

int profile_list(
    Daemon *d, const char *project, gboolean used_by, GPtrArray **ret_profiles, Error **err)
{
	g_autoptr(GPtrArray) profiles = g_ptr_array_new_with_free_func(
	    (GDestroyNotify)profile_free);
	ProfileLoad load = {.project = project, .used_by = used_by, .profiles = profiles};
	if (db_read(d->db, load_profiles, &load, err) < 0)
		return -1;
	*ret_profiles = g_steal_pointer(&profiles);
	return 0;
}

int profile_get(Daemon *d, const char *project, const char *name, gboolean used_by,
    Profile **ret_profile, Error **err)
{
	g_autoptr(GPtrArray) profiles = g_ptr_array_new_with_free_func(
	    (GDestroyNotify)profile_free);
	ProfileLoad load = {
		.project = project, .name = name, .used_by = used_by, .profiles = profiles
	};
	if (db_read(d->db, load_profiles, &load, err) < 0)
		return -1;
	if (!profiles->len)
		return not_found(err);
	*ret_profile = g_ptr_array_steal_index(profiles, 0);
	return 0;
}

int profile_load_many(
    Tx *tx, const char *project, const char *const *names, GPtrArray **ret_profiles, Error **err)
{
	g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func((GDestroyNotify)profile_free);
	g_autoptr(GPtrArray) wanted = g_ptr_array_new_with_free_func((GDestroyNotify)profile_free);
	ProfileLoad load = {.project = project, .profiles = all};
	if (load_profiles(tx, &load, err) < 0)
		return -1;
	for (; *names; names++) {
		guint i = 0;
		while (i < all->len &&
		    strcmp(((Profile *)g_ptr_array_index(all, i))->name, *names) != 0)
			i++;
		if (i == all->len)
			return error_set(
			    err, ERROR_NOT_FOUND, "Requested profile \"%s\" doesn't exist", *names);
		g_ptr_array_add(wanted, g_ptr_array_steal_index(all, i));
	}
	*ret_profiles = g_steal_pointer(&wanted);
	return 0;
}

static void merge_config(Config *into, const Config *from)
{
	GHashTableIter iter;
	void *key, *value;
	if (!from)
		return;
	g_hash_table_iter_init(&iter, (GHashTable *)from);
	while (g_hash_table_iter_next(&iter, &key, &value))
		g_hash_table_replace(into, g_strdup(key), g_strdup(value));
}

static void merge_devices(Devices *into, const Devices *from)
{
	GHashTableIter iter;
	void *name, *device;
	if (!from)
		return;
	g_hash_table_iter_init(&iter, (GHashTable *)from);
	while (g_hash_table_iter_next(&iter, &name, &device))
		devices_set(into, name, device);
}

void profile_expand(const GPtrArray *profiles, const Config *local_config,
    const Devices *local_devices, Config **ret_config, Devices **ret_devices)
{
	Config *config = config_new();
	Devices *devices = devices_new();
	for (guint i = 0; profiles && i < profiles->len; i++) {
		const Profile *profile = g_ptr_array_index(profiles, i);
		merge_config(config, profile->config);
		merge_devices(devices, profile->devices);
	}
	merge_config(config, local_config);
	merge_devices(devices, local_devices);
	*ret_config = config;
	*ret_devices = devices;
}

typedef struct ProfileChange {
	const char *project, *name, *new_name;
	const Profile *profile;
} ProfileChange;

static int find_id(
    Tx *tx, const ProfileChange *change, int64_t *ret_project, int64_t *ret_id, Error **err)
{
	g_autoptr(Error) failure = NULL;
	if (project_effective_id(tx, change->project, PROJECT_PROFILES, ret_project, err) < 0)
		return -1;
	if (tx_int(tx, ret_id, &failure,
		"SELECT id FROM profiles WHERE project_id = ? AND name = ?", "is", *ret_project,
		change->name) == 0)
		return 0;
	return failure->kind == ERROR_NOT_FOUND ? not_found(err) :
						  error_propagate(err, g_steal_pointer(&failure));
}

static int store_content(Tx *tx, int64_t id, const Profile *profile, Error **err)
{
	if (tx_config_replace(tx, "profiles_config", "profile_id", id, profile->config, err) < 0 ||
	    devices_replace(
		tx, "profiles", "profile_id", "profile_device_id", id, profile->devices, err) < 0)
		return -1;
	return project_verify_profile(tx, id, err);
}

static int create_tx(Tx *tx, void *data, Error **err)
{
	ProfileChange *change = data;
	const Profile *profile = change->profile;
	g_autoptr(Error) failure = NULL;
	int64_t project, id;
	if (project_effective_id(tx, change->project, PROJECT_PROFILES, &project, err) < 0)
		return -1;
	if (tx_insert(tx, &id, &failure,
		"INSERT INTO profiles (name, description, project_id) VALUES (?, ?, ?)", "ssi",
		profile->name, profile->description ? profile->description : "", project) < 0)
		return failure->kind == ERROR_EXISTS
		    ? error_set(err, ERROR_EXISTS, "Profile \"%s\" already exists", profile->name)
		    : error_propagate(err, g_steal_pointer(&failure));
	return store_content(tx, id, profile, err);
}

int profile_create(Daemon *d, const char *project, const Profile *profile, Error **err)
{
	ProfileChange change = {.project = project, .name = profile->name, .profile = profile};
	if (name_check_profile(profile->name, err) < 0)
		return -1;
	return db_tx(d->db, create_tx, &change, err);
}

static int update_tx(Tx *tx, void *data, Error **err)
{
	ProfileChange *change = data;
	int64_t project, id;
	if (find_id(tx, change, &project, &id, err) < 0 ||
	    tx_exec(tx, err, "UPDATE profiles SET description = ? WHERE id = ?", "si",
		change->profile->description ? change->profile->description : "", id) < 0)
		return -1;
	return store_content(tx, id, change->profile, err);
}

int profile_update(Daemon *d, const char *project, const Profile *profile, Error **err)
{
	ProfileChange change = {.project = project, .name = profile->name, .profile = profile};
	return db_tx(d->db, update_tx, &change, err);
}

static int rename_tx(Tx *tx, void *data, Error **err)
{
	ProfileChange *change = data;
	g_autoptr(Error) failure = NULL;
	int64_t project, id;
	if (find_id(tx, change, &project, &id, err) < 0)
		return -1;
	if (tx_exec(tx, &failure, "UPDATE profiles SET name = ? WHERE id = ?", "si",
		change->new_name, id) == 0)
		return 0;
	if (failure->kind == ERROR_EXISTS)
		return error_set(err, ERROR_EXISTS, "Name \"%s\" already in use", change->new_name);
	return error_propagate(err, g_steal_pointer(&failure));
}

int profile_rename(
    Daemon *d, const char *project, const char *name, const char *new_name, Error **err)
{
	ProfileChange change = {.project = project, .name = name, .new_name = new_name};
	if (name_check_profile(new_name, err) < 0)
		return -1;
	if (strcmp(name, "default") == 0)
		return error_set(err, ERROR_FORBIDDEN, "The \"default\" profile cannot be renamed");
	return db_tx(d->db, rename_tx, &change, err);
}

static int delete_tx(Tx *tx, void *data, Error **err)
{
	ProfileChange *change = data;
	int64_t project, id, users;
	if (find_id(tx, change, &project, &id, err) < 0 ||
	    tx_int(tx, &users, err, "SELECT COUNT(*) FROM instances_profiles WHERE profile_id = ?",
		"i", id) < 0)
		return -1;
	if (users)
		return error_set(err, ERROR_INVALID, "Profile is currently in use");
	return tx_exec(tx, err, "DELETE FROM profiles WHERE id = ?", "i", id);
}

int profile_delete(Daemon *d, const char *project, const char *name, Error **err)
{
	ProfileChange change = {.project = project, .name = name};
	if (strcmp(name, "default") == 0)
		return error_set(err, ERROR_FORBIDDEN, "The \"default\" profile cannot be deleted");
	return db_tx(d->db, delete_tx, &change, err);
}
