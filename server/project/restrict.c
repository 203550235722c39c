/* What restricted.* of a project lets through: keys and devices of an instance or a profile. */
#include "server/key/raw_idmap.h"
#include "server/project/content.h"

#include <string.h>

static const char *value_or(const Config *config, const char *key, const char *fallback)
{
	const char *value = config_get(config, key);
	return value ? value : fallback;
}

typedef enum GuardValue {
	GUARD_ANY, /* whatever the value */
	GUARD_TRUE,
	GUARD_FALSE,
	GUARD_NOT_FALSE,
} GuardValue;

/* A key that is refused unless the project's key says "allow", or "full". */
typedef struct Guard {
	const char
	    *key; /* of instances; a trailing '*' matches any rest. The first that matches counts */
	GuardValue value; /* refused with these */
	gboolean full;	  /* "allow" is not enough */
	const char *project_key;
} Guard;

#define LOW_LEVEL "restricted.containers.lowlevel"
#define MACHINE_LOW_LEVEL "restricted.virtual-machines.lowlevel"
#define INTERCEPTION "restricted.containers.interception"

static const Guard guards[] = {
    {"boot.host_shutdown_timeout", GUARD_ANY, FALSE, LOW_LEVEL},
    {"limits.memory.swap", GUARD_ANY, FALSE, LOW_LEVEL},
    {"raw.lxc", GUARD_ANY, FALSE, LOW_LEVEL},
    {"raw.seccomp", GUARD_ANY, FALSE, LOW_LEVEL},
    {"raw.apparmor", GUARD_ANY, FALSE, LOW_LEVEL},
    {"linux.kernel_modules*", GUARD_ANY, FALSE, LOW_LEVEL},
    {"linux.sysctl.*", GUARD_ANY, FALSE, LOW_LEVEL},
    {"security.guestapi.images", GUARD_TRUE, FALSE, LOW_LEVEL},
    {"security.idmap.base", GUARD_ANY, FALSE, LOW_LEVEL},
    {"security.idmap.size", GUARD_ANY, FALSE, LOW_LEVEL},
    {"security.nesting", GUARD_TRUE, FALSE, "restricted.containers.nesting"},
    {"security.syscalls.intercept.bpf", GUARD_NOT_FALSE, FALSE, INTERCEPTION},
    {"security.syscalls.intercept.bpf.devices", GUARD_NOT_FALSE, FALSE, INTERCEPTION},
    {"security.syscalls.intercept.mknod", GUARD_NOT_FALSE, FALSE, INTERCEPTION},
    {"security.syscalls.intercept.mount", GUARD_NOT_FALSE, FALSE, INTERCEPTION},
    {"security.syscalls.intercept.mount.fuse", GUARD_ANY, FALSE, INTERCEPTION},
    {"security.syscalls.intercept.sched_setscheduler", GUARD_NOT_FALSE, FALSE, INTERCEPTION},
    {"security.syscalls.intercept.setxattr", GUARD_NOT_FALSE, FALSE, INTERCEPTION},
    {"security.syscalls.intercept.sysinfo", GUARD_NOT_FALSE, FALSE, INTERCEPTION},
    /* The host's file systems, and what nobody has looked at. */
    {"security.syscalls.intercept.*", GUARD_NOT_FALSE, TRUE, INTERCEPTION},
    {"security.syscalls.deny_default", GUARD_FALSE, FALSE, LOW_LEVEL},
    {"security.syscalls.deny_compat", GUARD_FALSE, FALSE, LOW_LEVEL},
    {"security.syscalls.*", GUARD_NOT_FALSE, FALSE, LOW_LEVEL},
    {"limits.memory.hugepages", GUARD_ANY, FALSE, MACHINE_LOW_LEVEL},
    {"raw.qemu*", GUARD_ANY, FALSE, MACHINE_LOW_LEVEL},
};

static gboolean is_false(const char *value)
{
	static const char *const words[] = {"false", "0", "no", "off", ""};
	for (size_t i = 0; i < G_N_ELEMENTS(words); i++)
		if (g_ascii_strcasecmp(value, words[i]) == 0)
			return TRUE;
	return FALSE;
}

static gboolean names_key(const Guard *guard, const char *key)
{
	size_t length = strlen(guard->key);
	return guard->key[length - 1] == '*' ? strncmp(guard->key, key, length - 1) == 0
					     : strcmp(guard->key, key) == 0;
}

static const Guard *guard_of(const char *key)
{
	for (size_t i = 0; i < G_N_ELEMENTS(guards); i++)
		if (names_key(&guards[i], key))
			return &guards[i];
	return NULL;
}

static gboolean guards_value(const Guard *guard, const char *value)
{
	switch (guard->value) {
	case GUARD_TRUE:
	case GUARD_NOT_FALSE: /* what is neither is not harmless */
		return !is_false(value);
	case GUARD_FALSE:
		return is_false(value);
	default:
		return TRUE;
	}
}

static int refuse_key(const Project *project, const char *key, const char *project_key, Error **err)
{
	return error_set(err, ERROR_FORBIDDEN,
	    "Use of low-level config \"%s\" is forbidden in project \"%s\" by \"%s\"", key,
	    project->name, project_key);
}

/* Host ids that the project may map may be mapped even where low-level keys are forbidden. */
static int check_idmap(const Project *project, const char *raw, Error **err)
{
	g_autoptr(GArray) lines = NULL;
	if (strcmp(value_or(project->config, LOW_LEVEL, "block"), "allow") == 0)
		return 0;
	if (raw_idmap_parse(raw, &lines, err) < 0)
		return -1;
	for (guint i = 0; i < lines->len; i++) {
		const RawIdmapLine *line = &g_array_index(lines, RawIdmapLine, i);
		if ((line->uid &&
			!id_list_covers(config_get(project->config, "restricted.idmap.uid"),
			    line->host, line->count)) ||
		    (line->gid &&
			!id_list_covers(config_get(project->config, "restricted.idmap.gid"),
			    line->host, line->count)))
			return refuse_key(project, "raw.idmap", LOW_LEVEL, err);
	}
	return 0;
}

static int check_key(const Project *project, const char *key, const char *value, Error **err)
{
	const Guard *guard = guard_of(key);
	if (strcmp(key, "raw.idmap") == 0)
		return check_idmap(project, value, err);
	if (!guard || !guards_value(guard, value))
		return 0;
	const char *answer = value_or(project->config, guard->project_key, "block");
	if (strcmp(answer, "full") == 0 || (!guard->full && strcmp(answer, "allow") == 0))
		return 0;
	return refuse_key(project, key, guard->project_key, err);
}

static int check_config(const Project *project, const Holder *holder, Error **err)
{
	GHashTableIter iter;
	void *key, *value;
	g_hash_table_iter_init(&iter, holder->config);
	while (g_hash_table_iter_next(&iter, &key, &value))
		if (check_key(project, key, value, err) < 0)
			return -1;
	return 0;
}

/* A profile need not say that its instances are isolated: they are looked at whole. */
static int check_privilege(const Project *project, const Holder *holder, Error **err)
{
	const char *privilege =
	    value_or(project->config, "restricted.containers.privilege", "unprivileged");
	gboolean says = config_get(holder->config, "security.idmap.isolated") != NULL;
	if (holder->machine)
		return 0;
	if (strcmp(privilege, "allow") != 0 && config_true(holder->config, "security.privileged"))
		return error_set(err, ERROR_FORBIDDEN, "Privileged containers are forbidden");
	if (strcmp(privilege, "isolated") == 0 && (says || !holder->is_profile) &&
	    !config_true(holder->config, "security.idmap.isolated"))
		return error_set(err, ERROR_FORBIDDEN, "Non-isolated containers are forbidden");
	return 0;
}

/* The folder of restricted.devices.disk.paths that a canonical path is in; NULL: none. */
static char *folder_of(const char *paths, const char *path)
{
	g_auto(GStrv) folders = g_strsplit(paths, ",", -1);
	for (char **folder = folders; *folder; folder++) {
		g_autofree char *allowed = g_canonicalize_filename(g_strstrip(*folder), "/");
		size_t length = strlen(allowed);
		if (strcmp(allowed, "/") == 0 ||
		    (strncmp(path, allowed, length) == 0 && (path[length] == '/' || !path[length])))
			return g_steal_pointer(&allowed);
	}
	return NULL;
}

static gboolean path_allowed(const Project *project, const char *source)
{
	const char *paths = config_get(project->config, "restricted.devices.disk.paths");
	g_autofree char *canonical = g_canonicalize_filename(source, "/");
	g_autofree char *folder = paths ? folder_of(paths, canonical) : NULL;
	return !paths || folder;
}

int project_disk_folder(
    Daemon *d, const char *project, const char *path, char **ret_folder, Error **err)
{
	g_autoptr(Project) row = NULL;
	*ret_folder = NULL;
	if (project_get(d, project, FALSE, &row, err) < 0)
		return -1;
	const char *paths = config_get(row->config, "restricted.devices.disk.paths");
	if (!restrict_any(row) || !paths)
		return 0;
	*ret_folder = folder_of(paths, path);
	return *ret_folder
		   ? 0
		   : error_set(err, ERROR_FORBIDDEN,
			 "Disk source path \"%s\" is not allowed in project \"%s\"", path, project);
}

static int check_disk(
    const Project *project, const char *name, const Config *device, const char *answer, Error **err)
{
	const char *path = config_get(device, "path"), *pool = config_get(device, "pool");
	const char *source = config_get(device, "source");
	if (pool && !source && g_strcmp0(path, "/") == 0)
		return 0; /* an instance needs its root */
	if (strcmp(answer, "block") == 0)
		return error_set(
		    err, ERROR_FORBIDDEN, "Disk devices are forbidden (device \"%s\")", name);
	if (pool || g_strcmp0(source, "cloud-init:config") == 0 ||
	    g_strcmp0(source, "agent:config") == 0)
		return 0;
	if (strcmp(answer, "allow") != 0)
		return error_set(err, ERROR_FORBIDDEN,
		    "Attaching disks not backed by a pool is forbidden (device \"%s\")", name);
	if (!path_allowed(project, source ? source : ""))
		return error_set(err, ERROR_FORBIDDEN,
		    "Disk source path \"%s\" is not allowed (device \"%s\")", source, name);
	return 0;
}

static gboolean in_list(const char *list, const char *name)
{
	g_auto(GStrv) allowed = g_strsplit(list, ",", -1);
	for (char **one = allowed; *one; one++)
		if (strcmp(g_strstrip(*one), name) == 0)
			return TRUE;
	return FALSE;
}

gboolean project_allows_network(const Project *project, const char *network, gboolean managed)
{
	const char *answer = value_or(project->config, "restricted.devices.nic", "managed");
	const char *access = config_get(project->config, "restricted.networks.access");
	if (!config_true(project->config, "restricted"))
		return TRUE;
	if (strcmp(answer, "block") == 0 || (!managed && strcmp(answer, "allow") != 0))
		return FALSE;
	return !access || in_list(access, network);
}

static int check_nic(
    const Project *project, const char *name, const Config *device, const char *answer, Error **err)
{
	const char *network = config_get(device, "network"), *parent = config_get(device, "parent");
	const char *used = network ? network : parent;
	if (strcmp(answer, "block") == 0)
		return error_set(
		    err, ERROR_FORBIDDEN, "Network devices are forbidden (device \"%s\")", name);
	if (strcmp(answer, "allow") != 0 && !network)
		return error_set(err, ERROR_FORBIDDEN,
		    "Only managed network devices are allowed (device \"%s\")", name);
	if (used && !project_allows_network(project, used, network != NULL))
		return error_set(err, ERROR_FORBIDDEN,
		    "Network \"%s\" is not allowed in project \"%s\" (device \"%s\")", used,
		    project->name, name);
	return 0;
}

static int check_device(const Project *project, const char *name, const Config *device, Error **err)
{
	const char *type = value_or(device, "type", "none");
	g_autofree char *key = g_strconcat("restricted.devices.", type, NULL);
	gboolean managed = strcmp(type, "disk") == 0 || strcmp(type, "nic") == 0;
	const char *answer = value_or(project->config, key, managed ? "managed" : "block");
	if (strcmp(type, "none") == 0 ||
	    strcmp(type, "tpm") == 0) /* an emulated one reaches nothing of the host */
		return 0;
	if (strcmp(type, "disk") == 0)
		return check_disk(project, name, device, answer, err);
	if (strcmp(type, "nic") == 0)
		return check_nic(project, name, device, answer, err);
	if (strcmp(answer, "allow") != 0)
		return error_set(err, ERROR_FORBIDDEN,
		    "Devices of type \"%s\" are forbidden (device \"%s\")", type, name);
	return 0;
}

gboolean restrict_any(const Project *project)
{
	return config_true(project->config, "restricted");
}

static int check_all(const Project *project, const Holder *holder, Error **err)
{
	GHashTableIter iter;
	void *name, *device;
	if (check_config(project, holder, err) < 0 || check_privilege(project, holder, err) < 0)
		return -1;
	g_hash_table_iter_init(&iter, holder->devices);
	while (g_hash_table_iter_next(&iter, &name, &device))
		if (check_device(project, name, device, err) < 0)
			return -1;
	return 0;
}

int restrict_check(const Project *project, const Holder *holder, Error **err)
{
	if (!restrict_any(project) || check_all(project, holder, err) == 0)
		return 0;
	return error_prefix(
	    err, "%s \"%s\"", holder->is_profile ? "Profile" : "Instance", holder->name);
}
