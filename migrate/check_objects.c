/* Instances, devices and networks as wholes: keys that the server takes one by one need not fit
 * each other, and not all that Incus has is built into it. */
#include "migrate/check.h"
#include "server/device/device.h"
#include "server/instance/instance.h"
#include "server/key/device_type.h"
#include "server/key/key.h"
#include "server/network/bridge_config.h"
#include "server/network/network.h"
#include <string.h>

/* Rows of an object follow each other, one for each of its keys: what it is (for people), its name,
 * the number of its type, key, value, and whether something that ran has it. */
typedef struct Objects Objects;
struct Objects {
	Migration *m;
	KeyScope scope;
	void (*check)(const Objects *object);
	/* The object whose rows come: */
	char *where, *name;
	int type;
	gboolean ran;
	Config *config; /* NULL: none yet */
};

static void end_object(Objects *objects)
{
	if (objects->config)
		objects->check(objects);
	g_clear_pointer(&objects->config, g_hash_table_unref);
	g_clear_pointer(&objects->where, g_free);
	g_clear_pointer(&objects->name, g_free);
}

static int take_row(Rows *row, void *data, Error **err)
{
	Objects *objects = data;
	if (g_strcmp0(objects->where, rows_text(row, 0)) != 0) {
		end_object(objects);
		objects->where = g_strdup(rows_text(row, 0));
		objects->name = g_strdup(rows_text(row, 1));
		objects->type = (int)rows_int(row, 2);
		objects->ran = rows_int(row, 5) != 0;
		objects->config = config_new();
	}
	if (!rows_null(row, 3) && !key_removed(objects->scope, rows_text(row, 3)))
		config_set(objects->config, rows_text(row, 3), rows_text(row, 4));
	return 0;
}

static int check_each(Objects *objects, const char *sql, Error **err)
{
	int result = lxd_database_each(objects->m->lxd, sql, take_row, objects, err);
	end_object(objects);
	return result;
}

/* ---- devices ---- */

#define RAN "c.key = 'volatile.last_state.power' AND c.value = 'RUNNING'"

static const char devices_sql[] =
    "SELECT 'instance \"' || j.name || '/' || i.name || '\", device \"' || d.name || '\"', d.name, d.type,"
    " k.key, k.value, EXISTS (SELECT 1 FROM instances_config c WHERE c.instance_id = i.id AND " RAN
    ") FROM instances_devices d"
    " JOIN instances i ON i.id = d.instance_id JOIN projects j ON j.id = i.project_id"
    " LEFT JOIN instances_devices_config k ON k.instance_device_id = d.id"
    " UNION ALL SELECT 'profile \"' || j.name || '/' || p.name || '\", device \"' || d.name || '\"', d.name,"
    " d.type, k.key, k.value, EXISTS (SELECT 1 FROM instances_profiles u JOIN instances_config c"
    " ON c.instance_id = u.instance_id WHERE u.profile_id = p.id AND " RAN
    ") FROM profiles_devices d"
    " JOIN profiles p ON p.id = d.profile_id JOIN projects j ON j.id = p.project_id"
    " LEFT JOIN profiles_devices_config k ON k.profile_device_id = d.id ORDER BY 1";

/* What ran is to run in the end: that is known before anything is moved. */
static void does_not_start(const Objects *object, const char *check, const char *why)
{
	if (object->ran)
		findings_add(object->m->findings, FINDING_REFUSED, check, object->where,
		    "%s: what has it runs now, and would not start (change it, or stop the instance)",
		    why);
	else
		findings_add(object->m->findings, FINDING_NOTE, check, object->where,
		    "%s: what has it does not start", why);
}

static void check_device(const Objects *device)
{
	g_autoptr(Error) error = NULL;
	Findings *findings = device->m->findings;
	const char *type = device_type_from_number(device->type);
	config_set(device->config, "type", type);
	if (device->type != 0 && strcmp(type, "none") == 0)
		findings_add(findings, FINDING_REFUSED, "devices", device->where,
		    "There is no device type %d", device->type);
	/* It is taken over all the same: the next version may have it. */
	else if (device_validate(NULL, device->name, device->config, &error) < 0)
		does_not_start(device, "devices", error->message);
}

/* ---- instances ---- */

/* With what their profiles give them, in the order in which one setting takes another's place. */
static const char instances_sql[] =
    "SELECT 'instance \"' || j.name || '/' || i.name || '\"', i.name, i.type, k.key, k.value,"
    " EXISTS (SELECT 1 FROM instances_config c WHERE c.instance_id = i.id AND " RAN
    ") FROM instances i JOIN projects j ON j.id = i.project_id LEFT JOIN"
    " (SELECT u.instance_id, u.apply_order AS n, p.key, p.value FROM instances_profiles u"
    " JOIN profiles_config p ON p.profile_id = u.profile_id"
    " UNION ALL SELECT instance_id, 1000000, key, value FROM instances_config) k"
    " ON k.instance_id = i.id ORDER BY 1, k.n";

static void check_instance(const Objects *instance)
{
	g_autoptr(Error) error = NULL;
	gboolean known = instance->type == INSTANCE_CONTAINER || instance->type == INSTANCE_MACHINE;
	if (known &&
	    instance_config_check((InstanceType)instance->type, instance->config, &error) < 0)
		does_not_start(instance, "instances", error->message);
}

/* ---- networks ---- */

/* Networks had no projects and no types once. */
static char *networks_sql(const LxdDatabase *lxd)
{
	return g_strdup_printf(
	    "SELECT 'network \"' || %s || n.name || '\"', n.name, %s, c.key, c.value, 0"
	    " FROM networks n LEFT JOIN networks_config c ON c.network_id = n.id"
	    " ORDER BY 1",
	    lxd->schema < 34 ? "'default/'" :
			       "(SELECT j.name || '/' FROM projects j WHERE j.id = n.project_id)",
	    lxd->schema < 33 ? "0" : "n.type");
}

/* A network that does not come up takes instances from their networks without a word. */
static void check_network(const Objects *network)
{
	Error *error = NULL;
	if (network_type_check(network_type_name(network->type), &error) < 0 ||
	    bridge_config_check(network->config, &error) < 0)
		findings_add_error(
		    network->m->findings, FINDING_REFUSED, "networks", network->where, error);
}

int check_objects(Migration *m, Error **err)
{
	Objects devices = { .m = m, .scope = KEY_DEVICE, .check = check_device };
	Objects instances = { .m = m, .scope = KEY_INSTANCE, .check = check_instance };
	Objects networks = { .m = m, .scope = KEY_NETWORK, .check = check_network };
	g_autofree char *sql = networks_sql(m->lxd);
	return check_each(&devices, devices_sql, err) < 0 ||
		check_each(&instances, instances_sql, err) < 0 ||
		check_each(&networks, sql, err) < 0 ?
	    -1 :
	    0;
}
