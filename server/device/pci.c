/* PCI devices and graphics cards of the host: whole in a virtual machine, by VFIO; in a container
 * the nodes of a graphics card. */
#include "server/device/device_private.h"
#include "server/device/hardware.h"
#include "server/device/pass.h"
#include "server/key/key.h"
#include "server/sys/resources.h"
#include <string.h>
#include <unistd.h>

/* ---- what can be given away ---- */

static gboolean has_iommu(const char *address)
{
	g_autofree char *group = g_strdup_printf("/sys/bus/pci/devices/%s/iommu_group", address);
	return access(group, F_OK) == 0;
}

static int check_units(const Pb__ResourcesPCI *all, const GPtrArray *units, Error **err)
{
	for (guint n = 0; n < units->len; n++) {
		const char *address = (char *)units->pdata[n] + strlen("pci ");
		if (hardware_pci_check(all, address, has_iommu(address), err) < 0)
			return -1;
	}
	return 0;
}

/* ---- pci ---- */

static int pci_validate(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	if (key_check_all(KEY_DEVICE, "pci", config, err) < 0)
		return -1;
	if (host && !device_host_is_machine(host))
		return error_set(
		    err, ERROR_INVALID, "Devices of type \"pci\" are for virtual machines only");
	return config_get(config, "address") ?
	    0 :
	    error_set(err, ERROR_INVALID, "PCI device is missing the required \"address\" property");
}

static int pci_find(const DeviceHost *host, const char *name, const Config *config,
    GPtrArray **ret_units, Error **err)
{
	g_autoptr(Arena) arena = arena_new();
	g_autofree char *address = hardware_pci_address(config_get(config, "address"));
	*ret_units = g_ptr_array_new_with_free_func(g_free);
	g_ptr_array_add(*ret_units, g_strconcat("pci ", address, NULL));
	return check_units(resources_pci(arena), *ret_units, err);
}

static int pci_start(
    const DeviceHost *host, const char *name, const Config *config, DeviceStart *out, Error **err)
{
	return pass_start(host, name, config, pci_find, out, err);
}

static int pci_attach(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	return pass_update(host, name, config, pci_find, err);
}

static void stop(const DeviceHost *host, const char *name, const Config *config)
{
	pass_stop(host, name);
}

const DeviceType device_pci = { .type = "pci",
	.validate = pci_validate,
	.start = pci_start,
	.stop = stop,
	.left = stop,
	.attach = pci_attach,
	.detach = pass_detach };

/* ---- gpu ---- */

/* Each says alone which card is meant. */
static int check_choice(const Config *config, Error **err)
{
	static const char *const others[] = { "id", "productid", "vendorid" };
	static const char *const alone[] = { "pci", "id" };
	for (gsize n = 0; n < G_N_ELEMENTS(alone); n++)
		for (gsize k = n; config_get(config, alone[n]) && k < G_N_ELEMENTS(others); k++)
			if (config_get(config, others[k]))
				return error_set(err, ERROR_INVALID,
				    "Cannot use \"%s\" when \"%s\" is set", others[k], alone[n]);
	return 0;
}

static int gpu_validate(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	const char *kind = config_get(config, "gputype");
	g_autofree char *scope = g_strconcat("gpu-", kind && *kind ? kind : "physical", NULL);
	if (key_check_all(KEY_DEVICE, scope, config, err) < 0)
		return -1;
	if (strcmp(scope, "gpu-physical") != 0)
		return error_set(err, ERROR_UNSUPPORTED,
		    "Graphics cards of gputype \"%s\" are not built in this version: only whole ones (\"physical\") are passed on",
		    kind);
	return check_choice(config, err) < 0 ? -1 : device_check_owner_keys(host, config, err);
}

static int gpu_find(const DeviceHost *host, const char *name, const Config *config,
    GPtrArray **ret_units, Error **err)
{
	g_autoptr(Arena) arena = arena_new();
	const Pb__ResourcesGPU *cards = resources_gpu(arena);
	if (device_host_is_machine(host)) {
		const Pb__ResourcesPCI *all = resources_pci(arena);
		if (hardware_gpu_functions(cards, all, config, ret_units, err) < 0 ||
		    check_units(all, *ret_units, err) < 0)
			return -1;
	} else {
		*ret_units = hardware_gpu_nodes(cards, config);
	}
	if ((*ret_units)->len > 0)
		return 0;
	return error_set(err, ERROR_NOT_FOUND,
	    "No graphics card of the host's fits device \"%s\" (it has %d)", name,
	    (int)cards->n_cards);
}

static int gpu_start(
    const DeviceHost *host, const char *name, const Config *config, DeviceStart *out, Error **err)
{
	return pass_start(host, name, config, gpu_find, out, err);
}

static int gpu_attach(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	return pass_update(host, name, config, gpu_find, err);
}

const DeviceType device_gpu = { .type = "gpu",
	.validate = gpu_validate,
	.start = gpu_start,
	.stop = stop,
	.left = stop,
	.attach = gpu_attach,
	.detach = pass_detach };
