/* The database's side of instances: rows, their keys, devices and profiles. */
#include "server/instance/private.h"
#include "server/key/device_type.h"
#include "server/project/project.h"
#include <string.h>
#include <time.h>

static Config *device_slot(Devices *devices, const char *name, int64_t type)
{
	Config *config = devices_get(devices, name);
	if (config)
		return config;
	g_autoptr(Config) fresh = config_new();
	config_set(fresh, "type", device_type_from_number((int)type));
	devices_set(devices, name, fresh);
	return devices_get(devices, name);
}

/* Columns: owner id, device name, type code, key (or NULL), value. */
static int read_devices(
    Tx *tx, const char *sql, Devices *(*find)(void *data, int64_t owner), void *data, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	if (tx_query(tx, &rows, err, sql, "") < 0)
		return -1;
	int got;
	while ((got = rows_next(rows, err)) > 0) {
		Devices *devices = find(data, rows_int(rows, 0));
		if (!devices)
			continue;
		Config *config = device_slot(devices, rows_text(rows, 1), rows_int(rows, 2));
		if (!rows_null(rows, 3) && !rows_null(rows, 4))
			config_set(config, rows_text(rows, 3), rows_text(rows, 4));
	}
	return got;
}

/* Profiles, all of them: a few rows, read with the instances. */

typedef struct Profile {
	int64_t id;
	char *project, *name;
	Config *config;
	Devices *devices;
} Profile;

struct ProfileSet {
	GHashTable *by_id;    /* int64 -> Profile */
	GHashTable *by_name;  /* "PROJECT/NAME" -> Profile, borrowed */
	GHashTable *shared;   /* projects that use default's profiles */
};

static void profile_free(void *data)
{
	Profile *p = data;
	g_free(p->project);
	g_free(p->name);
	g_hash_table_unref(p->config);
	g_hash_table_unref(p->devices);
	g_free(p);
}

static void profile_set_init(ProfileSet *set)
{
	set->by_id = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, profile_free);
	set->by_name = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	set->shared = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
}

static void profile_set_clear(ProfileSet *set)
{
	g_hash_table_unref(set->by_id);
	g_hash_table_unref(set->by_name);
	g_hash_table_unref(set->shared);
}

static Devices *profile_devices(void *data, int64_t owner)
{
	ProfileSet *set = data;
	Profile *p = g_hash_table_lookup(set->by_id, &owner);
	return p ? p->devices : NULL;
}

static int read_profile_rows(Tx *tx, ProfileSet *set, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	if (tx_query(tx, &rows, err,
		"SELECT f.id, p.name, f.name FROM profiles AS f JOIN projects AS p ON p.id = f.project_id",
		"") < 0)
		return -1;
	int got;
	while ((got = rows_next(rows, err)) > 0) {
		Profile *p = g_new0(Profile, 1);
		p->id = rows_int(rows, 0);
		p->project = g_strdup(rows_text(rows, 1));
		p->name = g_strdup(rows_text(rows, 2));
		p->config = config_new();
		p->devices = devices_new();
		g_hash_table_insert(set->by_id, &p->id, p);
		g_hash_table_insert(set->by_name, g_strconcat(p->project, "/", p->name, NULL), p);
	}
	return got;
}

static int read_profiles(Tx *tx, ProfileSet *set, Error **err)
{
	g_hash_table_remove_all(set->by_name);
	g_hash_table_remove_all(set->by_id);
	g_hash_table_remove_all(set->shared);
	if (read_profile_rows(tx, set, err) < 0)
		return -1;
	g_autoptr(Rows) rows = NULL;
	if (tx_query(tx, &rows, err, "SELECT profile_id, key, value FROM profiles_config", "") < 0)
		return -1;
	int got;
	while ((got = rows_next(rows, err)) > 0) {
		int64_t id = rows_int(rows, 0);
		Profile *p = g_hash_table_lookup(set->by_id, &id);
		if (p)
			config_set(p->config, rows_text(rows, 1), rows_text(rows, 2));
	}
	if (got < 0)
		return -1;
	g_autoptr(Rows) features = NULL;
	if (tx_query(tx, &features, err,
		"SELECT name FROM projects WHERE name <> 'default' AND id NOT IN (SELECT project_id FROM"
		" projects_config WHERE key = 'features.profiles' AND value IN ('true', '1', 'yes', 'on'))",
		"") < 0)
		return -1;
	while ((got = rows_next(features, err)) > 0)
		g_hash_table_add(set->shared, g_strdup(rows_text(features, 0)));
	if (got < 0)
		return -1;
	return read_devices(tx,
	    "SELECT d.profile_id, d.name, d.type, c.key, c.value FROM profiles_devices AS d"
	    " LEFT JOIN profiles_devices_config AS c ON c.profile_device_id = d.id",
	    profile_devices, set, err);
}

static void overlay_config(Config *into, const Config *from)
{
	GHashTableIter iter;
	void *key, *value;
	g_hash_table_iter_init(&iter, (GHashTable *)from);
	while (g_hash_table_iter_next(&iter, &key, &value))
		config_set(into, key, value);
}

static void overlay_devices(Devices *into, const Devices *from)
{
	GHashTableIter iter;
	void *key, *value;
	g_hash_table_iter_init(&iter, (GHashTable *)from);
	while (g_hash_table_iter_next(&iter, &key, &value))
		devices_set(into, key, value);
}

static int expand(const ProfileSet *set, const char *project, char *const *profiles,
    const Config *config, const Devices *devices, const ProfileReplacement *replaced,
    Config **ret_config, Devices **ret_devices, Error **err)
{
	const char *home = g_hash_table_contains(set->shared, project) ? "default" : project;
	g_autoptr(Config) all = config_new();
	g_autoptr(GHashTable) every = devices_new();
	for (; profiles && *profiles; profiles++) {
		g_autofree char *key = g_strconcat(home, "/", *profiles, NULL);
		Profile *p = g_hash_table_lookup(set->by_name, key);
		gboolean swap = replaced && strcmp(replaced->name, *profiles) == 0;
		if (!p && !swap)
			return error_set(err, ERROR_INVALID,
			    "Requested profile \"%s\" doesn't exist", *profiles);
		overlay_config(all, swap ? replaced->config : p->config);
		overlay_devices(every, swap ? replaced->devices : p->devices);
	}
	overlay_config(all, config);
	overlay_devices(every, devices);
	*ret_config = g_steal_pointer(&all);
	*ret_devices = g_steal_pointer(&every);
	return 0;
}

static int read_profiles_tx(Tx *tx, void *data, Error **err)
{
	return read_profiles(tx, data, err);
}

int profile_set_load(Daemon *d, ProfileSet **ret_set, Error **err)
{
	g_autoptr(ProfileSet) set = g_new0(ProfileSet, 1);
	profile_set_init(set);
	if (db_read(d->db, read_profiles_tx, set, err) < 0)
		return -1;
	*ret_set = g_steal_pointer(&set);
	return 0;
}

void profile_set_free(ProfileSet *set)
{
	if (!set)
		return;
	profile_set_clear(set);
	g_free(set);
}

int row_expand_from(const ProfileSet *set, const char *project, char *const *profiles,
    const Config *config, const Devices *devices, Config **ret_config, Devices **ret_devices,
    Error **err)
{
	return expand(set, project, profiles, config, devices, NULL, ret_config, ret_devices, err);
}

int row_expand(Daemon *d, const char *project, char *const *profiles, const Config *config,
    const Devices *devices, const ProfileReplacement *replaced, Config **ret_config,
    Devices **ret_devices, Error **err)
{
	ProfileSet set;
	profile_set_init(&set);
	int result = db_read(d->db, read_profiles_tx, &set, err);
	if (result == 0)
		result = expand(&set, project, profiles, config, devices, replaced, ret_config,
		    ret_devices, err);
	profile_set_clear(&set);
	return result;
}

/* Loading. */

typedef struct Load {
	Daemon *daemon;
	GPtrArray *list;
	GHashTable *by_id; /* int64 -> Instance */
	ProfileSet profiles;
} Load;

static Devices *instance_devices_of(void *data, int64_t owner)
{
	Load *load = data;
	Instance *i = g_hash_table_lookup(load->by_id, &owner);
	return i ? i->devices : NULL;
}

static int load_instances(Tx *tx, Load *load, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	if (tx_query(tx, &rows, err,
		"SELECT i.id, p.name, i.name, i.architecture, i.type, i.ephemeral, i.stateful, i.description,"
		" i.creation_date, i.last_use_date FROM instances AS i JOIN projects AS p ON p.id = i.project_id",
		"") < 0)
		return -1;
	int got;
	while ((got = rows_next(rows, err)) > 0) {
		Instance *i = instance_new(load->daemon, rows_text(rows, 1), rows_text(rows, 2));
		i->id = rows_int(rows, 0);
		i->architecture = rows_int(rows, 3);
		i->type = rows_int(rows, 4) == 1 ? INSTANCE_MACHINE : INSTANCE_CONTAINER;
		i->ephemeral = rows_int(rows, 5) != 0;
		i->stateful = rows_int(rows, 6) != 0;
		g_free(i->description);
		i->description = g_strdup(rows_null(rows, 7) ? "" : rows_text(rows, 7));
		i->created = rows_time(rows, 8);
		i->last_used = rows_time(rows, 9);
		g_ptr_array_add(load->list, i);
		g_hash_table_insert(load->by_id, &i->id, i);
	}
	return got;
}

static int load_config(Tx *tx, Load *load, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	if (tx_query(tx, &rows, err, "SELECT instance_id, key, value FROM instances_config", "") <
	    0)
		return -1;
	int got;
	while ((got = rows_next(rows, err)) > 0) {
		int64_t id = rows_int(rows, 0);
		Instance *i = g_hash_table_lookup(load->by_id, &id);
		if (i)
			config_set(i->config, rows_text(rows, 1), rows_text(rows, 2));
	}
	return got;
}

static int load_applied(Tx *tx, Load *load, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	if (tx_query(tx, &rows, err,
		"SELECT ip.instance_id, f.name FROM instances_profiles AS ip"
		" JOIN profiles AS f ON f.id = ip.profile_id ORDER BY ip.instance_id, ip.apply_order",
		"") < 0)
		return -1;
	int got;
	while ((got = rows_next(rows, err)) > 0) {
		int64_t id = rows_int(rows, 0);
		Instance *i = g_hash_table_lookup(load->by_id, &id);
		if (!i)
			continue;
		guint n = g_strv_length(i->profiles);
		i->profiles = g_renew(char *, i->profiles, n + 2);
		i->profiles[n] = g_strdup(rows_text(rows, 1));
		i->profiles[n + 1] = NULL;
	}
	return got;
}

static int load_all(Tx *tx, void *data, Error **err)
{
	Load *load = data;
	g_hash_table_remove_all(load->by_id);
	g_ptr_array_set_size(load->list, 0);
	if (load_instances(tx, load, err) < 0 || load_config(tx, load, err) < 0 ||
	    load_applied(tx, load, err) < 0 || read_profiles(tx, &load->profiles, err) < 0)
		return -1;
	return read_devices(tx,
	    "SELECT d.instance_id, d.name, d.type, c.key, c.value FROM instances_devices AS d"
	    " LEFT JOIN instances_devices_config AS c ON c.instance_device_id = d.id",
	    instance_devices_of, load, err);
}

int row_load_all(Daemon *d, GPtrArray **ret_instances, Error **err)
{
	Load load = { .daemon = d, .by_id = g_hash_table_new(g_int64_hash, g_int64_equal) };
	g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func((GDestroyNotify)instance_unref);
	load.list = list;
	profile_set_init(&load.profiles);
	int result = db_read(d->db, load_all, &load, err);
	for (guint n = 0; result == 0 && n < list->len; n++) {
		Instance *i = list->pdata[n];
		Config *config = NULL;
		Devices *devices = NULL;
		result = expand(&load.profiles, i->project, i->profiles, i->config, i->devices,
		    NULL, &config, &devices, err);
		if (result < 0)
			break;
		g_hash_table_unref(i->expanded);
		g_hash_table_unref(i->expanded_devices);
		i->expanded = config;
		i->expanded_devices = devices;
	}
	profile_set_clear(&load.profiles);
	g_hash_table_unref(load.by_id);
	if (result == 0)
		*ret_instances = g_steal_pointer(&list);
	return result;
}

/* Writing. */

static int write_devices(Tx *tx, int64_t id, const Devices *devices, Error **err)
{
	GHashTableIter iter;
	void *name, *value;
	if (tx_exec(tx, err, "DELETE FROM instances_devices WHERE instance_id = ?", "i", id) < 0)
		return -1;
	g_hash_table_iter_init(&iter, (GHashTable *)devices);
	while (g_hash_table_iter_next(&iter, &name, &value)) {
		int64_t device = 0;
		g_autoptr(Config) config = config_copy(value);
		int64_t type = MAX(device_type_number(config_get(config, "type")), 0);
		config_set(config, "type", NULL);
		if (tx_insert(tx, &device, err,
			"INSERT INTO instances_devices (instance_id, name, type) VALUES (?, ?, ?)",
			"isi", id, (const char *)name, type) < 0 ||
		    tx_config_replace(tx, "instances_devices_config", "instance_device_id", device,
			config, err) < 0)
			return -1;
	}
	return 0;
}

static int write_profiles(Tx *tx, const Instance *i, Error **err)
{
	if (tx_exec(tx, err, "DELETE FROM instances_profiles WHERE instance_id = ?", "i", i->id) <
	    0)
		return -1;
	for (int n = 0; i->profiles[n]; n++) {
		if (tx_exec(tx, err,
			"INSERT INTO instances_profiles (instance_id, profile_id, apply_order) SELECT ?, f.id, ?"
			" FROM profiles AS f JOIN projects AS p ON p.id = f.project_id WHERE f.name = ? AND p.name ="
			" (CASE WHEN EXISTS (SELECT 1 FROM projects_config AS c JOIN projects AS q ON q.id = c.project_id"
			" WHERE q.name = ? AND c.key = 'features.profiles' AND c.value IN ('true', '1', 'yes', 'on'))"
			" THEN ? ELSE 'default' END)",
			"iisss", i->id, (int64_t)n + 1, i->profiles[n], i->project, i->project) < 0)
			return -1;
		if (tx_changes(tx) != 1) /* deleted or renamed since it was looked at */
			return error_set(err, ERROR_INVALID,
			    "Requested profile \"%s\" doesn't exist", i->profiles[n]);
	}
	return 0;
}

static int insert_tx(Tx *tx, void *data, Error **err)
{
	Instance *i = data;
	int64_t project;
	if (tx_int(tx, &project, err, "SELECT id FROM projects WHERE name = ?", "s", i->project) <
	    0)
		return error_prefix(err, "Project \"%s\"", i->project);
	if (tx_insert(tx, &i->id, err,
		"INSERT INTO instances (node_id, name, architecture, type, ephemeral, creation_date, stateful,"
		" description, project_id) VALUES (1, ?, ?, ?, ?, ?, 0, ?, ?)",
		"siiitsi", i->name, i->architecture, (int64_t)i->type, (int64_t)i->ephemeral,
		i->created, i->description, project) < 0)
		return -1;
	if (tx_config_replace(tx, "instances_config", "instance_id", i->id, i->config, err) < 0 ||
	    write_devices(tx, i->id, i->devices, err) < 0 || write_profiles(tx, i, err) < 0)
		return -1;
	return project_verify_instance(tx, i->id, TRUE, err);
}

int row_insert_in(Tx *tx, void *instance, Error **err)
{
	return insert_tx(tx, instance, err);
}

int row_insert(Instance *i, Error **err)
{
	i->created = time(NULL);
	return db_tx(i->daemon->db, insert_tx, i, err);
}

static int store(Tx *tx, const Instance *i, Error **err)
{
	if (tx_exec(tx, err,
		"UPDATE instances SET architecture = ?, ephemeral = ?, description = ? WHERE id = ?",
		"iisi", i->architecture, (int64_t)i->ephemeral, i->description, i->id) < 0 ||
	    tx_config_replace(tx, "instances_config", "instance_id", i->id, i->config, err) < 0 ||
	    write_devices(tx, i->id, i->devices, err) < 0)
		return -1;
	return write_profiles(tx, i, err);
}

static int update_tx(Tx *tx, void *data, Error **err)
{
	const Instance *i = data;
	return store(tx, i, err) < 0 ? -1 : project_verify_instance(tx, i->id, FALSE, err);
}

int row_update(Instance *i, Error **err)
{
	return db_tx(i->daemon->db, update_tx, i, err);
}

typedef struct Rename {
	Instance *i;
	const char *name;
} Rename;

static int rename_tx(Tx *tx, void *data, Error **err)
{
	Rename *r = data;
	return tx_exec(
	    tx, err, "UPDATE instances SET name = ? WHERE id = ?", "si", r->name, r->i->id);
}

int row_rename(Instance *i, const char *name, Error **err)
{
	Rename r = { .i = i, .name = name };
	return db_tx(i->daemon->db, rename_tx, &r, err);
}

typedef struct Move {
	Instance *i;
	const char *pool;
} Move;

static int move_tx(Tx *tx, void *data, Error **err)
{
	const Move *move = data;
	const Instance *i = move->i;
	int64_t from, to;
	if (tx_int(tx, &from, err, "SELECT project_id FROM instances WHERE id = ?", "i", i->id) <
		0 ||
	    tx_int(tx, &to, err, "SELECT id FROM projects WHERE name = ?", "s", i->project) < 0)
		return -1;
	if (tx_exec(tx, err, "UPDATE instances SET name = ?, project_id = ? WHERE id = ?", "sii",
		i->name, to, i->id) < 0 ||
	    store(tx, i, err) < 0 || project_verify_instance(tx, i->id, from != to, err) < 0)
		return -1;
	return !move->pool ?
	    0 :
	    tx_exec(tx, err,
		"UPDATE instances_snapshots_devices_config SET value = ? WHERE key = 'pool' AND instance_snapshot_device_id IN"
		" (SELECT d.id FROM instances_snapshots_devices AS d JOIN instances_snapshots AS s ON s.id = d.instance_snapshot_id"
		" JOIN instances_snapshots_devices_config AS c ON c.instance_snapshot_device_id = d.id"
		" WHERE s.instance_id = ? AND d.type = 2 AND c.key = 'path' AND c.value = '/')",
		"si", move->pool, i->id);
}

int row_move(Instance *i, const char *pool, Error **err)
{
	Move move = { .i = i, .pool = pool };
	return db_tx(i->daemon->db, move_tx, &move, err);
}

int row_delete_in(Tx *tx, void *instance, Error **err)
{
	Instance *i = instance;
	return tx_exec(tx, err, "DELETE FROM instances WHERE id = ?", "i", i->id);
}

int row_delete(Instance *i, Error **err)
{
	return db_tx(i->daemon->db, row_delete_in, i, err);
}

static int stateful_tx(Tx *tx, void *data, Error **err)
{
	const Instance *i = data;
	return tx_exec(tx, err, "UPDATE instances SET stateful = ? WHERE id = ?", "ii",
	    (int64_t)i->stateful, i->id);
}

int row_set_stateful(Instance *i, Error **err)
{
	return db_tx(i->daemon->db, stateful_tx, i, err);
}

typedef struct ConfigWrite {
	Instance *i;
	GHashTable *keys;
	const Config *config;
	gboolean used_now;
	int64_t now;
} ConfigWrite;

static int config_tx(Tx *tx, void *data, Error **err)
{
	ConfigWrite *w = data;
	GHashTableIter iter;
	void *key;
	if (w->used_now &&
	    tx_exec(tx, err, "UPDATE instances SET last_use_date = ? WHERE id = ?", "ti", w->now,
		w->i->id) < 0)
		return -1;
	if (!w->keys)
		return 0;
	g_hash_table_iter_init(&iter, w->keys);
	while (g_hash_table_iter_next(&iter, &key, NULL)) {
		const char *value = config_get(w->config, key);
		int result = value ?
		    tx_exec(tx, err,
			"INSERT OR REPLACE INTO instances_config (instance_id, key, value) VALUES (?, ?, ?)",
			"iss", w->i->id, (const char *)key, value) :
		    tx_exec(tx, err,
			"DELETE FROM instances_config WHERE instance_id = ? AND key = ?", "is",
			w->i->id, (const char *)key);
		if (result < 0)
			return -1;
	}
	return 0;
}

int row_config_write(Instance *i, GHashTable *keys, gboolean used_now, Error **err)
{
	g_autoptr(Config) config = instance_config(i);
	ConfigWrite w = {
		.i = i, .keys = keys, .config = config, .used_now = used_now, .now = time(NULL)
	};
	if (used_now)
		i->last_used = w.now;
	return db_tx(i->daemon->db, config_tx, &w, err);
}
