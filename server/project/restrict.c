/* What limits.* and restricted.* of a project let through: project_allow_instance and _profile. */
#include "server/project/project.h"

#include "sdk/base/units.h"

#include <string.h>

static const char *value_or(const Config *config, const char *key, const char *fallback)
{
	const char *value = config_get(config, key);
	return value ? value : fallback;
}

/* A key that is refused unless the project's key says "allow". */
typedef struct Guard {
	const char *key;       /* of instances; a trailing '*' matches any rest */
	const char *only;      /* refused only with this value; NULL: any value */
	const char *project_key;
} Guard;

static const Guard guards[] = {
	{"raw.lxc", NULL, "restricted.containers.lowlevel"},
	{"raw.seccomp", NULL, "restricted.containers.lowlevel"},
	{"raw.apparmor", NULL, "restricted.containers.lowlevel"},
	{"linux.kernel_modules", NULL, "restricted.containers.lowlevel"},
	{"linux.sysctl.*", NULL, "restricted.containers.lowlevel"},
	{"security.guestapi.images", "true", "restricted.containers.lowlevel"},
	{"security.idmap.base", NULL, "restricted.containers.lowlevel"},
	{"security.idmap.size", NULL, "restricted.containers.lowlevel"},
	{"security.syscalls.allow", NULL, "restricted.containers.lowlevel"},
	{"security.syscalls.deny", NULL, "restricted.containers.lowlevel"},
	{"security.syscalls.deny_default", "false", "restricted.containers.lowlevel"},
	{"security.nesting", "true", "restricted.containers.nesting"},
	{"security.syscalls.intercept.*", NULL, "restricted.containers.interception"},
	{"raw.qemu", NULL, "restricted.virtual-machines.lowlevel"},
	{"raw.qemu.conf", NULL, "restricted.virtual-machines.lowlevel"},
};

static gboolean guard_matches(const Guard *guard, const char *key, const char *value)
{
	size_t length = strlen(guard->key);
	gboolean named = guard->key[length - 1] == '*' ? strncmp(guard->key, key, length - 1) == 0
							 : strcmp(guard->key, key) == 0;
	return named && (!guard->only || g_ascii_strcasecmp(guard->only, value) == 0);
}

static int check_config(const Project *project, const Config *config, Error **err)
{
	GHashTableIter iter;
	void *key, *value;
	g_hash_table_iter_init(&iter, (GHashTable *)config);
	while (g_hash_table_iter_next(&iter, &key, &value))
		for (size_t i = 0; i < G_N_ELEMENTS(guards); i++) {
			const Guard *guard = &guards[i];
			const char *answer = value_or(project->config, guard->project_key, "block");
			if (guard_matches(guard, key, value) && strcmp(answer, "allow") != 0 && strcmp(answer, "full") != 0)
				return error_set(err, ERROR_FORBIDDEN, "Use of \"%s\" is forbidden in this project: \"%s\" is \"%s\"",
				    (const char *)key, guard->project_key, answer);
		}
	if (config_get(config, "raw.idmap") && !config_get(project->config, "restricted.idmap.uid") &&
	    !config_get(project->config, "restricted.idmap.gid"))
		return error_set(err, ERROR_FORBIDDEN, "Use of \"raw.idmap\" is forbidden in this project");
	return 0;
}

static int check_privilege(const Project *project, const Config *config, Error **err)
{
	const char *privilege = value_or(project->config, "restricted.containers.privilege", "unprivileged");
	if (strcmp(privilege, "allow") != 0 && config_true(config, "security.privileged"))
		return error_set(err, ERROR_FORBIDDEN, "Privileged containers are forbidden");
	if (strcmp(privilege, "isolated") == 0 && !config_true(config, "security.idmap.isolated"))
		return error_set(err, ERROR_FORBIDDEN, "Non-isolated containers are forbidden");
	return 0;
}

static gboolean path_allowed(const Project *project, const char *source)
{
	const char *paths = config_get(project->config, "restricted.devices.disk.paths");
	g_autofree char *canonical = g_canonicalize_filename(source, "/");
	g_auto(GStrv) prefixes = g_strsplit(paths ? paths : "", ",", -1);
	if (!paths || !*paths)
		return TRUE;
	for (char **prefix = prefixes; *prefix; prefix++) {
		g_autofree char *allowed = g_canonicalize_filename(g_strstrip(*prefix), "/");
		size_t length = strlen(allowed);
		if (strcmp(allowed, "/") == 0 ||
		    (strncmp(canonical, allowed, length) == 0 && (canonical[length] == '/' || !canonical[length])))
			return TRUE;
	}
	return FALSE;
}

static int check_disk(const Project *project, const char *name, const Config *device, const char *answer, Error **err)
{
	const char *path = config_get(device, "path"), *pool = config_get(device, "pool");
	const char *source = config_get(device, "source");
	if (path && strcmp(path, "/") == 0 && !source)
		return 0; /* an instance needs its root */
	if (strcmp(answer, "block") == 0)
		return error_set(err, ERROR_FORBIDDEN, "Disk devices are forbidden (device \"%s\")", name);
	if (strcmp(answer, "managed") == 0 && !pool)
		return error_set(err, ERROR_FORBIDDEN, "Attaching disks not backed by a pool is forbidden (device \"%s\")", name);
	if (!pool && source && !path_allowed(project, source))
		return error_set(err, ERROR_FORBIDDEN, "Disk source path \"%s\" is not allowed (device \"%s\")", source, name);
	return 0;
}

static int check_nic(const Project *project, const char *name, const Config *device, const char *answer, Error **err)
{
	const char *network = config_get(device, "network");
	const char *access = config_get(project->config, "restricted.networks.access");
	if (strcmp(answer, "block") == 0)
		return error_set(err, ERROR_FORBIDDEN, "Network devices are forbidden (device \"%s\")", name);
	if (strcmp(answer, "managed") == 0 && !network)
		return error_set(err, ERROR_FORBIDDEN, "Only managed network devices are allowed (device \"%s\")", name);
	if (network && access && *access) {
		g_auto(GStrv) allowed = g_strsplit(access, ",", -1);
		for (char **one = allowed; *one; one++)
			if (strcmp(g_strstrip(*one), network) == 0)
				return 0;
		return error_set(err, ERROR_FORBIDDEN, "Network \"%s\" is not allowed in this project (device \"%s\")", network, name);
	}
	return 0;
}

static int check_device(const Project *project, const char *name, const Config *device, Error **err)
{
	const char *type = value_or(device, "type", "none");
	g_autofree char *key = g_strconcat("restricted.devices.", type, NULL);
	gboolean managed = strcmp(type, "disk") == 0 || strcmp(type, "nic") == 0;
	const char *answer = value_or(project->config, key, managed ? "managed" : "block");
	if (strcmp(type, "none") == 0)
		return 0;
	if (strcmp(type, "disk") == 0)
		return check_disk(project, name, device, answer, err);
	if (strcmp(type, "nic") == 0)
		return check_nic(project, name, device, answer, err);
	if (strcmp(answer, "allow") != 0)
		return error_set(err, ERROR_FORBIDDEN, "Devices of type \"%s\" are forbidden (device \"%s\")", type, name);
	return 0;
}

static int check_restricted(const Project *project, const Config *config, const Devices *devices, Error **err)
{
	GHashTableIter iter;
	void *name, *device;
	if (!config_true(project->config, "restricted"))
		return 0;
	if (check_config(project, config, err) < 0)
		return -1;
	g_hash_table_iter_init(&iter, (GHashTable *)devices);
	while (g_hash_table_iter_next(&iter, &name, &device))
		if (check_device(project, name, device, err) < 0)
			return -1;
	return 0;
}

typedef struct InstanceCount {
	int64_t project, containers, machines;
} InstanceCount;

static int count_instances(Tx *tx, void *data, Error **err)
{
	InstanceCount *count = data;
	static const char sql[] = "SELECT COUNT(*) FROM instances WHERE project_id = ? AND type = ?";
	if (tx_int(tx, &count->containers, err, sql, "ii", count->project, (int64_t)0) < 0)
		return -1;
	return tx_int(tx, &count->machines, err, sql, "ii", count->project, (int64_t)1);
}

static int check_limit(const Project *project, const char *key, int64_t used, Error **err)
{
	const char *text = config_get(project->config, key);
	int64_t limit;
	if (!text || units_parse_int(text, 0, G_MAXINT64, &limit, NULL) < 0 || used < limit)
		return 0;
	return error_set(err, ERROR_FORBIDDEN, "Reached maximum number of instances of \"%s\" in project \"%s\"", key,
	    project->name);
}

int project_allow_instance(Daemon *d, const char *project_name, const char *type, gboolean creating,
    const Config *expanded_config, const Devices *expanded_devices, Error **err)
{
	g_autoptr(Project) project = NULL;
	gboolean container = strcmp(type, "container") == 0;
	if (project_get(d, project_name, FALSE, &project, err) < 0)
		return -1;
	if (creating) {
		InstanceCount count = {.project = project->id};
		if (db_read(d->db, count_instances, &count, err) < 0 ||
		    check_limit(project, "limits.instances", count.containers + count.machines, err) < 0 ||
		    check_limit(project, container ? "limits.containers" : "limits.virtual-machines",
			container ? count.containers : count.machines, err) < 0)
			return -1;
	}
	if (check_restricted(project, expanded_config, expanded_devices, err) < 0)
		return -1;
	return container && config_true(project->config, "restricted") ? check_privilege(project, expanded_config, err) : 0;
}

int project_allow_snapshot(Daemon *d, const char *project_name, Error **err)
{
	g_autoptr(Project) project = NULL;
	if (project_get(d, project_name, FALSE, &project, err) < 0)
		return -1;
	if (config_true(project->config, "restricted") &&
	    strcmp(value_or(project->config, "restricted.snapshots", "block"), "allow") != 0)
		return error_set(err, ERROR_FORBIDDEN, "Project \"%s\" doesn't allow for snapshot creation", project_name);
	return 0;
}

int project_allow_profile(Daemon *d, const char *project_name, const Config *config, const Devices *devices, Error **err)
{
	g_autoptr(Project) project = NULL;
	if (project_get(d, project_name, FALSE, &project, err) < 0)
		return -1;
	if (config_true(project->config, "restricted") && config_true(config, "security.privileged") &&
	    strcmp(value_or(project->config, "restricted.containers.privilege", "unprivileged"), "allow") != 0)
		return error_set(err, ERROR_FORBIDDEN, "Privileged containers are forbidden");
	return check_restricted(project, config, devices, err);
}
