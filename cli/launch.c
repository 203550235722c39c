/*
 * incus create, incus launch.
 */
#include "cli/device.h"
#include "cli/image.h"
#include "cli/instance.h"
#include "cli/output.h"
#include <stdio.h>
#include <string.h>

/* ---- devices ---- */

/* The devices that the profiles of the new instance give it. */
static json_t *profile_devices(Server *server, const json_t *profiles)
{
	json_t *all = server_keep(server->cli, json_object()), *name;
	size_t i;
	json_array_foreach (profiles, i, name) {
		Object profile = object_make(server, &profile_noun, json_string_value(name));
		json_object_update(all, json_object_get(object_get(&profile, NULL), "devices"));
	}
	return all;
}

int device_option(const char *text, const json_t *inherited, json_t *devices, Error **err)
{
	g_auto(GStrv) parts = g_strsplit(text, ",", -1);
	if (!parts[0] || !*parts[0] || !parts[1])
		return error_set(
		    err, ERROR_INVALID, "Invalid device \"%s\": NAME,KEY=VALUE expected", text);
	json_t *device = json_object_get(devices, parts[0]);
	if (!device) {
		const json_t *base = json_object_get(inherited, parts[0]);
		device = base ? json_deep_copy(base) : json_object();
		json_object_set_new(devices, parts[0], device);
	}
	for (char **p = parts + 1; *p; p++)
		if (read_pair(*p, device, err) < 0)
			return -1;
	if (!*json_get_text(device, "type"))
		return error_set(
		    err, ERROR_INVALID, "Device \"%s\" needs a type: no profile has it", parts[0]);
	return 0;
}

static int add_devices(
    Cli *cli, Server *server, const json_t *profiles, json_t *devices, Error **err)
{
	unsigned n;
	const char *const *given = flag_list(cli, "device", &n);
	const json_t *inherited = n > 0 ? profile_devices(server, profiles) : NULL;
	for (unsigned i = 0; i < n; i++)
		if (device_option(given[i], inherited, devices, err) < 0)
			return -1;
	return 0;
}

static int add_network(Cli *cli, Server *server, json_t *devices, Error **err)
{
	const char *name = flag_string(cli, "network");
	if (!*name)
		return 0;
	Object network = object_make(server, &network_noun, name);
	const json_t *data = object_get(&network, err);
	if (!data)
		return error_prefix(err, "Failed loading network \"%s\"", name);
	json_t *device = json_pack("{s:s, s:s}", "type", "nic", "name", "eth0");
	if (json_is_true(json_object_get(data, "managed"))) {
		json_object_set_new(device, "network", json_string(name));
	} else {
		bool bridge = strcmp(json_get_text(data, "type"), "bridge") == 0;
		json_object_set_new(device, "nictype", json_string(bridge ? "bridged" : "macvlan"));
		json_object_set_new(device, "parent", json_string(name));
	}
	json_object_set_new(devices, "eth0", device);
	return 0;
}

static int add_pool(Cli *cli, Server *server, json_t *devices, Error **err)
{
	const char *name = flag_string(cli, "storage");
	if (!*name)
		return 0;
	Object pool = object_make(server, &storage_noun, name);
	if (!object_get(&pool, err))
		return error_prefix(err, "Failed loading storage pool \"%s\"", name);
	json_object_set_new(devices, "root",
	    json_pack("{s:s, s:s, s:s}", "type", "disk", "path", "/", "pool", name));
	return 0;
}

/* ---- the request ---- */

static json_t *profiles_of(Cli *cli, const json_t *instance)
{
	unsigned n;
	const char *const *given = flag_list(cli, "profile", &n);
	if (n == 0 && !flag_bool(cli, "no-profiles"))
		return json_incref(json_object_get(instance, "profiles"));
	json_t *profiles = json_array();
	for (unsigned i = 0; i < n; i++)
		if (*given[i])
			json_array_append_new(profiles, json_string(given[i]));
	return profiles;
}

static int fill_config(Cli *cli, json_t *instance, Error **err)
{
	unsigned n;
	const char *const *pairs = flag_list(cli, "config", &n);
	json_t *config = json_member(instance, "config");
	for (unsigned i = 0; i < n; i++)
		if (read_pair(pairs[i], config, err) < 0)
			return -1;
	return 0;
}

static int fill_instance(Cli *cli, Server *server, json_t *instance, Error **err)
{
	json_t *devices = json_member(instance, "devices");
	json_t *profiles = profiles_of(cli, instance);
	g_autoptr(json_t) fallback = json_pack("[s]", "default");
	bool none = profiles && json_array_size(profiles) == 0;
	if (profiles)
		json_object_set_new(instance, "profiles", profiles);
	if (flag_bool(cli, "ephemeral"))
		json_object_set_new(instance, "ephemeral", json_true());
	json_object_set_new(instance, "instance_type", json_string(flag_string(cli, "type")));
	json_object_set_new(
	    instance, "type", json_string(flag_bool(cli, "vm") ? "virtual-machine" : "container"));
	if (none)
		json_object_set_new(instance, "no_profiles", json_true());
	return fill_config(cli, instance, err) < 0 || add_network(cli, server, devices, err) < 0 ||
		add_pool(cli, server, devices, err) < 0 ||
		add_devices(cli, server, profiles ? profiles : fallback, devices, err) < 0 ?
	    -1 :
	    0;
}

/* Image and instance of the arguments; with --empty there is no image. */
static int parse_arguments_of(
    Cli *cli, const char **ret_image, const char **ret_instance, Error **err)
{
	bool empty = flag_bool(cli, "empty");
	*ret_image = empty ? NULL : cli->args[0];
	*ret_instance = empty ? cli->args[0] : cli->n_args > 1 ? cli->args[1] : NULL;
	if (empty && cli->n_args > 1)
		return error_set(
		    err, ERROR_INVALID, "--empty cannot be combined with an image name");
	if (!empty && cli->n_args == 0)
		return error_set(err, ERROR_INVALID, "Missing image name");
	return 0;
}

static json_t *make_source(Cli *cli, Server *server, const char *image, Error **err)
{
	if (!image)
		return json_pack("{s:s}", "type", "none");
	return image_source(cli, server, image, err);
}

/* The name the server gave, from the operation's resources. */
static const char *name_of_operation(Cli *cli, const json_t *operation)
{
	const json_t *urls = json_object_get(json_object_get(operation, "resources"), "instances");
	const char *url = json_string_value(json_array_get(urls, 0));
	if (!url)
		return "";
	g_autofree char *path = g_strndup(url, strcspn(url, "?"));
	const char *slash = strrchr(path, '/');
	return arena_strdup(cli->arena, slash ? slash + 1 : path);
}

static void warn_about_network(const Object *instance)
{
	const char *name;
	json_t *device, *data = object_get(instance, NULL);
	if (!data || instance->server->cli->quiet)
		return;
	json_object_foreach (json_object_get(data, "expanded_devices"), name, device)
		if (strcmp(json_get_text(device, "type"), "nic") == 0)
			return;
	fprintf(stderr,
	    "\nThe instance you are starting doesn't have any network attached to it.\n"
	    "  To create a new network, use: incus network create\n"
	    "  To attach a network to an instance, use: incus network attach\n\n");
}

static int create_instance(Cli *cli, Object *ret, Error **err)
{
	const char *image, *name;
	Target target = { .name = "" };
	if (parse_arguments_of(cli, &image, &name, err) < 0)
		return -1;
	if (name ? target_parse(cli, name, &target, err) < 0 :
		   !(target.server = server_get(cli, NULL, err)))
		return -1;
	json_t *instance = read_stdin_yaml(cli, err);
	if (!instance && err && *err)
		return -1;
	instance = instance ? instance : server_keep(cli, json_object());
	json_t *source = make_source(cli, target.server, image, err);
	if (!source)
		return -1;
	json_object_set_new(instance, "source", source);
	json_object_set_new(instance, "name", json_string(target.name));
	if (fill_instance(cli, target.server, instance, err) < 0)
		return -1;
	if (!cli->quiet)
		printf(*target.name ? "Creating %s\n" : "Creating the instance%s\n", target.name),
		    fflush(stdout);
	json_t *request = json_pack("{s:O}", "instance", instance);
	if (json_object_del(instance, "no_profiles") == 0)
		json_object_set_new(request, "update_mask", json_pack("[s]", "profiles"));
	json_t *done = image_do(
	    target.server, "CreateInstance", request, source, "Creating the instance", err);
	if (!done)
		return error_prefix(err, "Failed instance creation");
	*ret = object_make(target.server, &instance_noun,
	    *target.name ? target.name : name_of_operation(cli, done));
	if (!*target.name && !cli->quiet)
		printf("Instance name is: %s\n", ret->name);
	return 0;
}

static int create(Cli *cli, Error **err)
{
	Object instance;
	return create_instance(cli, &instance, err);
}

static int launch(Cli *cli, Error **err)
{
	Object instance;
	if (create_instance(cli, &instance, err) < 0)
		return -1;
	if (!cli->quiet)
		printf("Starting %s\n", instance.name), fflush(stdout);
	warn_about_network(&instance);
	if (instance_change_state(
		&instance, "start", -1, false, false, "Starting the instance", err) < 0) {
		fprintf(stderr, "Try `incus info --show-log %s` for more info\n", instance.name);
		return -1;
	}
	if (flag_given(cli, "console"))
		return console_attach(&instance, flag_string(cli, "console"), err);
	return 0;
}

#define CREATE_FLAGS                                                                               \
	{ "config", 'c', FLAG_LIST, NULL, "key=value to set" },                                    \
	{ "device", 'd', FLAG_LIST, NULL, "Device to add or change: NAME,KEY=VALUE,..." },         \
	{ "empty", 0, FLAG_BOOL, NULL, "Make an instance with an empty root file system" },        \
	{ "ephemeral", 'e', FLAG_BOOL, NULL, "Delete the instance when it stops" },                \
	{ "network", 'n', FLAG_STRING, NULL, "Network to join" },                                  \
	{ "no-profiles", 0, FLAG_BOOL, NULL, "Use no profiles" },                                  \
	{ "profile", 'p', FLAG_LIST, NULL, "Profile to use" },                                     \
	{ "storage", 's', FLAG_STRING, NULL, "Storage pool for the root file system" },            \
	FLAG_TARGET,                                                                               \
	{ "type", 't', FLAG_STRING, NULL, "Size: c2-m4, or one of a cloud (t2.micro)" },           \
	{ "vm", 0, FLAG_BOOL, NULL, "Make a virtual machine" }

static const Flag create_flags[] = { CREATE_FLAGS, FLAG_END };
static const Flag launch_flags[] = {
	CREATE_FLAGS,
	{ "console", 0, FLAG_OPTIONAL, "console", "Attach to the console at once" },
	FLAG_END,
};

const Command launch_commands[] = {
	{ .path = "create", .aliases = "init", .usage = "[<remote>:]<image> [<remote>:][<name>]",
	    .min_args = 1, .max_args = 2, .flags = create_flags,
	    .summary = "Create an instance from an image",
	    .help = "Further settings can be given as YAML on the standard input.",
	    .examples = "incus create images:debian/12 c1\n"
			"incus create images:debian/12 c2 -c limits.memory=1GiB < settings.yaml\n"
			"incus create --empty c3",
	    .run = create, .complete = "image" },
	{ .path = "launch", .usage = "[<remote>:]<image> [<remote>:][<name>]", .min_args = 1,
	    .max_args = 2, .flags = launch_flags, .summary = "Create and start an instance",
	    .help = "Further settings can be given as YAML on the standard input.",
	    .examples = "incus launch images:debian/12 c1\n"
			"incus launch images:debian/12 c2 -p default -d root,size=10GiB",
	    .run = launch, .complete = "image" },
	{ 0 },
};
