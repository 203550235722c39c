#include "server/device/hardware.h"
#include <stdio.h>
#include <string.h>

/* A key that is not given fits everything. */
static gboolean fits(const Config *config, const char *key, const char *value)
{
	const char *wanted = config_get(config, key);
	return !wanted || !*wanted || g_ascii_strcasecmp(wanted, value ? value : "") == 0;
}

static gboolean fits_number(const Config *config, const char *key, uint64_t value)
{
	const char *wanted = config_get(config, key);
	return !wanted || !*wanted || g_ascii_strtoull(wanted, NULL, 10) == value;
}

char *hardware_pci_address(const char *text)
{
	g_autofree char *low = g_ascii_strdown(text, -1);
	return strchr(low, ':') == strrchr(low, ':') ? g_strconcat("0000:", low, NULL) :
						       g_steal_pointer(&low);
}

/* ---- USB ---- */

/* The kernel's numbers of "/dev/bus/usb/BUS/NUMBER". */
static char *usb_node(unsigned bus, unsigned number)
{
	enum { MAJOR = 189, OF_A_BUS = 128 };
	return g_strdup_printf("node %d %u /dev/bus/usb/%03u/%03u", MAJOR,
	    (bus - 1) * OF_A_BUS + number - 1, bus, number);
}

GPtrArray *hardware_usb(const Pb__ResourcesUSB *all, const Config *config, gboolean machine)
{
	GPtrArray *units = g_ptr_array_new_with_free_func(g_free);
	for (size_t n = 0; n < all->n_devices; n++) {
		const Pb__ResourcesUSBDevice *device = all->devices[n];
		unsigned bus = (unsigned)device->bus_address,
			 number = (unsigned)device->device_address;
		if (!bus || !number || !fits(config, "vendorid", device->vendor_id) ||
		    !fits(config, "productid", device->product_id) ||
		    !fits(config, "serial", device->serial) ||
		    !fits_number(config, "busnum", bus) || !fits_number(config, "devnum", number))
			continue;
		g_ptr_array_add(units,
		    machine ? g_strdup_printf("usb %u %u", bus, number) : usb_node(bus, number));
	}
	return units;
}

/* ---- graphics cards ---- */

static gboolean gpu_fits(const Pb__ResourcesGPUCard *card, const Config *config)
{
	const char *pci = config_get(config, "pci");
	g_autofree char *address = pci && *pci ? hardware_pci_address(pci) : NULL;
	return fits(config, "vendorid", card->vendor_id) &&
	    fits(config, "productid", card->product_id) &&
	    (!address || strcmp(address, card->pci_address) == 0) &&
	    (!config_get(config, "id") ||
		(card->drm && fits_number(config, "id", card->drm->id)));
}

/* device: "226:0". */
static void add_node(GPtrArray *units, const char *name, const char *device)
{
	unsigned number[2];
	if (name && *name && device && sscanf(device, "%u:%u", &number[0], &number[1]) == 2)
		g_ptr_array_add(units,
		    g_strdup_printf("node %u %u /dev/dri/%s", number[0], number[1], name));
}

GPtrArray *hardware_gpu_nodes(const Pb__ResourcesGPU *all, const Config *config)
{
	GPtrArray *units = g_ptr_array_new_with_free_func(g_free);
	for (size_t n = 0; n < all->n_cards; n++) {
		const Pb__ResourcesGPUCardDRM *drm = all->cards[n]->drm;
		if (!drm || !gpu_fits(all->cards[n], config))
			continue;
		add_node(units, drm->card_name, drm->card_device);
		add_node(units, drm->render_name, drm->render_device);
		add_node(units, drm->control_name, drm->control_device);
	}
	return units;
}

static gboolean same_slot(const char *a, const char *b)
{
	const char *dot = strrchr(a, '.');
	return dot && strncmp(a, b, (size_t)(dot - a) + 1) == 0;
}

int hardware_gpu_functions(const Pb__ResourcesGPU *all, const Pb__ResourcesPCI *functions,
    const Config *config, GPtrArray **ret_units, Error **err)
{
	const char *found = NULL;
	for (size_t n = 0; n < all->n_cards; n++) {
		if (!gpu_fits(all->cards[n], config) || !*all->cards[n]->pci_address)
			continue;
		if (found)
			return error_set(err, ERROR_INVALID,
			    "Several graphics cards fit (\"%s\", \"%s\"), and a virtual machine's device is one: say which by \"pci\"",
			    found, all->cards[n]->pci_address);
		found = all->cards[n]->pci_address;
	}
	*ret_units = g_ptr_array_new_with_free_func(g_free);
	for (size_t n = 0; found && n < functions->n_devices; n++)
		if (same_slot(found, functions->devices[n]->pci_address))
			g_ptr_array_add(*ret_units,
			    g_strconcat("pci ", functions->devices[n]->pci_address, NULL));
	return 0;
}

/* ---- PCI ---- */

/* Bridges stay the host's, and do no harm. */
static gboolean host_uses(const Pb__ResourcesPCIDevice *device)
{
	static const char *const harmless[] = { "", "vfio-pci", "pcieport", "pci-stub", NULL };
	return !g_strv_contains(harmless, device->driver ? device->driver : "");
}

int hardware_pci_check(
    const Pb__ResourcesPCI *all, const char *address, gboolean iommu, Error **err)
{
	const Pb__ResourcesPCIDevice *own = NULL;
	for (size_t n = 0; n < all->n_devices && !own; n++)
		if (strcmp(all->devices[n]->pci_address, address) == 0)
			own = all->devices[n];
	if (!own)
		return error_set(
		    err, ERROR_NOT_FOUND, "The host has no PCI device \"%s\"", address);
	if (!iommu)
		return error_set(err, ERROR_UNSUPPORTED,
		    "PCI device \"%s\" cannot be given away, for the host has no IOMMU, or it is off: switch it on in the firmware (VT-d, AMD-Vi) and, for Intel, with intel_iommu=on on the kernel's command line",
		    address);
	for (size_t n = 0; n < all->n_devices; n++) {
		const Pb__ResourcesPCIDevice *other = all->devices[n];
		if (other->iommu_group == own->iommu_group && host_uses(other) &&
		    !same_slot(address, other->pci_address))
			return error_set(err, ERROR_BUSY,
			    "PCI device \"%s\" cannot be given away without \"%s\", which the host uses (driver \"%s\"): the IOMMU has them in one group",
			    address, other->pci_address, other->driver);
	}
	return 0;
}
