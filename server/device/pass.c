#include "server/device/pass.h"
#include "server/device/device_private.h"
#include "sdk/base/file.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

/* ---- the list of what is in ---- */

static char *list_path(const DeviceHost *host, const char *name)
{
	return device_file_path(host, "passed", name);
}

static GPtrArray *list_read(const DeviceHost *host, const char *name)
{
	GPtrArray *list = g_ptr_array_new_with_free_func(g_free);
	g_autofree char *path = list_path(host, name);
	g_autofree char *text = NULL;
	if (!g_file_get_contents(path, &text, NULL, NULL))
		return list;
	g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
	for (char **line = lines; *line; line++)
		if (**line)
			g_ptr_array_add(list, g_strdup(*line));
	return list;
}

/* Before a unit goes in and after it went out: what is in is always on the list. */
static int list_write(
    const DeviceHost *host, const char *name, const GPtrArray *list, Error **err)
{
	g_autofree char *path = list_path(host, name);
	if (list->len == 0) {
		device_file_remove(path);
		return 0;
	}
	g_autofree char *folder = g_path_get_dirname(path);
	g_autoptr(GString) text = g_string_new(NULL);
	for (guint n = 0; n < list->len; n++)
		g_string_append_printf(text, "%s\n", (char *)list->pdata[n]);
	if (file_mkdir_all(folder, 0711, err) < 0)
		return -1;
	return file_write_atomic(AT_FDCWD, path, text->str, text->len, 0600, err);
}

static gboolean has(const GPtrArray *list, const char *unit)
{
	return g_ptr_array_find_with_equal_func((GPtrArray *)list, unit, g_str_equal, NULL);
}

static void drop(GPtrArray *list, const char *unit)
{
	guint at;
	if (g_ptr_array_find_with_equal_func(list, unit, g_str_equal, &at))
		g_ptr_array_remove_index(list, at);
}

/* ---- one unit ---- */

typedef struct Node {
	unsigned major, minor;
	char *file, *target; /* the node on the host, the place inside */
} Node;

static void node_clear(Node *node)
{
	g_free(node->file);
	g_free(node->target);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Node, node_clear)

/* FALSE: it is a part of a virtual machine. */
static gboolean node_of(const DeviceHost *host, const char *name, const char *unit, Node *ret_node)
{
	int used = 0;
	*ret_node = (Node){ 0 };
	if (sscanf(unit, "node %u %u %n", &ret_node->major, &ret_node->minor, &used) != 2)
		return FALSE;
	g_autofree char *file = g_strdup_printf(
	    "%s:%u:%u", name, ret_node->major, ret_node->minor);
	ret_node->file = device_file_path(host, "node", file);
	ret_node->target = g_strdup(unit + used);
	return TRUE;
}

static DevicePart *part_of(const char *name, const char *unit)
{
	DevicePart *part = g_new0(DevicePart, 1);
	part->kind = PART_HOST;
	part->device = g_strdup(name);
	part->source = g_strdup(unit);
	return part;
}

static int put_in(const DeviceHost *host, const char *name, const Config *config, const char *unit,
    Error **err)
{
	g_auto(Node) node = { 0 };
	if (!node_of(host, name, unit, &node)) {
		g_autoptr(DevicePart) part = part_of(name, unit);
		return host->part_add(host, part, err);
	}
	dev_t device = makedev(node.major, node.minor);
	g_autofree char *rule = unix_node_rule(config, device);
	if (unix_node_make(host, config, node.file, device, err) < 0)
		return -1;
	DeviceMount *mount = unix_node_mount(node.file, node.target);
	int result = host->device_rule(host, rule, TRUE, err) < 0 ?
	    -1 :
	    host->mount_add(host, mount, err);
	device_mount_free(mount);
	if (result < 0)
		device_file_remove(node.file);
	return result;
}

static int take_out(const DeviceHost *host, const char *name, const Config *config,
    const char *unit, Error **err)
{
	g_auto(Node) node = { 0 };
	if (!node_of(host, name, unit, &node)) {
		g_autoptr(DevicePart) part = part_of(name, unit);
		return host->part_remove(host, part, err);
	}
	g_autofree char *rule = unix_node_rule(config, makedev(node.major, node.minor));
	if (host->mount_remove(host, node.target, err) < 0 ||
	    host->device_rule(host, rule, FALSE, err) < 0)
		return -1;
	device_file_remove(node.file);
	return 0;
}

static int add_to_start(const DeviceHost *host, const char *name, const Config *config,
    const char *unit, DeviceStart *out, Error **err)
{
	g_auto(Node) node = { 0 };
	if (!node_of(host, name, unit, &node)) {
		g_ptr_array_add(out->parts, part_of(name, unit));
		return 0;
	}
	dev_t device = makedev(node.major, node.minor);
	if (unix_node_make(host, config, node.file, device, err) < 0)
		return -1;
	g_ptr_array_add(out->mounts, unix_node_mount(node.file, node.target));
	g_ptr_array_add(out->device_rules, unix_node_rule(config, device));
	return 0;
}

/* ---- all of them ---- */

int pass_start(const DeviceHost *host, const char *name, const Config *config, PassFind find,
    DeviceStart *out, Error **err)
{
	g_autoptr(GPtrArray) wanted = NULL;
	pass_stop(host, name); /* of a run that was cut off */
	if (find(host, name, config, &wanted, err) < 0 || list_write(host, name, wanted, err) < 0)
		return -1;
	for (guint n = 0; n < wanted->len; n++)
		if (add_to_start(host, name, config, wanted->pdata[n], out, err) < 0) {
			pass_stop(host, name);
			return -1;
		}
	return 0;
}

static int add_unit(const DeviceHost *host, const char *name, const Config *config, GPtrArray *in,
    const char *unit, Error **err)
{
	g_ptr_array_add(in, g_strdup(unit));
	if (list_write(host, name, in, err) == 0 && put_in(host, name, config, unit, err) == 0)
		return 0;
	drop(in, unit);
	list_write(host, name, in, NULL);
	return -1;
}

static int drop_unit(const DeviceHost *host, const char *name, const Config *config, GPtrArray *in,
    const char *unit, Error **err)
{
	if (take_out(host, name, config, unit, err) < 0)
		return -1;
	drop(in, unit);
	return list_write(host, name, in, err);
}

/* From what is in to what is to be. */
static int change(const DeviceHost *host, const char *name, const Config *config, GPtrArray *in,
    const GPtrArray *wanted, Error **err)
{
	g_autoptr(GPtrArray) before = list_read(host, name);
	for (guint n = 0; n < before->len; n++)
		if (!has(wanted, before->pdata[n]) &&
		    drop_unit(host, name, config, in, before->pdata[n], err) < 0)
			return -1;
	for (guint n = 0; n < wanted->len; n++)
		if (!has(in, wanted->pdata[n]) &&
		    add_unit(host, name, config, in, wanted->pdata[n], err) < 0) {
			/* What came with it goes; what was there before stays. */
			for (guint k = in->len; k-- > 0;)
				if (!has(before, in->pdata[k])) {
					g_autofree char *unit = g_strdup(in->pdata[k]);
					drop_unit(host, name, config, in, unit, NULL);
				}
			return -1;
		}
	return 0;
}

int pass_update(const DeviceHost *host, const char *name, const Config *config, PassFind find,
    Error **err)
{
	g_autoptr(GPtrArray) in = list_read(host, name), wanted = NULL;
	return find(host, name, config, &wanted, err) < 0 ?
	    -1 :
	    change(host, name, config, in, wanted, err);
}

int pass_detach(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	g_autoptr(GPtrArray) in = list_read(host, name);
	g_autoptr(GPtrArray) none = g_ptr_array_new();
	return change(host, name, config, in, none, err);
}

void pass_stop(const DeviceHost *host, const char *name)
{
	g_autoptr(GPtrArray) in = list_read(host, name);
	g_autofree char *path = list_path(host, name);
	for (guint n = 0; n < in->len; n++) {
		g_auto(Node) node = { 0 };
		if (node_of(host, name, in->pdata[n], &node))
			device_file_remove(node.file);
	}
	device_file_remove(path);
}
