/* "none": takes the place of a device that a profile gives, and is nothing. */
#include "server/device/device.h"
#include <string.h>

static int none_validate(
    const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	GHashTableIter iter;
	void *key;
	g_hash_table_iter_init(&iter, (GHashTable *)config);
	while (g_hash_table_iter_next(&iter, &key, NULL))
		if (strcmp(key, "type") != 0)
			return error_set(
			    err, ERROR_INVALID, "Invalid device option \"%s\"", (char *)key);
	return 0;
}

static int none_nothing(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	return 0;
}

static gboolean none_same(const char *name, const Config *old_config, const Config *new_config)
{
	return TRUE;
}

static int none_update(const DeviceHost *host, const char *name, const Config *old_config,
    const Config *new_config, Error **err)
{
	return 0;
}

const DeviceType device_none = {
	.type = "none",
	.validate = none_validate,
	.attach = none_nothing,
	.detach = none_nothing,
	.can_update = none_same,
	.update = none_update,
};
