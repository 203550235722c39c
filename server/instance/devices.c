/* An instance's devices, in their order, at its start and its end. */
#include "server/instance/private.h"
#include "sdk/base/fault.h"

/* The first n, last first. */
static void stop_some(const DeviceHost *host, const char **names, guint n)
{
	while (n-- > 0) {
		const DeviceType *type;
		Config *config = devices_get(host->devices, names[n]);
		if (device_type_find(config, &type, NULL) == 0 && type->stop)
			type->stop(host, names[n], config);
	}
}

void devices_adopt(Instance *i, pid_t init)
{
	guint n;
	DeviceHost host;
	instance_host(i, &host, NULL);
	host.running = TRUE;
	host.init_pid = init;
	g_autofree const char **names = device_sorted(host.devices, &n);
	for (guint k = 0; k < n; k++) {
		const DeviceType *type;
		Config *config = devices_get(host.devices, names[k]);
		if (device_type_find(config, &type, NULL) == 0 && type->adopt)
			type->adopt(&host, names[k], config);
	}
	instance_host_clear(&host);
}

void devices_stop(const DeviceHost *host)
{
	guint n;
	g_autofree const char **names = device_sorted(host->devices, &n);
	stop_some(host, names, n);
}

static int start_one(const DeviceHost *host, const char *name, DeviceStart *out, Error **err)
{
	const DeviceType *type;
	Config *config = devices_get(host->devices, name);
	if (device_type_find(config, &type, err) < 0)
		return -1;
	if (type->start &&
	    (fault_point("device start", err) < 0 || type->start(host, name, config, out, err) < 0))
		return error_prefix(err, "Failed to start device \"%s\"", name);
	return 0;
}

int devices_start(const DeviceHost *host, DeviceStart *out, Error **err)
{
	guint n;
	g_autofree const char **names = device_sorted(host->devices, &n);
	for (guint k = 0; k < n; k++) {
		if (start_one(host, names[k], out, err) < 0) {
			stop_some(host, names, k);
			return -1;
		}
	}
	return 0;
}

int devices_started(const DeviceHost *host, Error **err)
{
	guint n;
	g_autofree const char **names = device_sorted(host->devices, &n);
	for (guint k = 0; k < n; k++) {
		const DeviceType *type;
		Config *config = devices_get(host->devices, names[k]);
		if (device_type_find(config, &type, NULL) == 0 && type->started &&
		    (fault_point("device started", err) < 0 ||
			type->started(host, names[k], config, err) < 0))
			return error_prefix(err, "Failed to start device \"%s\"", names[k]);
	}
	return 0;
}
