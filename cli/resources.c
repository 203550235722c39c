#include "cli/info.h"
#include <stdio.h>
#include <string.h>

typedef void (*PrintItem)(const json_t *item, const char *indent);

static void print_text(const char *indent, const char *label, const json_t *object, const char *key)
{
	if (*json_get_text(object, key))
		printf("%s%s: %s\n", indent, label, json_get_text(object, key));
}

static void print_number(
    const char *indent, const char *label, const json_t *object, const char *key)
{
	if (json_object_get(object, key))
		printf("%s%s: %" G_GINT64_FORMAT "\n", indent, label, json_get_int(object, key));
}

/* One item stands below its title; several are numbered. */
static void print_items(const char *title, const char *plural, const json_t *items, PrintItem print)
{
	size_t i;
	json_t *item;
	if (json_array_size(items) == 0)
		return;
	if (json_array_size(items) == 1) {
		printf("\n%s:\n", title);
		print(json_array_get(items, 0), "  ");
		return;
	}
	printf("\n%s:\n", plural);
	json_array_foreach (items, i, item) {
		printf("  %s %zu:\n", title, i);
		print(item, "    ");
	}
}

static void print_core(const json_t *core, const char *indent)
{
	size_t i;
	json_t *thread;
	printf("%s  - Core %" G_GINT64_FORMAT "\n", indent, json_get_int(core, "core"));
	if (json_get_int(core, "frequency") > 0)
		printf("%s    Frequency: %" G_GINT64_FORMAT "Mhz\n", indent,
		    json_get_int(core, "frequency"));
	printf("%s    Threads:\n", indent);
	json_array_foreach (json_object_get(core, "threads"), i, thread)
		printf("%s      - %" G_GINT64_FORMAT " (id: %" G_GINT64_FORMAT
		       ", online: %s, NUMA node: %" G_GINT64_FORMAT ")\n",
		    indent, json_get_int(thread, "thread"), json_get_int(thread, "id"),
		    json_is_true(json_object_get(thread, "online")) ? "true" : "false",
		    json_get_int(thread, "numa_node"));
}

static void print_socket(const json_t *socket, const char *indent)
{
	size_t i;
	json_t *item;
	print_text(indent, "Vendor", socket, "vendor");
	print_text(indent, "Name", socket, "name");
	if (json_array_size(json_object_get(socket, "cache")) > 0)
		printf("%sCaches:\n", indent);
	json_array_foreach (json_object_get(socket, "cache"), i, item) {
		g_autofree char *label = g_strdup_printf("%s  - Level %" G_GINT64_FORMAT
							 " (type: %s)",
		    indent, json_get_int(item, "level"), json_get_text(item, "type"));
		print_size(label, json_get_int(item, "size"));
	}
	printf("%sCores:\n", indent);
	json_array_foreach (json_object_get(socket, "cores"), i, item)
		print_core(item, indent);
	if (json_get_int(socket, "frequency") > 0)
		printf("%sFrequency: %" G_GINT64_FORMAT "Mhz (min: %" G_GINT64_FORMAT
		       "Mhz, max: %" G_GINT64_FORMAT "Mhz)\n",
		    indent, json_get_int(socket, "frequency"),
		    json_get_int(socket, "frequency_minimum"),
		    json_get_int(socket, "frequency_turbo"));
}

static void print_cpu(const json_t *cpu)
{
	const json_t *sockets = json_object_get(cpu, "sockets");
	size_t i;
	json_t *socket;
	bool several = json_array_size(sockets) > 1;
	printf("%s:\n  Architecture: %s\n", several ? "CPUs" : "CPU",
	    json_get_text(cpu, "architecture"));
	json_array_foreach (sockets, i, socket) {
		if (several)
			printf("  Socket %" G_GINT64_FORMAT ":\n", json_get_int(socket, "socket"));
		print_socket(socket, several ? "    " : "  ");
	}
}

static void print_amounts(const json_t *memory, const char *indent)
{
	int64_t total = json_get_int(memory, "total"), used = json_get_int(memory, "used");
	g_autofree char *free_label = g_strconcat(indent, "Free", NULL);
	g_autofree char *used_label = g_strconcat(indent, "Used", NULL);
	g_autofree char *total_label = g_strconcat(indent, "Total", NULL);
	print_size(free_label, total - used);
	print_size(used_label, used);
	print_size(total_label, total);
}

static void print_memory(const json_t *memory)
{
	size_t i;
	json_t *node;
	puts("\nMemory:");
	if (json_get_int(memory, "hugepages_total") > 0) {
		puts("  Hugepages:");
		json_t *pages = json_pack("{s:I, s:I}", "total",
		    (json_int_t)json_get_int(memory, "hugepages_total"), "used",
		    (json_int_t)json_get_int(memory, "hugepages_used"));
		print_amounts(pages, "    ");
		json_decref(pages);
	}
	if (json_array_size(json_object_get(memory, "nodes")) > 1) {
		puts("  NUMA nodes:");
		json_array_foreach (json_object_get(memory, "nodes"), i, node) {
			printf("    Node %" G_GINT64_FORMAT ":\n", json_get_int(node, "numa_node"));
			print_amounts(node, "      ");
		}
	}
	print_amounts(memory, "  ");
}

static void print_device(const json_t *item, const char *indent)
{
	print_number(indent, "NUMA node", item, "numa_node");
	if (*json_get_text(item, "vendor"))
		printf("%sVendor: %s (%s)\n", indent, json_get_text(item, "vendor"),
		    json_get_text(item, "vendor_id"));
	if (*json_get_text(item, "product"))
		printf("%sProduct: %s (%s)\n", indent, json_get_text(item, "product"),
		    json_get_text(item, "product_id"));
	print_text(indent, "PCI address", item, "pci_address");
	if (*json_get_text(item, "driver"))
		printf("%sDriver: %s (%s)\n", indent, json_get_text(item, "driver"),
		    json_get_text(item, "driver_version"));
}

static void print_network_card(const json_t *card, const char *indent)
{
	size_t i;
	json_t *port;
	print_device(card, indent);
	if (json_array_size(json_object_get(card, "ports")) > 0)
		printf("%sPorts:\n", indent);
	json_array_foreach (json_object_get(card, "ports"), i, port) {
		printf("%s  - Port %" G_GINT64_FORMAT " (%s)\n", indent, json_get_int(port, "port"),
		    json_get_text(port, "protocol"));
		printf("%s    ID: %s\n", indent, json_get_text(port, "id"));
		if (*json_get_text(port, "address"))
			printf("%s    Address: %s\n", indent, json_get_text(port, "address"));
		printf("%s    Link detected: %s\n", indent,
		    json_is_true(json_object_get(port, "link_detected")) ? "yes" : "no");
		if (json_get_int(port, "link_speed") > 0)
			printf("%s    Link speed: %" G_GINT64_FORMAT "Mbit/s (%s duplex)\n", indent,
			    json_get_int(port, "link_speed"), json_get_text(port, "link_duplex"));
	}
}

static void print_disk(const json_t *disk, const char *indent)
{
	size_t i;
	json_t *partition;
	print_number(indent, "NUMA node", disk, "numa_node");
	print_text(indent, "ID", disk, "id");
	print_text(indent, "Device", disk, "device");
	print_text(indent, "Model", disk, "model");
	print_text(indent, "Type", disk, "type");
	g_autofree char *label = g_strconcat(indent, "Size", NULL);
	print_size(label, json_get_int(disk, "size"));
	printf("%sRead-Only: %s\n", indent,
	    json_is_true(json_object_get(disk, "read_only")) ? "true" : "false");
	printf("%sRemovable: %s\n", indent,
	    json_is_true(json_object_get(disk, "removable")) ? "true" : "false");
	if (json_array_size(json_object_get(disk, "partitions")) > 0)
		printf("%sPartitions:\n", indent);
	json_array_foreach (json_object_get(disk, "partitions"), i, partition) {
		printf("%s  - Partition %" G_GINT64_FORMAT "\n", indent,
		    json_get_int(partition, "partition"));
		printf("%s    ID: %s\n", indent, json_get_text(partition, "id"));
		printf("%s    Device: %s\n", indent, json_get_text(partition, "device"));
		g_autofree char *size = g_strconcat(indent, "    Size", NULL);
		print_size(size, json_get_int(partition, "size"));
	}
}

static void print_usb(const json_t *device, const char *indent)
{
	if (*json_get_text(device, "vendor") || *json_get_text(device, "vendor_id"))
		printf("%sVendor: %s (%s)\n", indent, json_get_text(device, "vendor"),
		    json_get_text(device, "vendor_id"));
	if (*json_get_text(device, "product") || *json_get_text(device, "product_id"))
		printf("%sProduct: %s (%s)\n", indent, json_get_text(device, "product"),
		    json_get_text(device, "product_id"));
	print_number(indent, "Bus Address", device, "bus_address");
	print_number(indent, "Device Address", device, "device_address");
}

static void print_system(const json_t *system)
{
	if (!json_is_object(system))
		return;
	puts("System:");
	print_text("  ", "UUID", system, "uuid");
	print_text("  ", "Vendor", system, "vendor");
	print_text("  ", "Product", system, "product");
	print_text("  ", "Family", system, "family");
	print_text("  ", "Version", system, "version");
	print_text("  ", "Type", system, "type");
	putchar('\n');
}

int resources_print(Server *server, Error **err)
{
	json_t *data = server_call(server, "GetServerResources", NULL, err);
	if (!data)
		return -1;
	print_system(json_object_get(data, "system"));
	print_cpu(json_object_get(data, "cpu"));
	print_memory(json_object_get(data, "memory"));
	print_items(
	    "GPU", "GPUs", json_object_get(json_object_get(data, "gpu"), "cards"), print_device);
	print_items("NIC", "NICs", json_object_get(json_object_get(data, "network"), "cards"),
	    print_network_card);
	print_items("Disk", "Disks", json_object_get(json_object_get(data, "storage"), "disks"),
	    print_disk);
	print_items("USB device", "USB devices",
	    json_object_get(json_object_get(data, "usb"), "devices"), print_usb);
	print_items("PCI device", "PCI devices",
	    json_object_get(json_object_get(data, "pci"), "devices"), print_device);
	return 0;
}
