/*
 * Devices of the host's kernel as files in a container: unix-char and unix-block. A node with the
 * owner and mode that it is to have inside is made on the host and mounted over the path: within a
 * user namespace nobody can make one. With required=false it comes and goes with the host's.
 */
#include "server/device/device_private.h"
#include "server/device/watch.h"
#include "server/key/key.h"
#include "sdk/base/file.h"
#include "sdk/base/names.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static gboolean is_block(const Config *config)
{
	return strcmp(config_get(config, "type"), "unix-block") == 0;
}

static const char *source_of(const Config *config)
{
	const char *source = config_get(config, "source");
	return source ? source : config_get(config, "path");
}

static char *target_of(const Config *config)
{
	const char *path = config_get(config, "path");
	return g_canonicalize_filename(path ? path : config_get(config, "source"), "/");
}

/* Both numbers given: nothing of the host's is looked for. */
static gboolean is_numbered(const Config *config)
{
	return config_get(config, "major") && config_get(config, "minor");
}

static gboolean is_required(const Config *config)
{
	return !config_false(config, "required");
}

static int validate(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	static const char *const paths[] = { "source", "path" };
	if (key_check_all(KEY_DEVICE, config_get(config, "type"), config, err) < 0)
		return -1;
	if (device_host_is_machine(host))
		return error_set(err, ERROR_INVALID,
		    "Devices of type \"%s\" are for containers only", config_get(config, "type"));
	if (!source_of(config))
		return error_set(err, ERROR_INVALID,
		    "Unix device entry is missing the required \"source\" or \"path\" property");
	for (size_t i = 0; i < G_N_ELEMENTS(paths); i++) {
		const char *path = config_get(config, paths[i]);
		if (path && name_check_absolute_path(path, err) < 0)
			return error_prefix(err, "Invalid %s", paths[i]);
	}
	return 0;
}

/* ---- the node ---- */

/* The host's device. ERROR_NOT_FOUND when it is not there. */
static int find_device(const Config *config, dev_t *ret_device, mode_t *ret_mode, Error **err)
{
	struct stat st;
	const char *source = source_of(config), *kind = is_block(config) ? "block" : "character";
	const char *major_text = config_get(config, "major"),
		   *minor_text = config_get(config, "minor");
	*ret_mode = 0660;
	if (is_numbered(config)) {
		*ret_device = makedev(strtoul(major_text, NULL, 10), strtoul(minor_text, NULL, 10));
		return 0;
	}
	if (stat(source, &st) < 0)
		return error_set(err, errno == ENOENT ? ERROR_NOT_FOUND : ERROR_INTERNAL,
		    "The required device path \"%s\" doesn't exist and the major and minor settings are not specified",
		    source);
	if (is_block(config) ? !S_ISBLK(st.st_mode) : !S_ISCHR(st.st_mode))
		return error_set(
		    err, ERROR_INVALID, "Path \"%s\" is not a %s device", source, kind);
	*ret_device = makedev(major_text ? strtoul(major_text, NULL, 10) : major(st.st_rdev),
	    minor_text ? strtoul(minor_text, NULL, 10) : minor(st.st_rdev));
	*ret_mode = st.st_mode & 0777;
	return 0;
}

static uint32_t owner(const DeviceHost *host, const Config *config, const char *key, gboolean user)
{
	const char *value = config_get(config, key);
	return id_map_outside(host->idmap, user, value ? (uint32_t)strtoul(value, NULL, 10) : 0);
}

int device_check_owner_keys(const DeviceHost *host, const Config *config, Error **err)
{
	static const char *const keys[] = { "uid", "gid", "mode" };
	for (gsize n = 0; device_host_is_machine(host) && n < G_N_ELEMENTS(keys); n++)
		if (config_get(config, keys[n]))
			return error_set(
			    err, ERROR_INVALID, "\"%s\" is for containers only", keys[n]);
	return 0;
}

/* mode: where the configuration says none. */
static int make_node(const DeviceHost *host, const Config *config, const char *path, dev_t device,
    mode_t mode, Error **err)
{
	const char *wanted = config_get(config, "mode");
	if (wanted)
		mode = (mode_t)strtoul(wanted, NULL, 8) & 0777;
	device_file_remove(path); /* of a run that was cut off */
	g_autofree char *folder = g_path_get_dirname(path);
	if (file_mkdir_all(folder, 0711, err) < 0)
		return -1;
	if (mknod(path, (is_block(config) ? S_IFBLK : S_IFCHR) | 0600, device) < 0 ||
	    chown(path, owner(host, config, "uid", TRUE), owner(host, config, "gid", FALSE)) < 0 ||
	    chmod(path, mode) < 0) {
		error_errno(err, ERROR_INTERNAL, errno, "Cannot make the device \"%s\"", path);
		device_file_remove(path);
		return -1;
	}
	return 0;
}

int unix_node_make(
    const DeviceHost *host, const Config *config, const char *path, dev_t device, Error **err)
{
	return make_node(host, config, path, device, 0660, err);
}

DeviceMount *unix_node_mount(const char *node, const char *target)
{
	DeviceMount *mount = g_new0(DeviceMount, 1);
	mount->source = g_strdup(node);
	mount->target = g_strdup(target);
	mount->options = g_strdup("dev,nosuid,noexec"); /* also where our folder is nodev */
	mount->is_file = mount->is_device = TRUE;
	return mount;
}

static DeviceMount *mount_of(const Config *config, const char *node)
{
	g_autofree char *target = target_of(config);
	return unix_node_mount(node, target);
}

char *unix_node_rule(const Config *config, dev_t device)
{
	return g_strdup_printf(
	    "%c %u:%u rwm", is_block(config) ? 'b' : 'c', major(device), minor(device));
}

/* ---- into a container that starts, or runs ---- */

/* 1 when it is made, 0 when the host has none and may have none. */
static int prepare(const DeviceHost *host, const char *name, const Config *config, char **ret_node,
    char **ret_rule, Error **err)
{
	dev_t device = 0;
	mode_t mode = 0;
	g_autoptr(Error) error = NULL;
	if (!is_required(config) && !is_numbered(config))
		device_watch_add(host, name, source_of(config));
	if (find_device(config, &device, &mode, &error) < 0) {
		if (error->kind == ERROR_NOT_FOUND && !is_required(config))
			return 0;
		return error_propagate(err, g_steal_pointer(&error));
	}
	*ret_node = device_file_path(host, "unix", name);
	*ret_rule = unix_node_rule(config, device);
	return make_node(host, config, *ret_node, device, mode, err) < 0 ? -1 : 1;
}

static void stop(const DeviceHost *host, const char *name, const Config *config)
{
	g_autofree char *node = device_file_path(host, "unix", name);
	device_watch_remove(host, name);
	device_file_remove(node);
}

static int start(
    const DeviceHost *host, const char *name, const Config *config, DeviceStart *out, Error **err)
{
	g_autofree char *node = NULL, *rule = NULL;
	int made = prepare(host, name, config, &node, &rule, err);
	if (made < 0)
		stop(host, name, config);
	if (made <= 0)
		return made;
	g_ptr_array_add(out->mounts, mount_of(config, node));
	g_ptr_array_add(out->device_rules, g_steal_pointer(&rule));
	return 0;
}

static int put_in(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	g_autofree char *node = NULL, *rule = NULL;
	int made = prepare(host, name, config, &node, &rule, err);
	if (made <= 0)
		return made;
	DeviceMount *mount = mount_of(config, node);
	int result = host->device_rule(host, rule, TRUE, err) < 0 ?
	    -1 :
	    host->mount_add(host, mount, err);
	device_mount_free(mount);
	if (result < 0)
		device_file_remove(node);
	return result;
}

static int take_out(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	struct stat st;
	g_autofree char *node = device_file_path(host, "unix", name);
	g_autofree char *target = target_of(config);
	if (lstat(node, &st) < 0) /* it was not there */
		return 0;
	g_autofree char *rule = unix_node_rule(config, st.st_rdev);
	if (host->mount_remove(host, target, err) < 0 ||
	    host->device_rule(host, rule, FALSE, err) < 0)
		return -1;
	device_file_remove(node);
	return 0;
}

static int attach(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	int result = put_in(host, name, config, err);
	if (result < 0)
		device_watch_remove(host, name);
	return result;
}

static int detach(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	if (take_out(host, name, config, err) < 0)
		return -1;
	stop(host, name, config);
	return 0;
}

/* The host's device came, went, or is another one now. */
static int changed(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	struct stat ours, theirs;
	g_autofree char *node = device_file_path(host, "unix", name);
	if (is_required(config) || is_numbered(config))
		return 0;
	gboolean inside = lstat(node, &ours) == 0, there = stat(source_of(config), &theirs) == 0;
	if (inside && there && ours.st_rdev == theirs.st_rdev)
		return 0;
	if (inside && take_out(host, name, config, err) < 0)
		return -1;
	return there ? put_in(host, name, config, err) : 0;
}

static void adopt(const DeviceHost *host, const char *name, const Config *config)
{
	g_autoptr(Error) error = NULL;
	if (!is_required(config) && !is_numbered(config))
		device_watch_add(host, name, source_of(config));
	if (changed(host, name, config, &error) < 0)
		log_warn("Device is not as the host's is now", "instance", host->instance, "device",
		    name, "err", error->message);
}

#define UNIX_DEVICE(name)                                                                          \
	{                                                                                          \
		.type = name, .validate = validate, .start = start, .stop = stop, .adopt = adopt,  \
		.attach = attach, .detach = detach, .changed = changed                             \
	}

const DeviceType device_unix_char = UNIX_DEVICE("unix-char");
const DeviceType device_unix_block = UNIX_DEVICE("unix-block");
