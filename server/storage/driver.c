#include "server/storage/driver.h"
#include <string.h>

/* Every driver that Incus knows by name; those without a row of functions are not built. */
static const struct {
	const char *name;
	const StorageDriver *driver;
} drivers[] = {
	{ "dir", &driver_dir },
	{ "btrfs", NULL },
	{ "lvm", NULL },
	{ "zfs", NULL },
	{ "ceph", NULL },
	{ "cephfs", NULL },
	{ "cephobject", NULL },
};

int driver_find(const char *name, const StorageDriver **ret_driver, Error **err)
{
	for (size_t i = 0; i < G_N_ELEMENTS(drivers); i++) {
		if (strcmp(drivers[i].name, name) != 0)
			continue;
		if (!drivers[i].driver || !drivers[i].driver->version())
			return error_set(err, ERROR_UNSUPPORTED, "Storage driver \"%s\" is not supported by this server", name);
		*ret_driver = drivers[i].driver;
		return 0;
	}
	return error_set(err, ERROR_INVALID, "Storage driver \"%s\" is unknown", name);
}

static void available_init(const StorageDriver **list)
{
	size_t n = 0;
	for (size_t i = 0; i < G_N_ELEMENTS(drivers); i++)
		if (drivers[i].driver && drivers[i].driver->version())
			list[n++] = drivers[i].driver;
}

const StorageDriver *const *driver_available(void)
{
	static const StorageDriver *list[G_N_ELEMENTS(drivers) + 1];
	static gsize once;
	if (g_once_init_enter(&once)) {
		available_init(list);
		g_once_init_leave(&once, 1);
	}
	return list;
}
