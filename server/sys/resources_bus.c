/* What hangs on buses: PCI and USB devices, graphics and network cards. */
#include "server/sys/resources_private.h"

#include <stdio.h>
#include <string.h>

#define PCI "/sys/bus/pci/devices"
#define USB "/sys/bus/usb/devices"

/* pci.ids, read once: "8086" and "8086:1237" to names. NULL where the file is not installed. */
static GHashTable *load_pci_ids(void)
{
	static const char *const paths[] = {"/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids"};
	GHashTable *names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
	g_autofree char *text = NULL;
	for (size_t i = 0; i < G_N_ELEMENTS(paths) && !text; i++)
		g_file_get_contents(paths[i], &text, NULL, NULL);
	char vendor[5] = "";
	for (char *line = text, *next; line && *line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = 0;
		if (g_ascii_isxdigit(line[0]) && strlen(line) > 6 && line[4] == ' ') {
			g_strlcpy(vendor, line, sizeof(vendor));
			g_hash_table_insert(names, g_strdup(vendor), g_strdup(line + 6));
		} else if (line[0] == '\t' && g_ascii_isxdigit(line[1]) && strlen(line) > 7) {
			g_hash_table_insert(names, g_strdup_printf("%s:%.4s", vendor, line + 1),
			    g_strdup(line + 7));
		} else if (g_str_has_prefix(line, "C ")) {
			break; /* classes follow */
		}
	}
	return names;
}

void pci_names(
    Arena *arena, const char *vendor, const char *product, char **ret_vendor, char **ret_product)
{
	static GHashTable *names;
	if (g_once_init_enter(&names))
		g_once_init_leave(&names, load_pci_ids());
	g_autofree char *both = g_strconcat(vendor, ":", product, NULL);
	const char *one = g_hash_table_lookup(names, vendor),
		   *two = g_hash_table_lookup(names, both);
	*ret_vendor = arena_strdup(arena, one ? one : "");
	*ret_product = arena_strdup(arena, two ? two : "");
}

/* "0x8086" as "8086". */
static char *hex_id(Arena *arena, const char *device, const char *file)
{
	char *text = sys_text(arena, "%s/%s", device, file);
	return g_str_has_prefix(text, "0x") ? text + 2 : text;
}

static char *driver_version(Arena *arena, const char *driver)
{
	char *version = sys_text(arena, "/sys/module/%s/version", *driver ? driver : "-");
	return version;
}

Pb__ResourcesPCI *resources_pci(Arena *arena)
{
	Pb__ResourcesPCI *out = arena_message(arena, Pb__ResourcesPCI, pb__resources_pci);
	g_auto(GStrv) names = sys_list(PCI);
	for (char **name = names; *name; name++) {
		g_autofree char *path = g_strconcat(PCI "/", *name, NULL);
		Pb__ResourcesPCIDevice *device = arena_message(
		    arena, Pb__ResourcesPCIDevice, pb__resources_pcidevice);
		device->driver = sys_link_name(arena, "%s/driver", path);
		device->driver_version = driver_version(arena, device->driver);
		device->numa_node = sys_numa_node(path);
		device->pci_address = arena_strdup(arena, *name);
		device->vendor_id = hex_id(arena, path, "vendor");
		device->product_id = hex_id(arena, path, "device");
		pci_names(arena, device->vendor_id, device->product_id, &device->vendor,
		    &device->product);
		device->iommu_group = g_ascii_strtoull(
		    sys_link_name(arena, "%s/iommu_group", path), NULL, 10);
		device->vpd = arena_message(arena, Pb__ResourcesPCIVPD, pb__resources_pcivpd);
		out->devices = arena_append(arena, &out->n_devices, out->devices, device);
	}
	out->total = out->n_devices;
	return out;
}

static void fill_usb_interfaces(
    Arena *arena, Pb__ResourcesUSBDevice *device, const char *path, const char *name)
{
	g_autofree char *prefix = g_strconcat(name, ":", NULL);
	g_auto(GStrv) entries = sys_list("%s", path);
	for (char **entry = entries; *entry; entry++) {
		if (!g_str_has_prefix(*entry, prefix))
			continue;
		Pb__ResourcesUSBDeviceInterface *interface = arena_message(
		    arena, Pb__ResourcesUSBDeviceInterface, pb__resources_usbdevice_interface);
		interface->class_id = g_ascii_strtoull(
		    sys_text(arena, "%s/%s/bInterfaceClass", path, *entry), NULL, 16);
		interface->subclass_id = g_ascii_strtoull(
		    sys_text(arena, "%s/%s/bInterfaceSubClass", path, *entry), NULL, 16);
		interface->number = sys_number("%s/%s/bInterfaceNumber", path, *entry);
		interface->driver = sys_link_name(arena, "%s/%s/driver", path, *entry);
		interface->driver_version = driver_version(arena, interface->driver);
		device->interfaces = arena_append(
		    arena, &device->n_interfaces, device->interfaces, interface);
	}
}

/* Hubs are left out: nothing of them can be passed on. */
Pb__ResourcesUSB *resources_usb(Arena *arena)
{
	enum { CLASS_HUB = 9 };
	Pb__ResourcesUSB *out = arena_message(arena, Pb__ResourcesUSB, pb__resources_usb);
	g_auto(GStrv) names = sys_list(USB);
	for (char **name = names; *name; name++) {
		g_autofree char *path = g_strconcat(USB "/", *name, NULL);
		if (strchr(*name, ':') ||
		    g_ascii_strtoull(sys_text(arena, "%s/bDeviceClass", path), NULL, 16) ==
			CLASS_HUB)
			continue;
		Pb__ResourcesUSBDevice *device = arena_message(
		    arena, Pb__ResourcesUSBDevice, pb__resources_usbdevice);
		device->bus_address = sys_number("%s/busnum", path);
		device->device_address = sys_number("%s/devnum", path);
		device->vendor_id = sys_text(arena, "%s/idVendor", path);
		device->product_id = sys_text(arena, "%s/idProduct", path);
		device->vendor = sys_text(arena, "%s/manufacturer", path);
		device->product = sys_text(arena, "%s/product", path);
		device->serial = sys_text(arena, "%s/serial", path);
		device->speed = g_ascii_strtod(sys_text(arena, "%s/speed", path), NULL);
		fill_usb_interfaces(arena, device, path, *name);
		out->devices = arena_append(arena, &out->n_devices, out->devices, device);
	}
	out->total = out->n_devices;
	return out;
}

static void fill_drm(Arena *arena, Pb__ResourcesGPUCard *card, const char *name)
{
	card->drm = arena_message(arena, Pb__ResourcesGPUCardDRM, pb__resources_gpucard_drm);
	card->drm->id = g_ascii_strtoull(name + strlen("card"), NULL, 10);
	card->drm->card_name = arena_strdup(arena, name);
	card->drm->card_device = sys_text(arena, "/sys/class/drm/%s/dev", name);
	g_auto(GStrv) nodes = sys_list("/sys/class/drm/%s/device/drm", name);
	for (char **node = nodes; *node; node++)
		if (g_str_has_prefix(*node, "renderD")) {
			card->drm->render_name = arena_strdup(arena, *node);
			card->drm->render_device = sys_text(arena, "/sys/class/drm/%s/dev", *node);
		} else if (g_str_has_prefix(*node, "controlD")) {
			card->drm->control_name = arena_strdup(arena, *node);
			card->drm->control_device = sys_text(arena, "/sys/class/drm/%s/dev", *node);
		}
}

Pb__ResourcesGPU *resources_gpu(Arena *arena)
{
	Pb__ResourcesGPU *out = arena_message(arena, Pb__ResourcesGPU, pb__resources_gpu);
	g_auto(GStrv) names = sys_list("/sys/class/drm");
	for (char **name = names; *name; name++) {
		unsigned id;
		int used = 0;
		if (sscanf(*name, "card%u%n", &id, &used) != 1 ||
		    (*name)[used]) /* connectors are card0-HDMI-A-1 */
			continue;
		g_autofree char *device = g_strconcat("/sys/class/drm/", *name, "/device", NULL);
		Pb__ResourcesGPUCard *card = arena_message(
		    arena, Pb__ResourcesGPUCard, pb__resources_gpucard);
		card->driver = sys_link_name(arena, "%s/driver", device);
		card->driver_version = driver_version(arena, card->driver);
		card->numa_node = sys_numa_node(device);
		card->pci_address = sys_pci_address(arena, device);
		card->vendor_id = hex_id(arena, device, "vendor");
		card->product_id = hex_id(arena, device, "device");
		pci_names(arena, card->vendor_id, card->product_id, &card->vendor, &card->product);
		fill_drm(arena, card, *name);
		out->cards = arena_append(arena, &out->n_cards, out->cards, card);
	}
	out->total = out->n_cards;
	return out;
}

static Pb__ResourcesNetworkCardPort *network_port(Arena *arena, const char *name)
{
	Pb__ResourcesNetworkCardPort *port = arena_message(
	    arena, Pb__ResourcesNetworkCardPort, pb__resources_network_card_port);
	char *speed = sys_text(arena, "/sys/class/net/%s/speed", name);
	port->id = arena_strdup(arena, name);
	port->address = sys_text(arena, "/sys/class/net/%s/address", name);
	port->port = sys_number("/sys/class/net/%s/dev_port", name);
	port->protocol = arena_strdup(
	    arena, sys_number("/sys/class/net/%s/type", name) == 32 ? "infiniband" : "ethernet");
	port->link_detected = sys_number("/sys/class/net/%s/carrier", name) != 0;
	port->link_speed = *speed == '-' ? 0 : g_ascii_strtoull(speed, NULL, 10);
	port->link_duplex = sys_text(arena, "/sys/class/net/%s/duplex", name);
	return port;
}

static Pb__ResourcesNetworkCard *find_card(
    Arena *arena, Pb__ResourcesNetwork *out, const char *device)
{
	char *address = sys_pci_address(arena, device);
	for (size_t i = 0; i < out->n_cards; i++)
		if (*address && strcmp(out->cards[i]->pci_address, address) == 0)
			return out->cards[i];
	Pb__ResourcesNetworkCard *card = arena_message(
	    arena, Pb__ResourcesNetworkCard, pb__resources_network_card);
	card->pci_address = address;
	card->driver = sys_link_name(arena, "%s/driver", device);
	card->driver_version = driver_version(arena, card->driver);
	card->numa_node = sys_numa_node(device);
	g_autofree char *pci = *address ? g_strconcat(PCI "/", address, NULL) : g_strdup(device);
	card->vendor_id = hex_id(arena, pci, "vendor");
	card->product_id = hex_id(arena, pci, "device");
	pci_names(arena, card->vendor_id, card->product_id, &card->vendor, &card->product);
	uint64_t most = sys_number("%s/sriov_totalvfs", device);
	if (most) {
		card->sriov = arena_message(
		    arena, Pb__ResourcesNetworkCardSRIOV, pb__resources_network_card_sriov);
		card->sriov->maximum_vfs = most;
		card->sriov->current_vfs = sys_number("%s/sriov_numvfs", device);
	}
	out->cards = arena_append(arena, &out->n_cards, out->cards, card);
	return card;
}

/* Interfaces with a device behind them; bridges, veths and the like have none. */
Pb__ResourcesNetwork *resources_network(Arena *arena)
{
	Pb__ResourcesNetwork *out = arena_message(
	    arena, Pb__ResourcesNetwork, pb__resources_network);
	g_auto(GStrv) names = sys_list("/sys/class/net");
	for (char **name = names; *name; name++) {
		g_autofree char *device = g_strconcat("/sys/class/net/", *name, "/device", NULL);
		if (!sys_exists("%s", device))
			continue;
		Pb__ResourcesNetworkCard *card = find_card(arena, out, device);
		card->ports = arena_append(
		    arena, &card->n_ports, card->ports, network_port(arena, *name));
	}
	out->total = out->n_cards;
	return out;
}
