#include "cli/device.h"
#include "cli/output.h"
#include <stdio.h>
#include <string.h>

static void say(const Object *owner, const char *format, const char *device)
{
	if (!owner->server->cli->quiet)
		printf(format, device, owner->name);
}

/* The owner, and its devices in *ret_devices. */
static json_t *fetch(const Object *owner, json_t **ret_devices, Error **err)
{
	json_t *data = object_get(owner, err);
	if (data)
		*ret_devices = json_member(data, "devices");
	return data;
}

static int missing(const Object *owner, const char *device, Error **err)
{
	return error_set(
	    err, ERROR_NOT_FOUND, "Device \"%s\" doesn't exist on %s", device, owner->name);
}

int device_attach(const Object *owner, const char *name, json_t *device, Error **err)
{
	json_t *devices, *data = fetch(owner, &devices, err);
	server_keep(owner->server->cli, device);
	if (!data)
		return -1;
	if (json_object_get(devices, name))
		return error_set(err, ERROR_EXISTS, "The device already exists");
	json_object_set(devices, name, device);
	return object_put(owner, data, err);
}

int device_add(
    const Object *owner, const char *device, const char *type, int first_pair, Error **err)
{
	json_t *config = json_object();
	if (read_pairs(owner->server->cli, first_pair, false, config, err) < 0) {
		json_decref(config);
		return -1;
	}
	json_object_set_new(config, "type", json_string(type));
	if (device_attach(owner, device, config, err) < 0)
		return -1;
	say(owner, "Device %s added to %s\n", device);
	return 0;
}

int device_get(const Object *owner, const char *device, const char *key, Error **err)
{
	json_t *devices, *data = fetch(owner, &devices, err);
	if (!data)
		return -1;
	const json_t *config = json_object_get(devices, device);
	if (!config)
		return missing(owner, device, err);
	puts(json_get_text(config, key));
	return 0;
}

int device_list(const Object *owner, Error **err)
{
	json_t *devices, *data = fetch(owner, &devices, err), *config;
	const char *name;
	if (!data)
		return -1;
	json_object_foreach (devices, name, config)
		puts(name);
	return 0;
}

int device_override(const Object *owner, const char *device, int first_pair, Error **err)
{
	json_t *devices, *data = fetch(owner, &devices, err);
	if (!data)
		return -1;
	if (json_object_get(devices, device))
		return error_set(err, ERROR_EXISTS, "The device already exists");
	json_t *config = json_object_get(json_object_get(data, "expanded_devices"), device);
	if (!config)
		return error_set(err, ERROR_NOT_FOUND, "No profile gives %s a device \"%s\"",
		    owner->name, device);
	config = server_keep(owner->server->cli, json_deep_copy(config));
	if (read_pairs(owner->server->cli, first_pair, false, config, err) < 0)
		return -1;
	json_object_set(devices, device, config);
	if (object_put(owner, data, err) < 0)
		return -1;
	say(owner, "Device %s overridden for %s\n", device);
	return 0;
}

int device_remove(const Object *owner, int first, Error **err)
{
	Cli *cli = owner->server->cli;
	json_t *devices, *data = fetch(owner, &devices, err);
	if (!data)
		return -1;
	for (int i = first; i < cli->n_args; i++) {
		if (json_object_del(devices, cli->args[i]) == 0)
			continue;
		if (json_object_get(json_object_get(data, "expanded_devices"), cli->args[i]))
			return error_set(err, ERROR_INVALID,
			    "Device \"%s\" comes from a profile: override it, or change the profile",
			    cli->args[i]);
		return missing(owner, cli->args[i], err);
	}
	if (object_put(owner, data, err) < 0)
		return -1;
	for (int i = first; i < cli->n_args; i++)
		say(owner, "Device %s removed from %s\n", cli->args[i]);
	return 0;
}

/* The device to change; one of a profile only says so. */
static json_t *own_device(
    const Object *owner, json_t *data, json_t *devices, const char *device, Error **err)
{
	json_t *config = json_object_get(devices, device);
	if (config)
		return config;
	if (json_object_get(json_object_get(data, "expanded_devices"), device))
		error_set(err, ERROR_INVALID,
		    "Device \"%s\" comes from a profile: override it, or change the profile",
		    device);
	else
		missing(owner, device, err);
	return NULL;
}

int device_set(const Object *owner, const char *device, int first_pair, Error **err)
{
	json_t *devices, *data = fetch(owner, &devices, err);
	json_t *config = data ? own_device(owner, data, devices, device, err) : NULL;
	if (!config || read_pairs(owner->server->cli, first_pair, true, config, err) < 0)
		return -1;
	return object_put(owner, data, err);
}

int device_unset(const Object *owner, const char *device, const char *key, Error **err)
{
	json_t *devices, *data = fetch(owner, &devices, err);
	json_t *config = data ? own_device(owner, data, devices, device, err) : NULL;
	if (!config)
		return -1;
	json_object_del(config, key);
	return object_put(owner, data, err);
}

int device_show(const Object *owner, Error **err)
{
	json_t *devices, *data = fetch(owner, &devices, err);
	if (!data)
		return -1;
	output_yaml(devices);
	return 0;
}

static bool matches(const json_t *device, const char *const *keys, const char *value)
{
	for (; *keys; keys++)
		if (strcmp(json_get_text(device, *keys), value) == 0)
			return true;
	return false;
}

static const char *find_device(
    json_t *devices, const char *const *keys, const char *value, Error **err)
{
	const char *name, *found = NULL;
	json_t *device;
	json_object_foreach (devices, name, device) {
		if (!matches(device, keys, value))
			continue;
		if (found) {
			error_set(err, ERROR_INVALID,
			    "More than one device matches, specify the device name");
			return NULL;
		}
		found = name;
	}
	if (!found)
		error_set(err, ERROR_NOT_FOUND, "No device found for \"%s\"", value);
	return found;
}

int device_detach(
    const Object *owner, const char *name, const char *const *keys, const char *value, Error **err)
{
	json_t *devices, *data = fetch(owner, &devices, err);
	if (!data)
		return -1;
	if (!name && !(name = find_device(devices, keys, value, err)))
		return -1;
	json_t *device = json_object_get(devices, name);
	if (!device)
		return missing(owner, name, err);
	if (!matches(device, keys, value))
		return error_set(
		    err, ERROR_INVALID, "The device \"%s\" does not use \"%s\"", name, value);
	json_object_del(devices, name);
	return object_put(owner, data, err);
}
