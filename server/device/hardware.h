#pragma once
/*
 * Which of the host's devices a usb, gpu or pci device means. What goes into an instance are units,
 * each a line of text, so that a list of them can be kept in a file:
 *   "node MAJOR MINOR PATH"   a character device, at PATH in a container
 *   "usb BUS NUMBER"          a virtual machine's
 *   "pci DOMAIN:BUS:SLOT.F"   a virtual machine's
 * The choosing is pure; the lists are of server/sys/resources.h. Only for server/device.
 */
#include "server/device/device.h"
#include "incus/v1/server.pb-c.h"

/* Units (char *) of each that fits; none is no failure. */
GPtrArray *hardware_usb(const Pb__ResourcesUSB *all, const Config *config, gboolean machine);
GPtrArray *hardware_gpu_nodes(const Pb__ResourcesGPU *all, const Config *config);
/* The one card that fits, with all functions of its slot; ERROR_INVALID for several. */
int hardware_gpu_functions(const Pb__ResourcesGPU *all, const Pb__ResourcesPCI *functions,
    const Config *config, GPtrArray **ret_units, Error **err);
/* "3B:00.0" as "0000:3b:00.0" (g_free). */
char *hardware_pci_address(const char *text);
/* Whether a virtual machine can have it: it is there, in a group of the IOMMU's (iommu) that the
 * host uses nothing else of. */
int hardware_pci_check(
    const Pb__ResourcesPCI *all, const char *address, gboolean iommu, Error **err);
