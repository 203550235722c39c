#include "server/storage/pool_config.h"
#include "sdk/base/names.h"
#include "sdk/base/units.h"
#include <string.h>

typedef int (*ValueCheck)(const char *value, Error **err);

typedef struct StorageKey {
	const char *drivers; /* " dir lvm ", or "*" */
	const char *key;
	ValueCheck check;
	gboolean local, fixed;
} StorageKey;

static int check_bool(const char *value, Error **err)
{
	static const char *const words[] = { "true", "false", "1", "0", "yes", "no", "on", "off", NULL };
	for (int i = 0; words[i]; i++)
		if (g_ascii_strcasecmp(value, words[i]) == 0)
			return 0;
	return error_set(err, ERROR_INVALID, "\"%s\" is not a boolean", value);
}

static int check_size(const char *value, Error **err)
{
	int64_t bytes;
	if (units_parse_bytes(value, &bytes, err) < 0)
		return -1;
	return bytes < 0 ? error_set(err, ERROR_INVALID, "The size is negative") : 0;
}

static int check_expiry(const char *value, Error **err)
{
	int64_t when;
	return units_parse_expiry(value, 0, &when, err);
}

static const StorageKey pool_keys[] = {
	{ " dir ", "source", name_check_absolute_path, TRUE, TRUE },
	{ "*", "volatile.initial_source", name_check_line, TRUE, TRUE },
	{ " dir lvm ", "rsync.bwlimit", check_size, FALSE, FALSE },
	{ " dir lvm ", "rsync.compression", check_bool, FALSE, FALSE },
};

static const StorageKey volume_keys[] = {
	{ "*", "size", check_size, FALSE, FALSE },
	{ "*", "security.shifted", check_bool, FALSE, FALSE },
	{ "*", "security.unmapped", check_bool, FALSE, FALSE },
	{ "*", "snapshots.expiry", check_expiry, FALSE, FALSE },
	{ "*", "snapshots.pattern", name_check_line, FALSE, FALSE },
	{ "*", "snapshots.schedule", name_check_line, FALSE, FALSE },
};

static const StorageKey *key_find(const StorageKey *keys, size_t n, const char *driver, const char *key)
{
	g_autofree char *word = g_strdup_printf(" %s ", driver);
	for (size_t i = 0; i < n; i++)
		if (strcmp(keys[i].key, key) == 0 && (*keys[i].drivers == '*' || strstr(keys[i].drivers, word)))
			return &keys[i];
	return NULL;
}

static int key_check(const StorageKey *row, const char *kind, const char *key, const char *value, Error **err)
{
	if (name_check_config_key(key, err) < 0)
		return -1;
	if (!row)
		return error_set(err, ERROR_INVALID, "Invalid option for %s option \"%s\"", kind, key);
	if (*value && row->check(value, err) < 0)
		return error_prefix(err, "Invalid value for %s option \"%s\"", kind, key);
	return 0;
}

int pool_config_check(const char *driver, const Config *config, Error **err)
{
	guint n;
	g_autofree const char **keys = config_sorted_keys(config, &n);
	for (guint i = 0; i < n; i++) {
		if (g_str_has_prefix(keys[i], "user."))
			continue;
		const StorageKey *row = g_str_has_prefix(keys[i], "volume.")
		    ? key_find(volume_keys, G_N_ELEMENTS(volume_keys), driver, keys[i] + strlen("volume."))
		    : key_find(pool_keys, G_N_ELEMENTS(pool_keys), driver, keys[i]);
		if (key_check(row, "storage pool", keys[i], config_get(config, keys[i]), err) < 0)
			return -1;
	}
	return 0;
}

int volume_config_check(const char *driver, const Config *config, Error **err)
{
	guint n;
	g_autofree const char **keys = config_sorted_keys(config, &n);
	for (guint i = 0; i < n; i++) {
		if (g_str_has_prefix(keys[i], "user.") || g_str_has_prefix(keys[i], "volatile."))
			continue;
		const StorageKey *row = key_find(volume_keys, G_N_ELEMENTS(volume_keys), driver, keys[i]);
		if (key_check(row, "storage volume", keys[i], config_get(config, keys[i]), err) < 0)
			return -1;
	}
	if (config_true(config, "security.shifted") && config_true(config, "security.unmapped"))
		return error_set(err, ERROR_INVALID, "security.shifted and security.unmapped are mutually exclusive");
	return 0;
}

gboolean pool_config_is_local(const char *key)
{
	for (size_t i = 0; i < G_N_ELEMENTS(pool_keys); i++)
		if (strcmp(pool_keys[i].key, key) == 0)
			return pool_keys[i].local;
	return FALSE;
}

gboolean pool_config_is_fixed(const char *key)
{
	for (size_t i = 0; i < G_N_ELEMENTS(pool_keys); i++)
		if (strcmp(pool_keys[i].key, key) == 0)
			return pool_keys[i].fixed;
	return FALSE;
}
