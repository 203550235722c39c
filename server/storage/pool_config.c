#include "server/storage/pool_config.h"
#include "server/key/key.h"
#include <string.h>

int pool_config_check(const char *driver, const Config *config, Error **err)
{
	guint n;
	g_autofree const char **keys = config_sorted_keys(config, &n);
	for (guint i = 0; i < n; i++) {
		const char *value = config_get(config, keys[i]);
		gboolean of_volumes = g_str_has_prefix(keys[i], "volume.");
		const char *key = of_volumes ? keys[i] + strlen("volume.") : keys[i];
		if (key_check(of_volumes ? KEY_VOLUME : KEY_POOL, driver, key, value, err) < 0)
			return error_prefix(err, "Storage pool option \"%s\"", keys[i]);
	}
	return 0;
}

int volume_config_check(const char *driver, const Config *config, Error **err)
{
	guint n;
	g_autofree const char **keys = config_sorted_keys(config, &n);
	for (guint i = 0; i < n; i++)
		if (key_check(KEY_VOLUME, driver, keys[i], config_get(config, keys[i]), err) < 0)
			return error_prefix(err, "Storage volume option \"%s\"", keys[i]);
	if (config_true(config, "security.shifted") && config_true(config, "security.unmapped"))
		return error_set(err, ERROR_INVALID,
		    "security.shifted and security.unmapped are mutually exclusive");
	return 0;
}

gboolean pool_config_is_local(const char *driver, const char *key)
{
	const Key *row = key_find(KEY_POOL, driver, key);
	return row && row->flags & KEY_LOCAL;
}

gboolean pool_config_is_fixed(const char *driver, const char *key)
{
	/* What says where the pool is. */
	return pool_config_is_local(driver, key) && strcmp(key, "size") != 0;
}

void volume_config_adopt(const char *driver, Config *config)
{
	GHashTableIter iter;
	void *key;
	g_hash_table_iter_init(&iter, config);
	while (g_hash_table_iter_next(&iter, &key, NULL))
		if (g_str_has_prefix(key, "volatile.") || !key_find(KEY_VOLUME, driver, key))
			g_hash_table_iter_remove(&iter);
}
