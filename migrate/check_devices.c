/* Devices, as the server will take them: those of profiles by themselves, those of instances and
 * snapshots with what their profiles give them, and of a container or of a virtual machine. */
#include "migrate/check.h"
#include "migrate/rows.h"
#include "server/device/device.h"
#include "server/helper/hypervisor.h"
#include "server/key/device_type.h"
#include <string.h>

/* Who has the devices whose rows come: a device's rows follow each other, one for each of its keys,
 * and of devices of one name the later takes the place of the earlier. */
typedef struct Owner Owner;
struct Owner {
	Migration *m;
	void (*check)(const Owner *owner, const char *name, const Config *config);
	char *where;
	gboolean ran;
	DeviceHost host;
	Devices *devices;  /* NULL: none yet */
	GHashTable *given; /* names of those that profiles give */
	char *device;
	int64_t order; /* of the profile; OWN: its own */
};

enum { OWN = 1000000 };
/* Columns: what it is for people, whether it is a virtual machine, whether it ran, order, device,
 * type, key, value. */
#define RAN(id)                                                                                    \
	"EXISTS (SELECT 1 FROM instances_config c WHERE c.instance_id = " id                       \
	" AND c.key = 'volatile.last_state.power' AND c.value = 'RUNNING')"
#define OF_PROFILES                                                                                           \
	"SELECT u.instance_id AS owner, u.apply_order AS n, d.name AS device, d.type AS type, k.key, k.value" \
	" FROM instances_profiles u JOIN profiles_devices d ON d.profile_id = u.profile_id"                   \
	" LEFT JOIN profiles_devices_config k ON k.profile_device_id = d.id"

static const char profiles_sql[] =
    "SELECT 'profile \"' || j.name || '/' || p.name || '\"', 0, EXISTS (SELECT 1 FROM instances_profiles u"
    " WHERE u.profile_id = p.id AND " RAN(
	"u.instance_id") "), 1000000, d.name, d.type, k.key, k.value FROM profiles_devices d"
			 " JOIN profiles p ON p.id = d.profile_id JOIN projects j ON j.id = p.project_id"
			 " LEFT JOIN profiles_devices_config k ON k.profile_device_id = d.id ORDER BY 1, 5";

static const char instances_sql[] =
    "SELECT 'instance \"' || j.name || '/' || i.name || '\"', i.type = 1, " RAN(
	"i.id") ", d.n, d.device, d.type, d.key, d.value FROM instances i JOIN projects j ON j.id = i.project_id"
		" JOIN (" OF_PROFILES
		" UNION ALL SELECT d.instance_id, 1000000, d.name, d.type, k.key, k.value"
		" FROM instances_devices d LEFT JOIN instances_devices_config k ON k.instance_device_id = d.id) d"
		" ON d.owner = i.id ORDER BY 1, 4, 5";

/* They have the profiles of their instance. */
static const char snapshots_sql[] =
    "SELECT 'snapshot \"' || j.name || '/' || i.name || '/' || s.name || '\"', i.type = 1, 0, d.n, d.device,"
    " d.type, d.key, d.value FROM instances_snapshots s JOIN instances i ON i.id = s.instance_id"
    " JOIN projects j ON j.id = i.project_id JOIN (SELECT s.id AS owner, p.n, p.device, p.type, p.key, p.value"
    " FROM instances_snapshots s JOIN (" OF_PROFILES ") p ON p.owner = s.instance_id"
    " UNION ALL SELECT d.instance_snapshot_id, 1000000, d.name, d.type, k.key, k.value"
    " FROM instances_snapshots_devices d LEFT JOIN instances_snapshots_devices_config k"
    " ON k.instance_snapshot_device_id = d.id) d ON d.owner = s.id ORDER BY 1, 4, 5";

/* ---- one device ---- */

static char *where_of(const Owner *owner, const char *name)
{
	return g_strdup_printf("%s, device \"%s\"", owner->where, name);
}

/* It is taken over all the same: the next version may have it. */
static void refuse(const Owner *owner, const char *name, const Error *why)
{
	g_autofree char *where = where_of(owner, name);
	check_starts(owner->m, owner->ran, "devices", where, why->message);
}

static void check_of_profile(const Owner *owner, const char *name, const Config *config)
{
	g_autoptr(Error) error = NULL;
	if (device_validate(NULL, name, config, &error) < 0)
		refuse(owner, name, error);
}

/* What is wrong with a profile's is told of the profile. */
static gboolean is_told(const Owner *owner, const char *name, const Config *config)
{
	return g_hash_table_contains(owner->given, name) &&
	    device_validate(NULL, name, config, NULL) < 0;
}

static void check_of_instance(const Owner *owner, const char *name, const Config *config)
{
	g_autoptr(Error) error = NULL;
	gboolean tpm = strcmp(config_get(config, "type"), "tpm") == 0;
	if (device_validate(&owner->host, name, config, &error) == 0 && tpm)
		hypervisor_check_tpm(&error);
	if (error && !is_told(owner, name, config))
		refuse(owner, name, error);
}

static void check_of_snapshot(const Owner *owner, const char *name, const Config *config)
{
	g_autoptr(Error) error = NULL;
	g_autofree char *where = where_of(owner, name);
	if (device_validate(&owner->host, name, config, &error) == 0 ||
	    error->kind != ERROR_UNSUPPORTED || is_told(owner, name, config))
		return;
	findings_add(owner->m->findings, FINDING_NOTE, "devices", where,
	    "%s: it can be restored, and does not start until the device is removed",
	    error->message);
}

/* ---- rows ---- */

static void end_owner(Owner *owner)
{
	guint n = 0;
	g_autofree const char **names = owner->devices ? device_sorted(owner->devices, &n) : NULL;
	owner->host.devices = owner->devices;
	for (guint i = 0; i < n; i++)
		owner->check(owner, names[i], devices_get(owner->devices, names[i]));
	g_clear_pointer(&owner->devices, g_hash_table_unref);
	g_clear_pointer(&owner->given, g_hash_table_unref);
	g_clear_pointer(&owner->where, g_free);
	g_clear_pointer(&owner->device, g_free);
}

static void begin_owner(Owner *owner, Rows *row)
{
	owner->where = g_strdup(rows_text(row, 0));
	owner->ran = rows_int(row, 2) != 0;
	owner->host = (DeviceHost){ .type = rows_int(row, 1) ? "virtual-machine" : "container" };
	owner->devices = devices_new();
	owner->given = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
}

static void begin_device(Owner *owner, const char *name, int64_t order, int type)
{
	g_autoptr(Config) config = config_new();
	config_set(config, "type", device_type_from_number(type));
	devices_set(owner->devices, name, config);
	if (order != OWN)
		g_hash_table_add(owner->given, g_strdup(name));
	else
		g_hash_table_remove(owner->given, name);
	g_free(owner->device);
	owner->device = g_strdup(name);
	owner->order = order;
	if (type != 0 && strcmp(config_get(config, "type"), "none") == 0) {
		g_autofree char *where = where_of(owner, name);
		findings_add(owner->m->findings, FINDING_REFUSED, "devices", where,
		    "There is no device type %d", type);
	}
}

/* A path of the host's as it is found now: not as LXD's snap sees it, and where LXD's own directory
 * is. */
static void set_value(const Owner *owner, const char *key, const char *value)
{
	g_autofree char *path = strcmp(key, "source") == 0 ? rows_host_path(value) : NULL;
	if (!path && *value == '/')
		path = source_path(&owner->m->source, value);
	config_set(devices_get(owner->devices, owner->device), key, path ? path : value);
}

static int take_row(Rows *row, void *data, Error **err)
{
	Owner *owner = data;
	const char *device = rows_text(row, 4);
	int64_t order = rows_int(row, 3);
	if (g_strcmp0(owner->where, rows_text(row, 0)) != 0) {
		end_owner(owner);
		begin_owner(owner, row);
	}
	if (g_strcmp0(owner->device, device) != 0 || owner->order != order)
		begin_device(owner, device, order, (int)rows_int(row, 5));
	if (!rows_null(row, 6) && !key_removed(KEY_DEVICE, rows_text(row, 6)))
		set_value(owner, rows_text(row, 6), rows_null(row, 7) ? "" : rows_text(row, 7));
	return 0;
}

int check_devices(Migration *m, Error **err)
{
	static const struct {
		const char *sql;
		void (*check)(const Owner *owner, const char *name, const Config *config);
	} kinds[] = { { profiles_sql, check_of_profile }, { instances_sql, check_of_instance },
		{ snapshots_sql, check_of_snapshot } };
	int result = 0;
	for (size_t i = 0; i < G_N_ELEMENTS(kinds) && result == 0; i++) {
		Owner owner = { .m = m, .check = kinds[i].check };
		result = lxd_database_each(m->lxd, kinds[i].sql, take_row, &owner, err);
		end_owner(&owner);
	}
	return result;
}
