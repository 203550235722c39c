#include "server/sys/resources_private.h"

#include <string.h>
#include <unistd.h>

#define BLOCK "/sys/class/block"

/* Names in a /dev/disk folder by the device they point to; the shortest of several wins. */
static GHashTable *load_links(const char *folder)
{
	GHashTable *links = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
	g_auto(GStrv) names = sys_list("%s", folder);
	for (char **name = names; *name; name++) {
		char target[4097];
		g_autofree char *path = g_build_filename(folder, *name, NULL);
		ssize_t n = readlink(path, target, sizeof(target) - 1);
		if (n <= 0)
			continue;
		target[n] = 0;
		g_autofree char *device = g_path_get_basename(target);
		const char *known = g_hash_table_lookup(links, device);
		if (!known || strlen(*name) < strlen(known))
			g_hash_table_replace(links, g_steal_pointer(&device), g_strdup(*name));
	}
	return links;
}

static const char *disk_type(Arena *arena, const char *name)
{
	const char *subsystem = sys_link_name(arena, BLOCK "/%s/device/subsystem", name);
	if (g_str_has_prefix(name, "nvme"))
		return "nvme";
	if (g_str_has_prefix(name, "vd"))
		return "virtio";
	if (g_str_has_prefix(name, "mmcblk"))
		return "mmc";
	return subsystem;
}

/* loop, ram, zram, device-mapper and md have no device of their own and are not hardware. */
static gboolean is_disk(const char *name)
{
	return sys_exists(BLOCK "/%s/device", name) && !sys_exists(BLOCK "/%s/partition", name);
}

static void fill_partitions(Arena *arena, Pb__ResourcesStorageDisk *disk, const char *name)
{
	g_auto(GStrv) entries = sys_list(BLOCK "/%s", name);
	for (char **entry = entries; *entry; entry++) {
		if (!sys_exists(BLOCK "/%s/%s/partition", name, *entry))
			continue;
		Pb__ResourcesStorageDiskPartition *part = arena_message(
		    arena, Pb__ResourcesStorageDiskPartition, pb__resources_storage_disk_partition);
		part->id = arena_strdup(arena, *entry);
		part->device = sys_text(arena, BLOCK "/%s/%s/dev", name, *entry);
		part->read_only = sys_number(BLOCK "/%s/%s/ro", name, *entry) != 0;
		part->size = sys_number(BLOCK "/%s/%s/size", name, *entry) * 512;
		part->partition = sys_number(BLOCK "/%s/%s/partition", name, *entry);
		disk->partitions = arena_append(arena, &disk->n_partitions, disk->partitions, part);
	}
}

static Pb__ResourcesStorageDisk *read_disk(
    Arena *arena, const char *name, GHashTable *by_path, GHashTable *by_id)
{
	Pb__ResourcesStorageDisk *disk = arena_message(
	    arena, Pb__ResourcesStorageDisk, pb__resources_storage_disk);
	g_autofree char *device = g_strconcat(BLOCK "/", name, "/device", NULL);
	const char *path = g_hash_table_lookup(by_path, name),
		   *id = g_hash_table_lookup(by_id, name);
	disk->id = arena_strdup(arena, name);
	disk->device = sys_text(arena, BLOCK "/%s/dev", name);
	disk->model = sys_text(arena, "%s/model", device);
	disk->type = arena_strdup(arena, disk_type(arena, name));
	disk->read_only = sys_number(BLOCK "/%s/ro", name) != 0;
	disk->size = sys_number(BLOCK "/%s/size", name) * 512;
	disk->removable = sys_number(BLOCK "/%s/removable", name) != 0;
	disk->wwn = sys_text(arena, BLOCK "/%s/wwid", name);
	if (!*disk->wwn)
		disk->wwn = sys_text(arena, "%s/wwid", device);
	disk->numa_node = sys_numa_node(device);
	disk->device_path = arena_strdup(arena, path ? path : "");
	disk->device_id = arena_strdup(arena, id ? id : "");
	disk->block_size = sys_number(BLOCK "/%s/queue/physical_block_size", name);
	disk->firmware_version = sys_text(arena, "%s/firmware_rev", device);
	disk->rpm = sys_number(BLOCK "/%s/queue/rotational", name);
	disk->serial = sys_text(arena, "%s/serial", device);
	if (!*disk->serial)
		disk->serial = sys_text(arena, BLOCK "/%s/serial", name);
	disk->pci_address = sys_pci_address(arena, device);
	fill_partitions(arena, disk, name);
	return disk;
}

Pb__ResourcesStorage *resources_storage(Arena *arena)
{
	Pb__ResourcesStorage *out = arena_message(
	    arena, Pb__ResourcesStorage, pb__resources_storage);
	g_autoptr(GHashTable) by_path = load_links("/dev/disk/by-path"),
			      by_id = load_links("/dev/disk/by-id");
	g_auto(GStrv) names = sys_list(BLOCK);
	for (char **name = names; *name; name++) {
		if (!is_disk(*name))
			continue;
		Pb__ResourcesStorageDisk *disk = read_disk(arena, *name, by_path, by_id);
		out->disks = arena_append(arena, &out->n_disks, out->disks, disk);
		out->total += 1 + disk->n_partitions;
	}
	return out;
}
