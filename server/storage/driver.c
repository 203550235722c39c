#include "server/storage/driver.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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

static const char *const folders[] = { [VOLUME_CONTAINER] = "containers", [VOLUME_IMAGE] = "images",
	[VOLUME_CUSTOM] = "custom", [VOLUME_MACHINE] = "virtual-machines" };
static const char *const places[] = { [PLACE_OWN] = "", [PLACE_UNFINISHED] = "unfinished/", [PLACE_DELETED] = "deleted/" };

const char *driver_folder(VolumeType type)
{
	return folders[type];
}

char *driver_path(const char *pool_path, VolumeType type, VolumePlace place, const char *name, const char *snapshot)
{
	if (!snapshot)
		return g_strdup_printf("%s/%s%s/%s", pool_path, places[place], folders[type], name);
	return g_strdup_printf("%s/%s%s-snapshots/%s%s%s", pool_path, places[place], folders[type], name,
	    *snapshot ? "/" : "", snapshot);
}

static int rename_exactly(DriverPool *pool, const char *from, const char *to, const char *name, Error **err)
{
	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return 0;
	return errno == EEXIST
	    ? error_set(err, ERROR_EXISTS, "Volume \"%s\" already exists on storage pool \"%s\"", name, pool->name)
	    : error_errno(err, ERROR_INTERNAL, errno, "Cannot move \"%s\" to \"%s\"", from, to);
}

int driver_path_rename(DriverPool *pool, const DriverVolume *volume, const DriverVolume *to, Error **err)
{
	g_autofree char *snapshots = driver_path(pool->path, volume->type, volume->place, volume->name, "");
	g_autofree char *snapshots_to = driver_path(pool->path, to->type, to->place, to->name, "");
	rmdir(snapshots_to); /* an empty one says nothing */
	if (access(snapshots_to, F_OK) == 0)
		return error_set(err, ERROR_EXISTS, "Snapshots of \"%s\" already exist on storage pool \"%s\"", to->name, pool->name);
	if (rename_exactly(pool, volume->path, to->path, to->name, err) < 0)
		return -1;
	if (access(snapshots, F_OK) < 0 || rename_exactly(pool, snapshots, snapshots_to, to->name, err) == 0)
		return 0;
	rename(to->path, volume->path);
	return -1;
}
