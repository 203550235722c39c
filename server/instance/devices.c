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

void devices_adopt(Instance *i)
{
	guint n;
	DeviceHost host;
	g_autoptr(GArray) idmap = NULL;
	g_autoptr(Error) error = NULL;
	if (instance_idmap(i, &idmap, NULL, &error) < 0)
		log_warn("Id map is not known", "instance", i->name, "err", error->message);
	instance_host(i, &host, idmap);
	g_autofree const char **names = device_sorted(host.devices, &n);
	for (guint k = 0; k < n; k++) {
		const DeviceType *type;
		Config *config = devices_get(host.devices, names[k]);
		if (device_type_find(config, &type, NULL) == 0 && type->adopt)
			type->adopt(&host, names[k], config);
	}
	instance_host_clear(&host);
}

void devices_left(Instance *i)
{
	guint n;
	DeviceHost host;
	instance_host(i, &host, NULL);
	g_autofree const char **names = device_sorted(host.devices, &n);
	for (guint k = 0; k < n; k++) {
		const DeviceType *type;
		Config *config = devices_get(host.devices, names[k]);
		if (device_type_find(config, &type, NULL) == 0 && type->left)
			type->left(&host, names[k], config);
	}
	instance_host_clear(&host);
}

void devices_stop(const DeviceHost *host)
{
	guint n;
	g_autofree const char **names = device_sorted(host->devices, &n);
	stop_some(host, names, n);
}

/* What came with the instance from elsewhere (LXD) need not be built here: it is not left out
 * without a word. All else its start finds out. */
static int check_built(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	Error *error = NULL;
	if (device_validate(host, name, config, &error) == 0)
		return 0;
	if (error->kind == ERROR_UNSUPPORTED)
		return error_propagate(err, error);
	error_free(error);
	return 0;
}

static int start_one(const DeviceHost *host, const char *name, DeviceStart *out, Error **err)
{
	const DeviceType *type;
	Config *config = devices_get(host->devices, name);
	if (device_type_find(config, &type, err) < 0)
		return -1;
	if (check_built(host, name, config, err) < 0 ||
	    (type->start &&
		(fault_point("device start", err) < 0 ||
		    type->start(host, name, config, out, err) < 0)))
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

static int tell_changed(Instance *i, const char *name, Error **err)
{
	const DeviceType *type;
	DeviceHost host;
	g_autoptr(GArray) idmap = NULL;
	if (!instance_running(i))
		return 0;
	if (instance_idmap(i, &idmap, NULL, err) < 0)
		return -1;
	instance_host(i, &host, idmap);
	Config *config = devices_get(host.devices, name);
	int result = config && device_type_find(config, &type, NULL) == 0 && type->changed ?
	    type->changed(&host, name, config, err) :
	    0;
	instance_host_clear(&host);
	return result;
}

void devices_changed(Daemon *d, const char *project, const char *instance, const char *device)
{
	g_autoptr(Error) error = NULL;
	g_autoptr(Instance) i = NULL;
	if (instance_get(d, project, instance, &i, NULL) < 0)
		return;
	int result = instance_lock(i, &error);
	if (result == 0) {
		result = tell_changed(i, device, &error);
		instance_unlock(i);
	}
	if (result < 0)
		log_warn("Device is not as the host's is now", "instance", instance, "device",
		    device, "err", error->message);
}
