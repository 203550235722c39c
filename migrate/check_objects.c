/* Instances and networks as wholes: keys that the server takes one by one need not fit each other,
 * and not all that Incus has is built into it. */
#include "migrate/check.h"
#include "migrate/links.h"
#include "server/helper/hypervisor.h"
#include "server/instance/instance.h"
#include "server/key/key.h"
#include "server/network/bridge_config.h"
#include "server/network/network.h"
#include <string.h>
#include <sys/stat.h>

/* Rows of an object follow each other, one for each of its keys: what it is (for people), its name
 * on disk, the number of its type, key, value, and whether something that ran has it. */
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

#define RAN "c.key = 'volatile.last_state.power' AND c.value = 'RUNNING'"

/* What ran is to run in the end: that is known before anything is moved. */
void check_starts(Migration *m, gboolean ran, const char *check, const char *where, const char *why)
{
	const char *who = g_str_has_prefix(where, "profile ") ? "what has it" : "it";
	if (ran)
		findings_add(m->findings, FINDING_REFUSED, check, where,
		    "%s: %s runs now and would not start (change that, or stop the instance)", why,
		    who);
	else
		findings_add(m->findings, FINDING_NOTE, check, where,
		    "%s: %s does not start until that is changed", why, who);
}

/* ---- instances ---- */

/* With what their profiles give them, in the order in which one setting takes another's place. */
static const char instances_sql[] =
    "SELECT 'instance \"' || j.name || '/' || i.name || '\"',"
    " CASE j.name WHEN 'default' THEN '' ELSE j.name || '_' END || i.name, i.type, k.key, k.value,"
    " EXISTS (SELECT 1 FROM instances_config c WHERE c.instance_id = i.id AND " RAN
    ") FROM instances i JOIN projects j ON j.id = i.project_id LEFT JOIN"
    " (SELECT u.instance_id, u.apply_order AS n, p.key, p.value FROM instances_profiles u"
    " JOIN profiles_config p ON p.profile_id = u.profile_id"
    " UNION ALL SELECT instance_id, 1000000, key, value FROM instances_config) k"
    " ON k.instance_id = i.id ORDER BY 1, k.n";

/* What the firmware keeps for a machine is of use to that firmware alone. Where the pool is on
 * a device it cannot be seen yet. */
static void check_variables(const Objects *machine)
{
	struct stat st;
	g_autofree char *link = g_build_filename(
	    machine->m->source.directory, "virtual-machines", machine->name, NULL);
	g_autofree char *folder = links_source(machine->m, link);
	g_autofree char *path = folder ? g_build_filename(folder, "qemu.nvram", NULL) : NULL;
	if (path && stat(path, &st) == 0 && !instance_variables_fit(machine->config, st.st_size))
		findings_add(machine->m->findings, FINDING_NOTE, "instances", machine->where,
		    "Its firmware's variables (boot entries, Secure Boot keys) are of a firmware "
		    "that is not installed here: it starts with new ones");
}

static void check_instance(const Objects *instance)
{
	g_autoptr(Error) error = NULL;
	gboolean known = instance->type == INSTANCE_CONTAINER || instance->type == INSTANCE_MACHINE;
	if (known &&
	    instance_config_check((InstanceType)instance->type, instance->config, &error) < 0)
		check_starts(
		    instance->m, instance->ran, "instances", instance->where, error->message);
	if (instance->type == INSTANCE_MACHINE)
		check_variables(instance);
}

/* Programs that all virtual machines need: told once. */
static int take_machines(Rows *row, void *data, Error **err)
{
	Migration *m = data;
	gboolean fits;
	const char *code, *variables;
	g_autoptr(Error) error = NULL;
	if (rows_int(row, 0) > 0 &&
	    (hypervisor_check(&error) < 0 ||
		hypervisor_firmware(FIRMWARE_PLAIN, 0, &code, &variables, &fits, &error) < 0))
		check_starts(
		    m, rows_int(row, 1) > 0, "instances", "virtual machines", error->message);
	return 0;
}

static const char machines_sql[] =
    "SELECT count(*), coalesce(sum(EXISTS (SELECT 1 FROM instances_config c WHERE c.instance_id = i.id AND " RAN
    ")), 0) FROM instances i WHERE i.type = 1";

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
	Objects instances = { .m = m, .scope = KEY_INSTANCE, .check = check_instance };
	Objects networks = { .m = m, .scope = KEY_NETWORK, .check = check_network };
	g_autofree char *sql = networks_sql(m->lxd);
	return check_devices(m, err) < 0 || check_each(&instances, instances_sql, err) < 0 ||
		lxd_database_each(m->lxd, machines_sql, take_machines, m, err) < 0 ||
		check_each(&networks, sql, err) < 0 ?
	    -1 :
	    0;
}
