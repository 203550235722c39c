#include "server/device/disk_part.h"
#include "sdk/base/own.h"
#include "server/device/drive.h"
#include "server/project/project.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

gboolean disk_is_root(const Config *config)
{
	return g_strcmp0(config_get(config, "path"), "/") == 0;
}

gboolean disk_is_drive(const Config *config)
{
	const char *source = config_get(config, "source");
	return g_strcmp0(source, DRIVE_AGENT) == 0 || g_strcmp0(source, DRIVE_CLOUD_INIT) == 0;
}

gboolean disk_required(const Config *config)
{
	if (config_get(config, "required"))
		return !config_false(config, "required");
	return !config_true(config, "optional");
}

int disk_part_check(
    Pool *pool, const char *project, const char *volume, gboolean folder, Error **err)
{
	gboolean block, iso;
	if (pool_custom_content(pool, project, volume, &block, &iso, err) < 0)
		return -1;
	if ((block || iso) != folder)
		return 0;
	return folder ?
	    error_set(err, ERROR_INVALID,
		"Volume \"%s\" is a disk, which cannot have a \"path\" in a virtual machine",
		volume) :
	    error_set(err, ERROR_INVALID,
		"Volume \"%s\" holds files: a \"path\" says where the virtual machine mounts it",
		volume);
}

/* A file system that has no O_DIRECT (tmpfs, some FUSE) cannot be used without the host's cache. */
static char *choose_cache(const Config *config, const char *source)
{
	const char *wanted = config_get(config, "io.cache");
	if (wanted)
		return g_strdup(wanted);
	autofd int fd = open(source, O_RDONLY | O_DIRECT | O_CLOEXEC);
	return g_strdup(fd < 0 && errno == EINVAL ? "writeback" : "none");
}

static int volume_source(
    const DeviceHost *host, const Config *config, DevicePart *part, Error **err)
{
	g_autoptr(Pool) pool = NULL;
	if (pool_get(host->daemon, config_get(config, "pool"), &pool, err) < 0)
		return -1;
	if (disk_is_root(config)) {
		part->root = TRUE;
		return pool_instance_disk(
		    pool, host->project, host->instance, host->type, &part->source, err);
	}
	return pool_custom_disk(
	    pool, host->project, config_get(config, "source"), &part->source, &part->cdrom, err);
}

/* Of the host. */
static int file_source(const DeviceHost *host, const Config *config, DevicePart *part, Error **err)
{
	struct stat st;
	g_autofree char *beneath = NULL;
	g_autofree char *path = g_canonicalize_filename(config_get(config, "source"), "/");
	if (project_disk_folder(host->daemon, host->project, path, &beneath, err) < 0)
		return -1;
	/* QEMU opens it later: whoever may write to that folder could put a link in its place. */
	if (beneath)
		return error_set(err, ERROR_FORBIDDEN,
		    "Virtual machines of restricted projects cannot use files of the host: give a volume of type block");
	if (stat(path, &st) < 0)
		return errno == ENOENT ?
		    0 :
		    error_errno(err, ERROR_INTERNAL, errno, "Cannot read \"%s\"", path);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return error_set(err, ERROR_INVALID,
		    "Disk source \"%s\" is no disk image or block device",
		    path);
	part->cdrom = S_ISREG(st.st_mode) && g_str_has_suffix(path, ".iso");
	part->source = g_steal_pointer(&path);
	return 0;
}

static int drive_source(
    const DeviceHost *host, const char *name, const Config *config, DevicePart *part, Error **err)
{
	part->cdrom = TRUE;
	return strcmp(config_get(config, "source"), DRIVE_AGENT) == 0 ?
	    drive_agent(host->daemon, &part->source, err) :
	    drive_cloud_init(host, name, &part->source, err);
}

static int find_source(
    const DeviceHost *host, const char *name, const Config *config, DevicePart *part, Error **err)
{
	if (disk_is_drive(config))
		return drive_source(host, name, config, part, err);
	return config_get(config, "pool") ? volume_source(host, config, part, err) :
					    file_source(host, config, part, err);
}

int disk_part_start(const DeviceHost *host, const char *name, const Config *config,
    DevicePart **ret_part, Error **err)
{
	g_autoptr(DevicePart) part = device_part_new(PART_DISK, name, config);
	*ret_part = NULL;
	if (find_source(host, name, config, part, err) < 0)
		return -1;
	if (!part->source)
		return disk_required(config) ?
		    error_set(err, ERROR_NOT_FOUND, "Missing source path \"%s\" for disk \"%s\"",
			config_get(config, "source"), name) :
		    0;
	part->readonly = part->cdrom || config_true(config, "readonly");
	part->cache = choose_cache(config, part->source);
	*ret_part = g_steal_pointer(&part);
	return 0;
}
