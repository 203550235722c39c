/* USB devices of the host: in a container their nodes, in a virtual machine they themselves. All
 * that fit are passed on, and come and go with the host's. */
#include "server/device/device_private.h"
#include "server/device/hardware.h"
#include "server/device/pass.h"
#include "server/device/watch.h"
#include "server/key/key.h"
#include "server/sys/resources.h"

#define NODES "/dev/bus/usb"

static int validate(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	return key_check_all(KEY_DEVICE, "usb", config, err) < 0 ?
	    -1 :
	    device_check_owner_keys(host, config, err);
}

/* "vendorid 1d6b, productid 0002", as far as it is said. */
static char *describe(const Config *config)
{
	static const char *const keys[] = { "vendorid", "productid", "serial", "busnum", "devnum" };
	GString *text = g_string_new(NULL);
	for (gsize n = 0; n < G_N_ELEMENTS(keys); n++)
		if (config_get(config, keys[n]))
			g_string_append_printf(text, "%s%s %s", text->len ? ", " : "", keys[n],
			    config_get(config, keys[n]));
	return g_string_free(text, FALSE);
}

static int find(const DeviceHost *host, const char *name, const Config *config,
    GPtrArray **ret_units, Error **err)
{
	g_autoptr(Arena) arena = arena_new();
	g_autofree char *wanted = describe(config);
	*ret_units = hardware_usb(resources_usb(arena), config, device_host_is_machine(host));
	if ((*ret_units)->len > 0 || !config_true(config, "required"))
		return 0;
	return error_set(err, ERROR_NOT_FOUND,
	    "The USB device (%s) is not there: plug it in, or set required=false",
	    *wanted ? wanted : "any");
}

static int start(
    const DeviceHost *host, const char *name, const Config *config, DeviceStart *out, Error **err)
{
	if (pass_start(host, name, config, find, out, err) < 0)
		return -1;
	device_watch_add(host, name, NODES);
	return 0;
}

static void stop(const DeviceHost *host, const char *name, const Config *config)
{
	device_watch_remove(host, name);
	pass_stop(host, name);
}

static int attach(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	if (pass_update(host, name, config, find, err) < 0)
		return -1;
	device_watch_add(host, name, NODES);
	return 0;
}

static int detach(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	if (pass_detach(host, name, config, err) < 0)
		return -1;
	device_watch_remove(host, name);
	return 0;
}

/* One that is required and went may come again: the instance goes on without it. */
static int find_now(const DeviceHost *host, const char *name, const Config *config,
    GPtrArray **ret_units, Error **err)
{
	g_autoptr(Arena) arena = arena_new();
	*ret_units = hardware_usb(resources_usb(arena), config, device_host_is_machine(host));
	return 0;
}

static int changed(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	return pass_update(host, name, config, find_now, err);
}

static void adopt(const DeviceHost *host, const char *name, const Config *config)
{
	g_autoptr(Error) error = NULL;
	device_watch_add(host, name, NODES);
	if (changed(host, name, config, &error) < 0)
		log_warn("USB devices are not as the host's are now", "instance", host->instance,
		    "device", name, "err", error->message);
}

const DeviceType device_usb = { .type = "usb",
	.validate = validate,
	.start = start,
	.stop = stop,
	.left = stop,
	.adopt = adopt,
	.attach = attach,
	.detach = detach,
	.changed = changed };
