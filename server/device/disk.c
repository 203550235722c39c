/* Disks: the root volume, folders and files of the host, and custom volumes of a pool. */
#include "server/device/disk_part.h"
#include "server/device/drive.h"
#include "server/device/share.h"
#include "sdk/base/log.h"
#include "sdk/base/names.h"
#include "sdk/base/units.h"
#include "server/key/key.h"
#include "server/project/project.h"
#include "server/storage/pool.h"
#include <string.h>
#include <sys/stat.h>

static int check_keys(const Config *config, Error **err)
{
	GHashTableIter iter;
	void *key, *value;
	g_hash_table_iter_init(&iter, (GHashTable *)config);
	while (g_hash_table_iter_next(&iter, &key, &value)) {
		if (strcmp(key, "type") == 0)
			continue;
		if (!key_find(KEY_DEVICE, "disk", key))
			return error_set(
			    err, ERROR_INVALID, "Invalid device option \"%s\"", (char *)key);
		if (key_check(KEY_DEVICE, "disk", key, value, err) < 0)
			return error_prefix(
			    err, "Invalid value for device option \"%s\"", (char *)key);
	}
	return 0;
}

/* Keys of the volume that the disk is made as. */
static int check_initial(const char *driver, const Config *config, Error **err)
{
	GHashTableIter iter;
	void *key, *value;
	g_hash_table_iter_init(&iter, (GHashTable *)config);
	while (g_hash_table_iter_next(&iter, &key, &value)) {
		if (!g_str_has_prefix(key, "initial."))
			continue;
		if (!disk_is_root(config))
			return error_set(err, ERROR_INVALID,
			    "Non-root disk device cannot contain initial.* configuration");
		const char *name = (const char *)key + strlen("initial.");
		if (strcmp(name, "size") == 0 || g_str_has_prefix(name, "volatile."))
			return error_set(err, ERROR_INVALID, "Invalid initial configuration \"%s\"",
			    (char *)key);
		if (driver && key_check(KEY_VOLUME, driver, name, value, err) < 0)
			return error_prefix(
			    err, "Invalid initial configuration \"%s\"", (char *)key);
	}
	return 0;
}

static int check_root(const DeviceHost *host, const Config *config, Error **err)
{
	const char *pool = config_get(config, "pool");
	if (!pool)
		return error_set(
		    err, ERROR_INVALID, "Root disk entry must have a \"pool\" property set");
	if (config_get(config, "source"))
		return error_set(
		    err, ERROR_INVALID, "Root disk entry may not have a \"source\" property set");
	if (config_get(config, "size")) {
		int64_t bytes;
		if (units_parse_bytes(config_get(config, "size"), &bytes, err) < 0)
			return -1;
	}
	if (!device_host_serves(host))
		return 0;
	g_autoptr(Pool) found = NULL;
	return pool_get(host->daemon, pool, &found, err) < 0 ?
	    -1 :
	    check_initial(pool_driver(found), config, err);
}

/* One that the server makes. */
static int check_drive(
    const DeviceHost *host, const char *source, const Config *config, Error **err)
{
	if (host && !device_host_is_machine(host))
		return error_set(err, ERROR_INVALID,
		    "Only virtual machines can have a disk with source \"%s\"", source);
	if (config_get(config, "path") || config_get(config, "pool"))
		return error_set(err, ERROR_INVALID,
		    "A disk with source \"%s\" can have neither \"path\" nor \"pool\"", source);
	return 0;
}

static int check_source(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	const char *source = config_get(config, "source"), *path = config_get(config, "path");
	struct stat st;
	if (!source)
		return error_set(
		    err, ERROR_INVALID, "Disk entry is missing the required \"source\" property");
	if (disk_is_drive(config))
		return check_drive(host, source, config, err);
	if (g_str_has_prefix(source, "ceph:") || g_str_has_prefix(source, "cephfs:") ||
	    g_str_has_prefix(source, "cloud-init:") || g_str_has_prefix(source, "agent:"))
		return error_set(err, ERROR_UNSUPPORTED,
		    "Disks with source \"%s\" are not built in this version", source);
	if (!path && host && !device_host_is_machine(host))
		return error_set(
		    err, ERROR_INVALID, "Disk entry is missing the required \"path\" property");
	if (config_get(config, "pool")) {
		g_autoptr(Pool) pool = NULL;
		if (*source == '/')
			return error_set(err, ERROR_INVALID,
			    "Storage volumes cannot be specified as absolute paths");
		if (!device_host_serves(host))
			return 0;
		if (pool_get(host->daemon, config_get(config, "pool"), &pool, err) < 0)
			return -1;
		return device_host_is_machine(host) ?
		    disk_part_check(pool, host->project, source, path != NULL, err) :
		    pool_custom_check(pool, host->project, source, err);
	}
	if (name_check_absolute_path(source, err) < 0)
		return error_prefix(err, "Invalid source");
	if (host && disk_required(config) && lstat(source, &st) < 0)
		return error_set(
		    err, ERROR_INVALID, "Missing source path \"%s\" for disk \"%s\"", source, name);
	if (device_host_is_machine(host) && !path && stat(source, &st) == 0 && S_ISDIR(st.st_mode))
		return error_set(err, ERROR_INVALID,
		    "Disk source \"%s\" is a folder: a \"path\" says where the virtual machine mounts it",
		    source);
	return 0;
}

static int disk_validate(
    const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	if (check_keys(config, err) < 0 || check_initial(NULL, config, err) < 0)
		return -1;
	const char *path = config_get(config, "path");
	if (path && name_check_line(path, err) < 0)
		return error_prefix(err, "Invalid path");
	for (const char *at = path; at && (at = strstr(at, "..")); at += 2)
		if ((at == path || at[-1] == '/') && (!at[2] || at[2] == '/'))
			return error_set(
			    err, ERROR_INVALID, "Invalid path \"%s\": it leads upwards", path);
	if (config_true(config, "recursive") && config_true(config, "readonly"))
		return error_set(err, ERROR_INVALID,
		    "Recursive read-only bind-mounts aren't currently supported by the kernel");
	return disk_is_root(config) ? check_root(host, config, err) :
				 check_source(host, name, config, err);
}

static gboolean is_share(const DeviceHost *host, const Config *config)
{
	g_autofree char *path = device_host_is_machine(host) ? device_share_path(config) : NULL;
	return path != NULL;
}

static void disk_left(const DeviceHost *host, const char *name, const Config *config)
{
	if (is_share(host, config))
		share_stop(host, name);
}

static void disk_stop(const DeviceHost *host, const char *name, const Config *config)
{
	g_autoptr(Pool) pool = NULL;
	if (g_strcmp0(config_get(config, "source"), DRIVE_CLOUD_INIT) == 0)
		drive_cloud_init_remove(host, name);
	disk_left(host, name, config);
	if (disk_is_root(config) || !config_get(config, "pool") ||
	    pool_get(host->daemon, config_get(config, "pool"), &pool, NULL) < 0)
		return;
	Error *error = NULL;
	if (pool_custom_unmount(pool, host->project, config_get(config, "source"), &error) < 0)
		log_debug("Volume is not unmounted", "device", name, "err", error->message);
	g_clear_pointer(&error, error_free);
}

static void disk_adopt(const DeviceHost *host, const char *name, const Config *config)
{
	g_autoptr(Pool) pool = NULL;
	g_autoptr(Error) error = NULL;
	if (disk_is_root(config) || !config_get(config, "pool") ||
	    pool_get(host->daemon, config_get(config, "pool"), &pool, NULL) < 0)
		return;
	if (pool_custom_adopt(pool, host->project, config_get(config, "source"), &error) < 0)
		log_warn("Volume of a running instance is not there", "device", name, "err",
		    error->message);
}

/* NULL and no error: the source is missing and may be. */
static int make_mount(const DeviceHost *host, const char *name, const Config *config,
    DeviceMount **ret_mount, Error **err)
{
	const char *source = config_get(config, "source");
	g_autofree char *path = NULL;
	g_autofree char *beneath = NULL;
	gboolean shift = config_true(config, "shift");
	struct stat st;
	*ret_mount = NULL;
	if (config_get(config, "pool")) {
		g_autoptr(Pool) pool = NULL;
		if (pool_get(host->daemon, config_get(config, "pool"), &pool, err) < 0 ||
		    pool_custom_mount(
			pool, host->project, source, host->idmap, &path, &shift, err) < 0)
			return -1;
	} else {
		path = g_canonicalize_filename(source, "/");
		if (project_disk_folder(host->daemon, host->project, path, &beneath, err) < 0)
			return -1;
		/* The container's root could leave setuid programs of the host's root there. */
		if (beneath && shift)
			return error_set(err, ERROR_FORBIDDEN,
			    "Disk \"%s\" cannot be shifted: its project restricts the host's paths",
			    name);
	}
	if (stat(path, &st) < 0) {
		if (!disk_required(config))
			return 0;
		disk_stop(host, name, config);
		return error_set(
		    err, ERROR_NOT_FOUND, "Missing source path \"%s\" for disk \"%s\"", path, name);
	}
	DeviceMount *mount = g_new0(DeviceMount, 1);
	mount->source = g_steal_pointer(&path);
	mount->beneath = g_steal_pointer(&beneath);
	mount->target = device_share_path(config);
	mount->propagation = g_strdup(config_get(config, "propagation"));
	mount->of_volume = config_get(config, "pool") != NULL;
	mount->readonly = config_true(config, "readonly");
	mount->recursive = config_true(config, "recursive");
	mount->shift = is_share(host, config) ? share_has_map(host, mount) :
						shift && host->idmap && host->idmap->len > 0;
	mount->options = g_strdup(config_get(config, "raw.mount.options"));
	mount->is_file = !S_ISDIR(st.st_mode) &&
	    !S_ISBLK(st.st_mode); /* what is on a block device is mounted */
	*ret_mount = mount;
	return 0;
}

static DevicePart *part_of_share(const DeviceHost *host, const char *name, const Config *config)
{
	DevicePart *part = share_part(host, name, device_share_path(config));
	part->readonly = config_true(config, "readonly");
	return part;
}

/* What a virtual machine gets of it; NULL and no error as above. */
static int make_part(const DeviceHost *host, const char *name, const Config *config,
    DevicePart **ret_part, Error **err)
{
	DeviceMount *mount;
	*ret_part = NULL;
	if (!is_share(host, config))
		return disk_part_start(host, name, config, ret_part, err);
	if (make_mount(host, name, config, &mount, err) < 0)
		return -1;
	int result = mount ? share_start(host, name, mount, err) : 0;
	if (mount && result == 0)
		*ret_part = part_of_share(host, name, config);
	else if (mount)
		disk_stop(host, name, config);
	device_mount_free(mount);
	return result;
}

static int size_of(const Config *config, const char *key, int64_t *ret_bytes, Error **err)
{
	const char *size = config_get(config, key);
	return units_parse_bytes(size ? size : "", ret_bytes, err);
}

static int apply_size(const DeviceHost *host, const Config *config, Error **err)
{
	int64_t bytes = 0, state = 0;
	g_autoptr(Pool) pool = NULL;
	if (size_of(config, "size", &bytes, err) < 0 ||
	    size_of(config, "size.state", &state, err) < 0 ||
	    pool_get(host->daemon, config_get(config, "pool"), &pool, err) < 0)
		return -1;
	if (pool_instance_set_size(
		pool, host->project, host->instance, host->type, bytes, err) < 0 ||
	    pool_instance_set_state_size(
		pool, host->project, host->instance, host->type, state, err) < 0)
		return -1;
	return device_host_is_machine(host) && host->running && bytes ?
	    host->root_grown(host, bytes, err) :
	    0;
}

/* While it is in use the new size waits for the next start. */
static int apply_or_defer(
    const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	g_autofree char *pending = g_strconcat(name, ".apply_quota", NULL);
	Error *inner = NULL;
	if (apply_size(host, config, &inner) == 0)
		return host->volatile_get(host, pending) ?
		    host->volatile_set(host, pending, NULL, err) :
		    0;
	if (inner->kind != ERROR_BUSY)
		return error_propagate(err, inner);
	log_info("The size of a root disk waits for the next start", "instance", host->instance,
	    "err", inner->message);
	error_free(inner);
	return host->volatile_set(host, pending, "true", err);
}

int device_root_settle(const DeviceHost *host, Error **err)
{
	const char *name;
	Config *root;
	if (device_root_disk(host->devices, &name, &root, err) < 0)
		return -1;
	g_autofree char *pending = g_strconcat(name, ".apply_quota", NULL);
	return host->volatile_get(host, pending) ? apply_or_defer(host, name, root, err) : 0;
}

static int disk_start(
    const DeviceHost *host, const char *name, const Config *config, DeviceStart *out, Error **err)
{
	DeviceMount *mount;
	DevicePart *part;
	if (device_host_is_machine(host)) {
		if (make_part(host, name, config, &part, err) < 0)
			return -1;
		if (part)
			g_ptr_array_add(out->parts, part);
		return 0;
	}
	if (disk_is_root(config))
		return 0;
	if (make_mount(host, name, config, &mount, err) < 0)
		return -1;
	if (mount)
		g_ptr_array_add(out->mounts, mount);
	return 0;
}

static int attach_part(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	g_autoptr(DevicePart) part = NULL;
	if (make_part(host, name, config, &part, err) < 0)
		return -1;
	if (!part || host->part_add(host, part, err) == 0)
		return 0;
	disk_stop(host, name, config);
	return -1;
}

static int detach_part(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	g_autoptr(DevicePart) part = is_share(host, config) ?
	    part_of_share(host, name, config) :
	    device_part_new(PART_DISK, name, config);
	if (host->part_remove(host, part, err) < 0)
		return -1;
	disk_stop(host, name, config);
	return 0;
}

static int disk_attach(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	DeviceMount *mount;
	if (disk_is_root(config))
		return error_set(err, ERROR_INVALID,
		    "The root disk cannot be added while the instance is running");
	if (device_host_is_machine(host))
		return attach_part(host, name, config, err);
	if (make_mount(host, name, config, &mount, err) < 0)
		return -1;
	int result = mount ? host->mount_add(host, mount, err) : 0;
	device_mount_free(mount);
	if (result < 0)
		disk_stop(host, name, config);
	return result;
}

static int disk_detach(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	if (disk_is_root(config))
		return error_set(err, ERROR_INVALID,
		    "The root disk cannot be removed while the instance is running");
	if (device_host_is_machine(host))
		return detach_part(host, name, config, err);
	g_autofree char *target = device_share_path(config);
	if (host->mount_remove(host, target, err) < 0)
		return -1;
	disk_stop(host, name, config);
	return 0;
}

static gboolean disk_can_update(
    const char *name, const Config *old_config, const Config *new_config)
{
	return disk_is_root(old_config) && disk_is_root(new_config) &&
	       g_strcmp0(config_get(old_config, "pool"), config_get(new_config, "pool")) == 0;
}

static int disk_update(const DeviceHost *host, const char *name, const Config *old_config,
    const Config *new_config, Error **err)
{
	if (g_strcmp0(config_get(old_config, "size"), config_get(new_config, "size")) == 0 &&
	    g_strcmp0(config_get(old_config, "size.state"), config_get(new_config, "size.state")) ==
		0)
		return 0;
	return apply_or_defer(host, name, new_config, err);
}

const DeviceType device_disk = {
	.type = "disk",
	.validate = disk_validate,
	.start = disk_start,
	.stop = disk_stop,
	.left = disk_left,
	.adopt = disk_adopt,
	.attach = disk_attach,
	.detach = disk_detach,
	.can_update = disk_can_update,
	.update = disk_update,
};
