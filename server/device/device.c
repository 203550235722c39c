#include "server/device/device.h"
#include "sdk/base/names.h"
#include "sdk/base/units.h"
#include "server/helper/packet.h"
#include "server/key/key.h"
#include <stdlib.h>
#include <string.h>

static const DeviceType *const types[] = { &device_nic, &device_disk, &device_none, &device_tpm,
	&device_proxy, &device_unix_char, &device_unix_block, &device_usb, &device_gpu, &device_pci };

/* Known to Incus, and not built in this version. */
static const char *const others[] = { "unix-hotplug", "infiniband" };

void device_mount_free(DeviceMount *mount)
{
	if (!mount)
		return;
	g_free(mount->source);
	g_free(mount->beneath);
	g_free(mount->target);
	g_free(mount->propagation);
	g_free(mount->filesystem);
	g_free(mount->options);
	g_free(mount);
}

void device_mount_pack(const DeviceMount *m, Packet *rq)
{
	g_autofree char *flags = g_strconcat(m->readonly ? "ro," : "", m->recursive ? "rec," : "",
	    m->shift ? "shift," : "", m->is_file ? "file," : "", m->is_device ? "dev," : "",
	    m->optional ? "opt," : "", NULL);
	packet_add(rq, m->source);
	packet_add(rq, m->beneath);
	packet_add(rq, m->target);
	packet_add(rq, m->propagation);
	packet_add(rq, m->filesystem);
	packet_add(rq, m->options);
	packet_add(rq, flags);
}

gboolean device_host_is_machine(const DeviceHost *host)
{
	return host && g_strcmp0(host->type, "virtual-machine") == 0;
}

gboolean device_host_serves(const DeviceHost *host)
{
	return host && host->daemon;
}

DevicePart *device_part_new(DevicePartKind kind, const char *device, const Config *config)
{
	DevicePart *part = g_new0(DevicePart, 1);
	const char *priority = config_get(config, "boot.priority");
	part->kind = kind;
	part->device = g_strdup(device);
	part->boot_order = priority ? atoi(priority) : 0;
	return part;
}

void device_part_free(DevicePart *part)
{
	if (!part)
		return;
	g_free(part->device);
	g_free(part->source);
	g_free(part->target);
	g_free(part->cache);
	g_free(part->bus);
	g_free(part->link);
	g_free(part->hwaddr);
	g_free(part);
}

void device_start_config(DeviceStart *start, const char *key, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	char *value = g_strdup_vprintf(format, args);
	va_end(args);
	g_ptr_array_add(start->lxc_config, g_strdup(key));
	g_ptr_array_add(start->lxc_config, value);
}

char *device_share_path(const Config *config)
{
	const char *path = config_get(config, "path");
	if (g_strcmp0(config_get(config, "type"), "disk") != 0 || !path || strcmp(path, "/") == 0)
		return NULL;
	return *path == '/' ? g_strdup(path) : g_strconcat("/", path, NULL);
}

int device_type_find(const Config *config, const DeviceType **ret_type, Error **err)
{
	const char *type = config_get(config, "type");
	if (!type)
		return error_set(err, ERROR_INVALID, "Missing device type");
	for (guint n = 0; n < G_N_ELEMENTS(types); n++)
		if (strcmp(types[n]->type, type) == 0) {
			*ret_type = types[n];
			return 0;
		}
	for (guint n = 0; n < G_N_ELEMENTS(others); n++)
		if (strcmp(others[n], type) == 0)
			return error_set(err, ERROR_UNSUPPORTED,
			    "Devices of type \"%s\" are not built in this version", type);
	return error_set(err, ERROR_INVALID, "Unsupported device type \"%s\"", type);
}

/* Of two mounts on one place only the later one would be seen. */
static int check_paths(const Devices *devices, Error **err)
{
	g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	GHashTableIter iter;
	void *name, *config;
	g_hash_table_iter_init(&iter, (GHashTable *)devices);
	while (g_hash_table_iter_next(&iter, &name, &config)) {
		const char *path = config_get(config, "path");
		if (g_strcmp0(config_get(config, "type"), "disk") != 0 || !path)
			continue;
		if (!g_hash_table_add(seen, g_canonicalize_filename(path, "/")))
			return error_set(err, ERROR_INVALID,
			    "More than one disk device uses the same path \"%s\"", path);
	}
	return 0;
}

/* What came with the instance from elsewhere (LXD) and does not start here does not stand in the
 * way of other changes. */
static gboolean is_as_before(const DeviceHost *host, const char *name, const Config *config)
{
	const Config *before = host && host->before ? devices_get(host->before, name) : NULL;
	return before && config_equal(before, config);
}

int device_validate(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	const DeviceType *type;
	Error *error = NULL;
	if (name_check_device(name, &error) == 0 && device_type_find(config, &type, &error) == 0 &&
	    (!type->validate || type->validate(host, name, config, &error) == 0))
		return 0;
	if (error->kind != ERROR_UNSUPPORTED || !is_as_before(host, name, config))
		return error_propagate(err, error);
	error_free(error);
	return 0;
}

int device_validate_all(const DeviceHost *host, const Devices *devices, Error **err)
{
	GHashTableIter iter;
	void *name, *config;
	g_hash_table_iter_init(&iter, (GHashTable *)devices);
	while (g_hash_table_iter_next(&iter, &name, &config))
		if (device_validate(host, name, config, err) < 0)
			return error_prefix(
			    err, "Device validation failed for \"%s\"", (char *)name);
	if (host && (device_root_disk(devices, NULL, NULL, err) < 0 ||
			nic_check_dns_names(host, devices, err) < 0))
		return -1;
	return check_paths(devices, err);
}

static gboolean is_root(const Config *config)
{
	return g_strcmp0(config_get(config, "type"), "disk") == 0 &&
	    g_strcmp0(config_get(config, "path"), "/") == 0 && config_get(config, "pool") &&
	    !config_get(config, "source");
}

int device_root_disk(
    const Devices *devices, const char **ret_name, Config **ret_config, Error **err)
{
	GHashTableIter iter;
	void *name, *config;
	const char *found = NULL;
	g_hash_table_iter_init(&iter, (GHashTable *)devices);
	while (g_hash_table_iter_next(&iter, &name, &config)) {
		if (!is_root(config))
			continue;
		if (found)
			return error_set(err, ERROR_INVALID,
			    "More than one root device (\"%s\" and \"%s\")", found, (char *)name);
		found = name;
	}
	if (!found)
		return error_set(err, ERROR_INVALID, "No root device could be found");
	if (ret_name)
		*ret_name = found;
	if (ret_config)
		*ret_config = devices_get(devices, found);
	return 0;
}

int device_root_size(const Devices *devices, uint64_t *ret_bytes, Error **err)
{
	Config *root;
	int64_t bytes = 0;
	if (device_root_disk(devices, NULL, &root, err) < 0)
		return -1;
	const char *size = config_get(root, "size");
	if (size && units_parse_bytes(size, &bytes, err) < 0)
		return -1;
	*ret_bytes = (uint64_t)bytes;
	return 0;
}

typedef struct Order {
	const char *name;
	int rank;     /* disks first, outer paths before inner ones */
} Order;

static int compare_order(const void *a, const void *b)
{
	const Order *x = a, *y = b;
	return x->rank != y->rank ? x->rank - y->rank : strcmp(x->name, y->name);
}

static int rank_of(const Config *config)
{
	if (g_strcmp0(config_get(config, "type"), "disk") != 0)
		return 100000;
	int depth = 0;
	const char *path = config_get(config, "path");
	if (!path) /* a virtual machine's: after its root disk */
		return 1000;
	for (const char *at = path; *at; at++)
		depth += at[0] == '/' && at[1] && at[1] != '/';
	return depth;
}

const char **device_sorted(const Devices *devices, guint *ret_n)
{
	GHashTableIter iter;
	void *name, *config;
	guint n = 0, size = g_hash_table_size((GHashTable *)devices);
	g_autofree Order *order = g_new(Order, size + 1);
	g_hash_table_iter_init(&iter, (GHashTable *)devices);
	while (g_hash_table_iter_next(&iter, &name, &config))
		order[n++] = (Order){ .name = name, .rank = rank_of(config) };
	qsort(order, n, sizeof(Order), compare_order);
	const char **names = g_new0(const char *, n + 1);
	for (guint k = 0; k < n; k++)
		names[k] = order[k].name;
	*ret_n = n;
	return names;
}
