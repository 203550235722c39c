#include "server/key/key.h"

#include "sdk/base/names.h"
#include "sdk/base/units.h"
#include "server/key/table.h"

#include <string.h>

static const Key *const tables[KEY_SCOPES] = {
	[KEY_SERVER] = key_rows_server,
	[KEY_INSTANCE] = key_rows_instance,
	[KEY_PROJECT] = key_rows_project,
	[KEY_POOL] = key_rows_pool,
	[KEY_VOLUME] = key_rows_volume,
	[KEY_BUCKET] = key_rows_bucket,
	[KEY_NETWORK] = key_rows_network,
	[KEY_DEVICE] = key_rows_device,
	[KEY_ACL] = key_rows_acl,
	[KEY_FORWARD] = key_rows_forward,
	[KEY_LOAD_BALANCER] = key_rows_load_balancer,
	[KEY_PEER] = key_rows_peer,
	[KEY_ZONE] = key_rows_zone,
	[KEY_ZONE_RECORD] = key_rows_zone_record,
	[KEY_MEMBER] = key_rows_member,
};

/* What older or other systems knew. Names that end in '.' stand for all that begin so. */
static const KeyRemoved removed[] = {
	{ KEY_SERVER, "core.trust_password",
	    "clients are added with one-time tokens: \"incus config trust add\"", NULL },
	{ KEY_SERVER, "candid.", "use OpenID Connect (oidc.issuer, oidc.client.id)", NULL },
	{ KEY_SERVER, "rbac.", "restrict client certificates to projects instead", NULL },
	{ KEY_SERVER, "maas.", "addresses are managed by the networks themselves", NULL },
	{ KEY_INSTANCE, "maas.", "addresses are managed by the networks themselves", NULL },
	{ KEY_NETWORK, "maas.", "addresses are managed by the networks themselves", NULL },
	{ KEY_DEVICE, "maas.", "addresses are managed by the networks themselves", NULL },
	{ KEY_NETWORK, "fan.", "use a tunnel (tunnel.NAME.protocol=vxlan) or an OVN network",
	    NULL },
	{ KEY_NETWORK, "bridge.mode",
	    "every bridge is a standard one; use a tunnel or an OVN network instead of fan", NULL },
	{ KEY_INSTANCE, "security.devlxd", "the key is called security.guestapi",
	    "security.guestapi" },
	{ KEY_INSTANCE, "security.devlxd.images", "the key is called security.guestapi.images",
	    "security.guestapi.images" },
	{ KEY_INSTANCE, "volatile.vm.uuid", "the key is called volatile.uuid", "volatile.uuid" },
	{ KEY_INSTANCE, "security.syscalls.blacklist", "the key is called security.syscalls.deny",
	    "security.syscalls.deny" },
	{ KEY_INSTANCE, "security.syscalls.blacklist_default",
	    "the key is called security.syscalls.deny_default", "security.syscalls.deny_default" },
	{ KEY_INSTANCE, "security.syscalls.blacklist_compat",
	    "the key is called security.syscalls.deny_compat", "security.syscalls.deny_compat" },
	{ KEY_INSTANCE, "security.syscalls.whitelist", "the key is called security.syscalls.allow",
	    "security.syscalls.allow" },
	{ KEY_NETWORK, "volatile.bridge.hwaddr", "the key is called bridge.hwaddr", NULL },
	{ KEY_INSTANCE, "limits.network.priority",
	    "it needs a control group that hosts no longer have; use limits.priority of the nic",
	    NULL },
	{ KEY_INSTANCE, "boot.debug_edk2", "firmware is not debugged through a key", NULL },
	{ KEY_SERVER, "core.shiftfs", "idmapped mounts are used where the kernel has them", NULL },
	{ KEY_INSTANCE, "security.shiftfs", "idmapped mounts are used where the kernel has them",
	    NULL },
	{ KEY_POOL, "volume.lvm.shiftfs", "idmapped mounts are used where the kernel has them",
	    NULL },
};

const Key *key_table(KeyScope scope)
{
	return tables[scope];
}

static gboolean in_list(const char *list, const char *word)
{
	size_t length = strlen(word);
	for (const char *at = list; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
		if (strncmp(at, word, length) == 0 && (at[length] == ',' || !at[length]))
			return TRUE;
	return FALSE;
}

static gboolean kind_matches(KeyScope scope, const Key *row, const char *kind)
{
	if (!kind)
		return TRUE;
	if (scope == KEY_INSTANCE)
		return !(row->flags & (KEY_CONTAINER | KEY_MACHINE)) ||
		    (row->flags & (strcmp(kind, "container") == 0 ? KEY_CONTAINER : KEY_MACHINE));
	return !row->kinds || in_list(row->kinds, kind);
}

/* "user.*" any rest that is not empty; "volatile.<name>.hwaddr", "tunnel.NAME.id": anything in the
 * middle (names of devices may hold dots). */
static gboolean pattern_matches(const char *pattern, const char *name)
{
	size_t length = strlen(pattern), named = strlen(name);
	const char *hole = strstr(pattern, "<name>");
	size_t hole_length = strlen("<name>");
	if (pattern[length - 1] == '*')
		return named >= length && strncmp(pattern, name, length - 1) == 0;
	if (!hole) {
		hole = strstr(pattern, "NAME");
		hole_length = strlen("NAME");
	}
	if (!hole)
		return FALSE;
	size_t before = (size_t)(hole - pattern), after = length - before - hole_length;
	return named > before + after && strncmp(pattern, name, before) == 0 &&
	    strcmp(name + named - after, hole + hole_length) == 0;
}

const Key *key_find(KeyScope scope, const char *kind, const char *name)
{
	for (const Key *row = tables[scope]; row->name; row++)
		if (strcmp(row->name, name) == 0 && kind_matches(scope, row, kind))
			return row;
	for (const Key *row = tables[scope]; row->name; row++)
		if (pattern_matches(row->name, name) && kind_matches(scope, row, kind))
			return row;
	return NULL;
}

const KeyRemoved *key_removed(KeyScope scope, const char *name)
{
	for (size_t i = 0; i < G_N_ELEMENTS(removed); i++) {
		size_t length = strlen(removed[i].name);
		gboolean all = removed[i].name[length - 1] == '.';
		if (removed[i].scope == scope &&
		    (all ? strncmp(removed[i].name, name, length) : strcmp(removed[i].name, name)) == 0)
			return &removed[i];
	}
	return NULL;
}

static int unknown(KeyScope scope, const char *name, Error **err)
{
	const KeyRemoved *gone = key_removed(scope, name);
	if (gone)
		return error_set(err, ERROR_INVALID, "Configuration key \"%s\" is no longer supported: %s", name,
		    gone->instead);
	return error_set(err, ERROR_INVALID, "Unknown configuration key: %s", name);
}

static gboolean is_bool(const char *value)
{
	static const char *const words[] = {"true", "1", "yes", "on", "false", "0", "no", "off"};
	for (size_t i = 0; i < G_N_ELEMENTS(words); i++)
		if (g_ascii_strcasecmp(words[i], value) == 0)
			return TRUE;
	return FALSE;
}

static int check_type(const Key *row, const char *value, Error **err)
{
	int64_t number;
	switch (row->type) {
	case KEY_BOOL:
		return is_bool(value) ? 0 : error_set(err, ERROR_INVALID, "Invalid value for a boolean \"%s\"", value);
	case KEY_INT:
		return units_parse_int(value, row->minimum || row->maximum ? row->minimum : INT64_MIN,
		    row->minimum || row->maximum ? row->maximum : INT64_MAX, &number, err);
	case KEY_SIZE:
		return units_parse_bytes(value, &number, err);
	case KEY_BITRATE:
		return units_parse_bits(value, &number, err);
	case KEY_STRING:
	case KEY_BLOB:
		break;
	}
	return 0;
}

static int check_value(const Key *row, const char *value, Error **err)
{
	if ((row->flags & KEY_TEXT) ? name_check_text(value, err) : name_check_line(value, err))
		return -1;
	if (check_type(row, value, err) < 0)
		return -1;
	if (row->choices && !in_list(row->choices, value))
		return error_set(err, ERROR_INVALID, "Invalid value \"%s\" (not one of [%s])", value, row->choices);
	return row->check ? row->check(value, err) : 0;
}

int key_check(KeyScope scope, const char *kind, const char *name, const char *value, Error **err)
{
	const Key *row = key_find(scope, kind, name);
	if (!row)
		return unknown(scope, name, err);
	if (name_check_config_key(name, err) < 0)
		return -1;
	/* "volume.size" of a pool is checked as the volume's "size". */
	if (scope == KEY_POOL && strcmp(row->name, "volume.*") == 0)
		return key_check(KEY_VOLUME, kind, name + strlen("volume."), value, err);
	if (!value || !*value)
		return 0;
	if (check_value(row, value, err) < 0)
		return error_prefix(err, "Invalid value for configuration key \"%s\"", name);
	return 0;
}

int key_check_all(KeyScope scope, const char *kind, const Config *config, Error **err)
{
	guint n;
	g_autofree const char **keys = config_sorted_keys(config, &n);
	for (guint i = 0; i < n; i++)
		if (key_check(scope, kind, keys[i], config_get(config, keys[i]), err) < 0)
			return -1;
	return 0;
}

static gboolean any_set(const Config *config, const char *const *keys)
{
	for (; *keys; keys++)
		if (config_get(config, *keys))
			return TRUE;
	return FALSE;
}

/* What keys demand of each other. */
static int check_together(const Config *config, Error **err)
{
	static const char *const allow[] = {"security.syscalls.allow", "security.syscalls.whitelist", NULL};
	static const char *const deny[] = {"security.syscalls.deny", "security.syscalls.deny_compat",
		"security.syscalls.blacklist", "security.syscalls.blacklist_compat", NULL};
	if (config_get(config, "raw.seccomp") && (any_set(config, allow) || any_set(config, deny)))
		return error_set(err, ERROR_INVALID, "raw.seccomp is mutually exclusive with security.syscalls*");
	if (any_set(config, allow) && any_set(config, deny))
		return error_set(err, ERROR_INVALID, "security.syscalls.allow is mutually exclusive with security.syscalls.deny*");
	if (config_true(config, "nvidia.runtime") && config_true(config, "security.privileged"))
		return error_set(err, ERROR_INVALID, "nvidia.runtime is incompatible with privileged containers");
	if (config_true(config, "security.privileged") && config_true(config, "security.idmap.isolated"))
		return error_set(err, ERROR_INVALID, "security.idmap.isolated needs an unprivileged container");
	return 0;
}

int key_check_instance(const char *type, const Config *config, gboolean expanded, Error **err)
{
	guint n;
	g_autofree const char **keys = config_sorted_keys(config, &n);
	for (guint i = 0; i < n; i++) {
		/* A profile may carry keys of machines into a container: only the local part is strict. */
		if (key_check(KEY_INSTANCE, expanded ? NULL : type, keys[i], config_get(config, keys[i]), err) < 0)
			return -1;
		if (!type && g_str_has_prefix(keys[i], "volatile."))
			return error_set(err, ERROR_INVALID, "Volatile keys can only be set on instances");
		if (!type && g_str_has_prefix(keys[i], "image."))
			return error_set(err, ERROR_INVALID, "Image keys can only be set on instances");
	}
	return expanded ? check_together(config, err) : 0;
}

const char *key_value(KeyScope scope, const char *kind, const Config *config, const char *name)
{
	const char *value = config_get(config, name);
	if (value && *value)
		return value;
	const Key *row = key_find(scope, kind, name);
	return row ? row->initial : NULL;
}

gboolean key_bool(KeyScope scope, const char *kind, const Config *config, const char *name)
{
	const char *value = key_value(scope, kind, config, name);
	static const char *const words[] = {"true", "1", "yes", "on"};
	for (size_t i = 0; value && i < G_N_ELEMENTS(words); i++)
		if (g_ascii_strcasecmp(words[i], value) == 0)
			return TRUE;
	return FALSE;
}
