#include "server/network/usage.h"
#include <string.h>

enum { DEVICE_NIC = 1 }; /* value of the `type` columns, as Incus numbers device types */

static void use_free(NetworkUse *use)
{
	g_free(use->project);
	g_free(use->network_project);
	g_free(use->instance);
	g_free(use->profile);
	g_free(use->device);
	g_free(use->hwaddr);
	g_clear_pointer(&use->config, g_hash_table_unref);
	g_free(use);
}

/* A device as stored; owner is a row id of instances or profiles. */
typedef struct Row {
	int64_t owner;
	int64_t type;
	char *device;
	Config *config;
} Row;

static void row_free(Row *row)
{
	g_free(row->device);
	g_clear_pointer(&row->config, g_hash_table_unref);
	g_free(row);
}

typedef struct Owner {
	int64_t id;
	char *name, *project;
} Owner;

static void owner_free(Owner *owner)
{
	g_free(owner->name);
	g_free(owner->project);
	g_free(owner);
}

typedef struct Load {
	GPtrArray *instances, *profiles;        /* Owner */
	GHashTable *instance_rows, *profile_rows; /* id -> GPtrArray of Row */
	GHashTable *assigned;                   /* instance id -> GArray of profile ids, in order */
	GHashTable *hwaddrs;                    /* "id/device" -> MAC */
	GHashTable *own_networks;               /* projects with features.networks */
} Load;

static void load_clear(Load *load)
{
	g_clear_pointer(&load->instances, g_ptr_array_unref);
	g_clear_pointer(&load->profiles, g_ptr_array_unref);
	g_clear_pointer(&load->instance_rows, g_hash_table_unref);
	g_clear_pointer(&load->profile_rows, g_hash_table_unref);
	g_clear_pointer(&load->assigned, g_hash_table_unref);
	g_clear_pointer(&load->hwaddrs, g_hash_table_unref);
	g_clear_pointer(&load->own_networks, g_hash_table_unref);
}

static GHashTable *by_id(GDestroyNotify destroy)
{
	return g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, destroy);
}

static void load_reset(Load *load)
{
	load_clear(load);
	load->instances = g_ptr_array_new_with_free_func((GDestroyNotify)owner_free);
	load->profiles = g_ptr_array_new_with_free_func((GDestroyNotify)owner_free);
	load->instance_rows = by_id((GDestroyNotify)g_ptr_array_unref);
	load->profile_rows = by_id((GDestroyNotify)g_ptr_array_unref);
	load->assigned = by_id((GDestroyNotify)g_array_unref);
	load->hwaddrs = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
	load->own_networks = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
}

static int64_t *key_of(int64_t id)
{
	int64_t *key = g_new(int64_t, 1);
	*key = id;
	return key;
}

static int load_owners(Tx *tx, const char *sql, GPtrArray *owners, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	int more = tx_query(tx, &rows, err, sql, "");
	while (more >= 0 && (more = rows_next(rows, err)) > 0) {
		Owner *owner = g_new0(Owner, 1);
		owner->id = rows_int(rows, 0);
		owner->name = g_strdup(rows_text(rows, 1));
		owner->project = g_strdup(rows_text(rows, 2));
		g_ptr_array_add(owners, owner);
	}
	return more;
}

/* Rows come ordered by owner and device: a device's keys follow one another. */
static int load_devices(Tx *tx, const char *sql, GHashTable *table, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	Row *last = NULL;
	int more = tx_query(tx, &rows, err, sql, "i", (int64_t)DEVICE_NIC);
	while (more >= 0 && (more = rows_next(rows, err)) > 0) {
		int64_t owner = rows_int(rows, 0);
		if (!last || last->owner != owner ||
		    strcmp(last->device, rows_text(rows, 1)) != 0) {
			last = g_new0(Row, 1);
			last->owner = owner;
			last->device = g_strdup(rows_text(rows, 1));
			last->type = rows_int(rows, 2);
			last->config = config_new();
			GPtrArray *list = g_hash_table_lookup(table, &owner);
			if (!list) {
				list = g_ptr_array_new_with_free_func((GDestroyNotify)row_free);
				g_hash_table_insert(table, key_of(owner), list);
			}
			g_ptr_array_add(list, last);
		}
		if (!rows_null(rows, 3))
			config_set(last->config, rows_text(rows, 3), rows_text(rows, 4));
	}
	return more;
}

static int load_assigned(Tx *tx, Load *load, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	int more = tx_query(tx, &rows, err,
	    "SELECT instance_id, profile_id FROM instances_profiles ORDER BY instance_id, apply_order",
	    "");
	while (more >= 0 && (more = rows_next(rows, err)) > 0) {
		int64_t instance = rows_int(rows, 0), profile = rows_int(rows, 1);
		GArray *list = g_hash_table_lookup(load->assigned, &instance);
		if (!list) {
			list = g_array_new(FALSE, FALSE, sizeof(int64_t));
			g_hash_table_insert(load->assigned, key_of(instance), list);
		}
		g_array_append_val(list, profile);
	}
	return more;
}

static int load_hwaddrs(Tx *tx, Load *load, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	int more = tx_query(tx, &rows, err,
	    "SELECT instance_id, key, value FROM instances_config WHERE key LIKE 'volatile.%.hwaddr'",
	    "");
	while (more >= 0 && (more = rows_next(rows, err)) > 0) {
		const char *key = rows_text(rows, 1);
		size_t head = strlen("volatile."), tail = strlen(".hwaddr");
		int device = (int)(strlen(key) - head - tail);
		g_hash_table_insert(load->hwaddrs,
		    g_strdup_printf(
			"%" G_GINT64_FORMAT "/%.*s", rows_int(rows, 0), device, key + head),
		    g_strdup(rows_text(rows, 2)));
	}
	return more;
}

static int load_projects(Tx *tx, Load *load, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	int more = tx_query(tx, &rows, err,
	    "SELECT projects.name FROM projects JOIN projects_config ON projects_config.project_id = projects.id "
	    "WHERE projects_config.key = 'features.networks' AND projects_config.value IN ('true', '1', 'yes', 'on')",
	    "");
	while (more >= 0 && (more = rows_next(rows, err)) > 0)
		g_hash_table_add(load->own_networks, g_strdup(rows_text(rows, 0)));
	return more;
}

static int load_all(Tx *tx, void *data, Error **err)
{
	Load *load = data;
	load_reset(load);
	if (load_owners(tx,
		"SELECT instances.id, instances.name, projects.name FROM instances "
		"JOIN projects ON projects.id = instances.project_id ORDER BY projects.name, instances.name",
		load->instances, err) < 0 ||
	    load_owners(tx,
		"SELECT profiles.id, profiles.name, projects.name FROM profiles "
		"JOIN projects ON projects.id = profiles.project_id ORDER BY projects.name, profiles.name",
		load->profiles, err) < 0)
		return -1;
	if (load_devices(tx,
		"SELECT d.instance_id, d.name, d.type, c.key, c.value FROM instances_devices AS d "
		"LEFT JOIN instances_devices_config AS c ON c.instance_device_id = d.id AND d.type = ? "
		"ORDER BY d.instance_id, d.name",
		load->instance_rows, err) < 0 ||
	    load_devices(tx,
		"SELECT d.profile_id, d.name, d.type, c.key, c.value FROM profiles_devices AS d "
		"LEFT JOIN profiles_devices_config AS c ON c.profile_device_id = d.id AND d.type = ? "
		"ORDER BY d.profile_id, d.name",
		load->profile_rows, err) < 0)
		return -1;
	if (load_assigned(tx, load, err) < 0 || load_hwaddrs(tx, load, err) < 0)
		return -1;
	return load_projects(tx, load, err);
}

static NetworkUse *use_new(const Load *load, const Owner *owner, const Row *row)
{
	NetworkUse *use = g_new0(NetworkUse, 1);
	use->project = g_strdup(owner->project);
	use->network_project = g_strdup(
	    g_hash_table_contains(load->own_networks, owner->project) ? owner->project : "default");
	use->device = g_strdup(row->device);
	use->config = config_copy(row->config);
	return use;
}

static void overlay(GHashTable *devices, GHashTable *rows, int64_t owner)
{
	GPtrArray *list = g_hash_table_lookup(rows, &owner);
	for (guint i = 0; list && i < list->len; i++) {
		Row *row = g_ptr_array_index(list, i);
		g_hash_table_replace(devices, row->device, row);
	}
}

static int by_device(gconstpointer a, gconstpointer b)
{
	return strcmp((*(Row *const *)a)->device, (*(Row *const *)b)->device);
}

static void add_instance(const Load *load, const Owner *owner, GPtrArray *uses)
{
	g_autoptr(GHashTable) devices = g_hash_table_new(g_str_hash, g_str_equal);
	GArray *profiles = g_hash_table_lookup(load->assigned, &owner->id);
	for (guint i = 0; profiles && i < profiles->len; i++)
		overlay(devices, load->profile_rows, g_array_index(profiles, int64_t, i));
	overlay(devices, load->instance_rows, owner->id);
	g_autoptr(GPtrArray) sorted = g_ptr_array_new();
	GHashTableIter iter;
	void *value;
	g_hash_table_iter_init(&iter, devices);
	while (g_hash_table_iter_next(&iter, NULL, &value))
		g_ptr_array_add(sorted, value);
	g_ptr_array_sort(sorted, by_device);
	for (guint i = 0; i < sorted->len; i++) {
		const Row *row = g_ptr_array_index(sorted, i);
		if (row->type != DEVICE_NIC)
			continue;
		NetworkUse *use = use_new(load, owner, row);
		g_autofree char *key = g_strdup_printf(
		    "%" G_GINT64_FORMAT "/%s", owner->id, row->device);
		const char *set = config_get(row->config, "hwaddr");
		use->instance = g_strdup(owner->name);
		use->hwaddr = g_strdup(set ? set : g_hash_table_lookup(load->hwaddrs, key));
		g_ptr_array_add(uses, use);
	}
}

static void add_profile(const Load *load, const Owner *owner, GPtrArray *uses)
{
	GPtrArray *list = g_hash_table_lookup(load->profile_rows, &owner->id);
	for (guint i = 0; list && i < list->len; i++) {
		const Row *row = g_ptr_array_index(list, i);
		if (row->type != DEVICE_NIC)
			continue;
		NetworkUse *use = use_new(load, owner, row);
		use->profile = g_strdup(owner->name);
		g_ptr_array_add(uses, use);
	}
}

int network_uses_load(Db *db, GPtrArray **ret_uses, Error **err)
{
	Load load = {0};
	int result = db_read(db, load_all, &load, err);
	if (result == 0) {
		GPtrArray *uses = g_ptr_array_new_with_free_func((GDestroyNotify)use_free);
		for (guint i = 0; i < load.instances->len; i++)
			add_instance(&load, g_ptr_array_index(load.instances, i), uses);
		for (guint i = 0; i < load.profiles->len; i++)
			add_profile(&load, g_ptr_array_index(load.profiles, i), uses);
		*ret_uses = uses;
	}
	load_clear(&load);
	return result;
}

gboolean network_use_matches(const NetworkUse *use, const char *project, const char *name)
{
	const char *network = config_get(use->config, "network");
	const char *parent = config_get(use->config, "parent");
	if (network)
		return project && strcmp(use->network_project, project) == 0 &&
		    strcmp(network, name) == 0;
	return g_strcmp0(parent, name) == 0;
}

char *network_use_url(const NetworkUse *use)
{
	const char *kind = use->instance ? "instances" : "profiles";
	const char *name = use->instance ? use->instance : use->profile;
	g_autofree char *escaped = g_uri_escape_string(name, NULL, FALSE);
	g_autofree char *query = strcmp(use->project, "default") == 0 ? g_strdup("") :
	    g_strdup_printf("?project=%s", use->project);
	return g_strdup_printf("/1.0/%s/%s%s", kind, escaped, query);
}
