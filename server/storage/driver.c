#include "server/storage/driver.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* Every driver that Incus knows by name; those without a row of functions are not built. */
static struct {
	const char *name;
	const StorageDriver *driver;
	char *version; /* once it was found to work */
} drivers[] = {
	{ .name = "dir", .driver = &driver_dir },
	{ .name = "btrfs", .driver = &driver_btrfs },
	{ .name = "lvm", .driver = &driver_lvm },
	{ .name = "zfs", .driver = &driver_zfs },
	{ .name = "ceph" },
	{ .name = "cephfs" },
	{ .name = "cephobject" },
};
static GMutex probing;

/* What is missing may be installed meanwhile: only success is kept. */
static int probe(size_t i, Error **err)
{
	g_mutex_lock(&probing);
	int result = 0;
	if (!drivers[i].driver)
		result = error_set(err, ERROR_UNSUPPORTED,
		    "Storage driver \"%s\" is not supported by this server", drivers[i].name);
	else if (!drivers[i].version && drivers[i].driver->probe(&drivers[i].version, err) < 0)
		result = error_prefix(
		    err, "Storage driver \"%s\" cannot be used on this server", drivers[i].name);
	g_mutex_unlock(&probing);
	return result;
}

int driver_find(const char *name, const StorageDriver **ret_driver, Error **err)
{
	for (size_t i = 0; i < G_N_ELEMENTS(drivers); i++) {
		if (strcmp(drivers[i].name, name) != 0)
			continue;
		if (probe(i, err) < 0)
			return -1;
		*ret_driver = drivers[i].driver;
		return 0;
	}
	return error_set(err, ERROR_INVALID, "Storage driver \"%s\" is unknown", name);
}

static void available_init(DriverVersion *list)
{
	size_t n = 0;
	for (size_t i = 0; i < G_N_ELEMENTS(drivers); i++)
		if (probe(i, NULL) == 0)
			list[n++] = (DriverVersion){ drivers[i].driver, drivers[i].version };
}

const DriverVersion *driver_available(void)
{
	static DriverVersion list[G_N_ELEMENTS(drivers) + 1];
	static gsize once;
	if (g_once_init_enter(&once)) {
		available_init(list);
		g_once_init_leave(&once, 1);
	}
	return list;
}

static const char *const folders[] = { [VOLUME_CONTAINER] = "containers", [VOLUME_IMAGE] = "images",
	[VOLUME_CUSTOM] = "custom", [VOLUME_MACHINE] = "virtual-machines" };
static const char *const places[] = {
	[PLACE_OWN] = "", [PLACE_UNFINISHED] = "unfinished/", [PLACE_DELETED] = "deleted/"
};

const char *driver_folder(VolumeType type)
{
	return folders[type];
}

char *driver_path(const char *pool_path, VolumeType type, VolumePlace place, const char *name,
    const char *snapshot)
{
	if (!snapshot)
		return g_strdup_printf("%s/%s%s/%s", pool_path, places[place], folders[type], name);
	return g_strdup_printf("%s/%s%s-snapshots/%s%s%s", pool_path, places[place], folders[type],
	    name, *snapshot ? "/" : "", snapshot);
}

static int rename_exactly(
    DriverPool *pool, const char *from, const char *to, const char *name, Error **err)
{
	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return 0;
	return errno == EEXIST ?
	    error_set(err, ERROR_EXISTS, "Volume \"%s\" already exists on storage pool \"%s\"",
		name, pool->name) :
	    error_errno(err, ERROR_INTERNAL, errno, "Cannot move \"%s\" to \"%s\"", from, to);
}

int driver_path_rename(
    DriverPool *pool, const DriverVolume *volume, const DriverVolume *to, Error **err)
{
	g_autofree char *snapshots = driver_path(
	    pool->path, volume->type, volume->place, volume->name, "");
	g_autofree char *snapshots_to = driver_path(pool->path, to->type, to->place, to->name, "");
	rmdir(snapshots_to); /* an empty one says nothing */
	if (access(snapshots_to, F_OK) == 0)
		return error_set(err, ERROR_EXISTS,
		    "Snapshots of \"%s\" already exist on storage pool \"%s\"", to->name,
		    pool->name);
	if (rename_exactly(pool, volume->path, to->path, to->name, err) < 0)
		return -1;
	if (access(snapshots, F_OK) < 0 ||
	    rename_exactly(pool, snapshots, snapshots_to, to->name, err) == 0)
		return 0;
	rename(to->path, volume->path);
	return -1;
}

int driver_path_resources(DriverPool *pool, DriverResources *ret, Error **err)
{
	struct statvfs st;
	if (statvfs(pool->path, &st) < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot measure storage pool \"%s\"", pool->name);
	*ret = (DriverResources){
		.space_total = (uint64_t)st.f_blocks * st.f_frsize,
		.space_used = (uint64_t)(st.f_blocks - st.f_bfree) * st.f_frsize,
		.inodes_total = st.f_files,
		.inodes_used = st.f_files - st.f_ffree,
	};
	return 0;
}
