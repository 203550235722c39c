#include "server/key/device_type.h"

#include <glib.h>
#include <string.h>

static const char *const types[] = {"none", "nic", "disk", "unix-char", "unix-block", "usb", "gpu",
    "infiniband", "proxy", "unix-hotplug", "tpm", "pci"};

int device_type_number(const char *type)
{
	for (size_t i = 0; type && i < G_N_ELEMENTS(types); i++)
		if (strcmp(types[i], type) == 0)
			return (int)i;
	return -1;
}

const char *device_type_from_number(int number)
{
	return number >= 0 && (size_t)number < G_N_ELEMENTS(types) ? types[number] : "none";
}
