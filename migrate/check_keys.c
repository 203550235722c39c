/* Every setting and every name against what the server would take. */
#include "migrate/check.h"
#include "migrate/rows.h"
#include "sdk/base/names.h"
#include "server/key/device_type.h"
#include <stdlib.h>
#include <string.h>

/* Which keys a device may have: "nic-bridged", "gpu-physical", or the number of its type. */
#define DEVICE_KIND(config, device)                                                                \
	"CASE d.type WHEN 1 THEN 'nic-' || coalesce((SELECT k.value FROM " config                  \
	" k WHERE k." device " = d.id AND k.key = 'nictype'), 'bridged')"                          \
	" WHEN 6 THEN 'gpu-' || coalesce((SELECT k.value FROM " config " k WHERE k." device        \
	" = d.id AND k.key = 'gputype'), 'physical') ELSE d.type END"

/* What a keyed table's rows are called, and of which kind they are: the kind is that of key_check.
 * Columns: name for people, kind, key, value. */
static const struct {
	const char *table, *what, *sql;
} owners[] = {
	{ "config", "server", "SELECT '', '', c.key, c.value FROM config c" },
	{ "projects_config", "project",
	    "SELECT p.name, '', c.key, c.value FROM projects_config c JOIN projects p ON p.id = c.project_id" },
	{ "profiles_config", "profile",
	    "SELECT j.name || '/' || p.name, '', c.key, c.value FROM profiles_config c"
	    " JOIN profiles p ON p.id = c.profile_id JOIN projects j ON j.id = p.project_id" },
	{ "profiles_devices_config", "device of profile",
	    "SELECT j.name || '/' || p.name || ' ' || d.name, " DEVICE_KIND("profiles_devices_config", "profile_device_id") ", c.key, c.value FROM profiles_devices_config c"
	    " JOIN profiles_devices d ON d.id = c.profile_device_id JOIN profiles p ON p.id = d.profile_id"
	    " JOIN projects j ON j.id = p.project_id" },
	{ "networks_config", "network",
	    "SELECT n.name, '', c.key, c.value FROM networks_config c JOIN networks n ON n.id = c.network_id" },
	{ "storage_pools_config", "storage pool",
	    "SELECT p.name, p.driver, c.key, c.value FROM storage_pools_config c"
	    " JOIN storage_pools p ON p.id = c.storage_pool_id" },
	{ "storage_volumes_config", "volume",
	    "SELECT p.name || '/' || v.name, p.driver, c.key, c.value FROM storage_volumes_config c"
	    " JOIN storage_volumes v ON v.id = c.storage_volume_id"
	    " JOIN storage_pools p ON p.id = v.storage_pool_id" },
	{ "instances_config", "instance",
	    "SELECT j.name || '/' || i.name, CASE i.type WHEN 1 THEN 'virtual-machine' ELSE 'container' END,"
	    " c.key, c.value FROM instances_config c JOIN instances i ON i.id = c.instance_id"
	    " JOIN projects j ON j.id = i.project_id" },
	{ "instances_snapshots_config", "snapshot",
	    "SELECT j.name || '/' || i.name || '/' || s.name,"
	    " CASE i.type WHEN 1 THEN 'virtual-machine' ELSE 'container' END, c.key, c.value"
	    " FROM instances_snapshots_config c JOIN instances_snapshots s ON s.id = c.instance_snapshot_id"
	    " JOIN instances i ON i.id = s.instance_id JOIN projects j ON j.id = i.project_id" },
	{ "instances_devices_config", "device of instance",
	    "SELECT j.name || '/' || i.name || ' ' || d.name, " DEVICE_KIND("instances_devices_config", "instance_device_id") ", c.key, c.value FROM instances_devices_config c"
	    " JOIN instances_devices d ON d.id = c.instance_device_id JOIN instances i ON i.id = d.instance_id"
	    " JOIN projects j ON j.id = i.project_id" },
	{ "instances_snapshots_devices_config", "device of snapshot",
	    "SELECT j.name || '/' || i.name || '/' || s.name || ' ' || d.name, " DEVICE_KIND("instances_snapshots_devices_config", "instance_snapshot_device_id") ", c.key, c.value"
	    " FROM instances_snapshots_devices_config c"
	    " JOIN instances_snapshots_devices d ON d.id = c.instance_snapshot_device_id"
	    " JOIN instances_snapshots s ON s.id = d.instance_snapshot_id"
	    " JOIN instances i ON i.id = s.instance_id JOIN projects j ON j.id = i.project_id" },
};

static KeyScope scope_of(const char *name)
{
	for (const RowTable *table = rows_tables; table->name; table++)
		if (strcmp(table->name, name) == 0)
			return table->scope;
	g_assert_not_reached();
}

static void check_key(Migration *m, KeyScope scope, const char *kind, const char *where,
    const char *key, const char *value)
{
	const KeyRemoved *removed = key_removed(scope, key);
	Error *error = NULL;
	if (removed && g_str_has_prefix(key, "volatile."))
		return; /* the server's own note, under another name */
	if (removed)
		findings_add(m->findings,
		    m->options->drop_obsolete ? FINDING_NOTE : FINDING_OBSOLETE, "settings", where,
		    "%s \"%s\": %s", m->options->drop_obsolete ? "Dropped:" : "Obsolete:", key,
		    removed->instead);
	else if (key_check(scope, *kind ? kind : NULL, key, value ? value : "", &error) < 0)
		findings_add_error(m->findings, FINDING_REFUSED, "settings", where, error);
}

static const char *kind_of(KeyScope scope, const char *kind)
{
	return scope == KEY_DEVICE && g_ascii_isdigit(*kind) ? device_type_from_number(atoi(kind)) :
							       kind;
}

typedef struct KeysCall {
	Migration *m;
	const char *what;
	KeyScope scope;
} KeysCall;

static int take_key(Rows *row, void *data, Error **err)
{
	const KeysCall *call = data;
	const char *name = rows_text(row, 0);
	const char *value = rows_null(row, 3) ? NULL : rows_text(row, 3);
	g_autofree char *where = *name ? g_strdup_printf("%s \"%s\"", call->what, name) :
					 g_strdup(call->what);
	const char *kind = kind_of(call->scope, rows_text(row, 1));
	check_key(call->m, call->scope, kind, where, rows_text(row, 2), value);
	return 0;
}

/* ---- names ---- */

typedef struct NameKind {
	const char *table, *column, *what;
	int (*check)(const char *name, Error **err);
} NameKind;

static const NameKind names[] = {
	{ "projects", "name", "project", name_check_project },
	{ "profiles", "name", "profile", name_check_profile },
	{ "instances", "name", "instance", name_check_instance },
	{ "instances_snapshots", "name", "snapshot", name_check_snapshot },
	{ "instances_devices", "name", "device", name_check_device },
	{ "profiles_devices", "name", "device", name_check_device },
	{ "networks", "name", "network", name_check_network },
	{ "storage_pools", "name", "storage pool", name_check_pool },
	{ "storage_volumes", "name", "volume", name_check_volume },
	{ "storage_volumes_snapshots", "name", "snapshot", name_check_snapshot },
	{ "images", "fingerprint", "image", name_check_fingerprint },
	{ "images_aliases", "name", "image alias", name_check_image_alias },
};

typedef struct NamesCall {
	Migration *m;
	const NameKind *kind;
} NamesCall;

static int take_name(Rows *row, void *data, Error **err)
{
	const NamesCall *call = data;
	Error *error = NULL;
	const char *name = rows_null(row, 0) ? "" : rows_text(row, 0);
	g_autofree char *where = g_strdup_printf("%s \"%s\"", call->kind->what, name);
	if (call->kind->check(name, &error) < 0)
		findings_add_error(call->m->findings, FINDING_REFUSED, "names", where, error);
	return 0;
}

static int check_names(Migration *m, Error **err)
{
	for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
		NamesCall call = { m, &names[i] };
		g_autofree char *sql = g_strdup_printf(
		    "SELECT DISTINCT %s FROM %s", names[i].column, names[i].table);
		if (lxd_database_each(m->lxd, sql, take_name, &call, err) < 0)
			return -1;
	}
	return 0;
}

/* ---- tables ---- */

static gboolean left_alone(const char *name)
{
	for (const RowLeft *left = rows_left; left->name; left++)
		if (strcmp(left->name, name) == 0)
			return TRUE;
	return FALSE;
}

static const RowTable *table_find(const char *name)
{
	for (const RowTable *table = rows_tables; table->name; table++)
		if (strcmp(table->name, name) == 0)
			return table;
	return NULL;
}

static int take_refused(Rows *row, void *data, Error **err)
{
	const Migration *m = data;
	g_autofree char *where = g_strdup_printf("%s \"%s\"", rows_text(row, 0), rows_text(row, 1));
	findings_add(m->findings, FINDING_REFUSED, "settings", where,
	    "Incus has no such thing yet: delete it first (lxc %s)", rows_text(row, 2));
	return 0;
}

typedef struct UnknownTable {
	Migration *m;
	const char *name;
} UnknownTable;

static int take_unknown(Rows *row, void *data, Error **err)
{
	const UnknownTable *table = data;
	if (rows_int(row, 0) > 0)
		findings_add(table->m->findings, FINDING_REFUSED, "settings", "LXD's database",
		    "%" G_GINT64_FORMAT " rows of the unknown table \"%s\"", rows_int(row, 0),
		    table->name);
	return 0;
}

static int check_table(Migration *m, const char *name, Error **err)
{
	const RowTable *table = table_find(name);
	if (table)
		return table->each ? lxd_database_each(m->lxd, table->each, take_refused, m, err) :
				     0;
	if (left_alone(name) ||
	    strspn(name, "abcdefghijklmnopqrstuvwxyz_0123456789") != strlen(name))
		return 0;
	UnknownTable unknown = { m, name };
	g_autofree char *sql = g_strdup_printf("SELECT count(*) FROM %s", name);
	return lxd_database_each(m->lxd, sql, take_unknown, &unknown, err);
}

static int take_text(Rows *row, void *data, Error **err)
{
	g_ptr_array_add(data, g_strdup(rows_text(row, 0)));
	return 0;
}

static int check_tables(Migration *m, Error **err)
{
	g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(g_free);
	if (lxd_database_each(m->lxd,
		"SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1", take_text, list,
		err) < 0)
		return -1;
	for (guint i = 0; i < list->len; i++)
		if (check_table(m, list->pdata[i], err) < 0)
			return -1;
	return 0;
}

int check_keys(Migration *m, Error **err)
{
	guint before = findings_count(m->findings, FINDING_OBSOLETE) +
	    findings_count(m->findings, FINDING_REFUSED);
	for (size_t i = 0; i < G_N_ELEMENTS(owners); i++) {
		KeysCall call = { m, owners[i].what, scope_of(owners[i].table) };
		gboolean local = strcmp(owners[i].table, "config") == 0;
		if (lxd_database_each(m->lxd, owners[i].sql, take_key, &call, err) < 0 ||
		    (local &&
			lxd_database_each_local(m->lxd, owners[i].sql, take_key, &call, err) < 0))
			return -1;
	}
	if (check_names(m, err) < 0 || check_tables(m, err) < 0)
		return -1;
	if (findings_count(m->findings, FINDING_OBSOLETE) +
		findings_count(m->findings, FINDING_REFUSED) ==
	    before)
		findings_add(m->findings, FINDING_OK, "settings", "every key and name",
		    "Incus knows all of them");
	return 0;
}
