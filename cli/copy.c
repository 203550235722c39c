/*
 * incus copy, incus move: instances under another name, in another pool or project; to another
 * server: copy_remote.c.
 */
#include "cli/copy.h"
#include "cli/device.h"
#include "cli/instance.h"
#include <stdio.h>
#include <string.h>

static const char *project_of(const Server *server)
{
	return server->project ? server->project : "default";
}

static int parse_source(Cli *cli, Ends *ends, Error **err)
{
	if (object_parse_named(cli, &instance_noun, cli->args[0], &ends->source, err) < 0)
		return -1;
	const char *slash = strchr(ends->source.name, '/');
	if (slash) {
		const char *name = arena_strndup(
		    cli->arena, ends->source.name, slash - ends->source.name);
		ends->snapshot = slash + 1;
		ends->source = object_make(ends->source.server, &instance_noun, name);
	}
	ends->data = object_get(&ends->source, err);
	return ends->data ? 0 : -1;
}

static int parse_ends(Cli *cli, Ends *ends, Error **err)
{
	Target target = { .name = "" };
	const char *project = flag_string(cli, "target-project");
	if (parse_source(cli, ends, err) < 0)
		return -1;
	if (cli->n_args > 1 && target_parse(cli, cli->args[1], &target, err) < 0)
		return -1;
	ends->server = target.server ? target.server : ends->source.server;
	ends->project = *project ? project : NULL;
	ends->name = target.name;
	if (strchr(ends->name, '/'))
		return error_set(err, ERROR_INVALID, "Invalid instance name \"%s\"", ends->name);
	bool elsewhere = ends->server != ends->source.server ||
	    (ends->project && strcmp(ends->project, project_of(ends->source.server)) != 0);
	if (!*ends->name && !elsewhere && strcmp(cli->command->path, "copy") == 0)
		return error_set(
		    err, ERROR_INVALID, "You must specify a destination instance name");
	if (!*ends->name)
		ends->name = ends->source.name;
	return 0;
}

/* ---- what the options change ---- */

static int config_changes(Cli *cli, json_t *config, Error **err)
{
	unsigned n;
	const char *const *pairs = flag_list(cli, "config", &n);
	for (unsigned i = 0; i < n; i++)
		if (read_pair(pairs[i], config, err) < 0)
			return -1;
	return 0;
}

/* The root disk, local or of a profile, in the pool of --storage. */
static int pool_change(Cli *cli, const json_t *expanded, json_t *devices, Error **err)
{
	const char *pool = flag_string(cli, "storage"), *name;
	json_t *device;
	if (!*pool)
		return 0;
	json_object_foreach ((json_t *)expanded, name, device)
		if (strcmp(json_get_text(device, "type"), "disk") == 0 &&
		    strcmp(json_get_text(device, "path"), "/") == 0) {
			json_t *own = json_object_get(devices, name);
			if (!own)
				json_object_set_new(devices, name, own = json_deep_copy(device));
			json_object_set_new(own, "pool", json_string(pool));
			return 0;
		}
	json_object_set_new(devices, "root",
	    json_pack("{s:s, s:s, s:s}", "type", "disk", "path", "/", "pool", pool));
	return 0;
}

static int device_changes(Cli *cli, const json_t *data, json_t *devices, Error **err)
{
	unsigned n;
	const char *const *given = flag_list(cli, "device", &n);
	const json_t *expanded = json_object_get(data, "expanded_devices");
	for (unsigned i = 0; i < n; i++)
		if (device_option(given[i], expanded, devices, err) < 0)
			return -1;
	return pool_change(cli, expanded, devices, err);
}

/* NULL: those of the source. */
static json_t *profile_changes(Cli *cli)
{
	unsigned n;
	const char *const *given = flag_list(cli, "profile", &n);
	if (n == 0 && !flag_bool(cli, "no-profiles"))
		return NULL;
	json_t *profiles = json_array();
	for (unsigned i = 0; i < n; i++)
		if (*given[i])
			json_array_append_new(profiles, json_string(given[i]));
	return profiles;
}

static bool is_refresh(Cli *cli)
{
	return flag_find(cli->command, "refresh", strlen("refresh")) && flag_bool(cli, "refresh");
}

static bool is_ephemeral(Cli *cli, const Ends *ends)
{
	bool move = !flag_find(cli->command, "ephemeral", strlen("ephemeral"));
	return move ? json_is_true(json_object_get(ends->data, "ephemeral")) :
		      flag_bool(cli, "ephemeral");
}

static json_t *describe(Cli *cli, const Ends *ends, Error **err)
{
	json_t *instance = server_keep(cli, json_object());
	json_t *profiles = profile_changes(cli);
	const char *from = ends->snapshot ?
	    arena_printf(cli->arena, "%s/%s", ends->source.name, ends->snapshot) :
	    ends->source.name;
	if (profiles)
		json_object_set_new(instance, "profiles", profiles);
	json_object_set_new(instance, "name", json_string(ends->name));
	json_object_set_new(instance, "type", json_string(json_get_text(ends->data, "type")));
	json_object_set_new(instance, "ephemeral", json_boolean(is_ephemeral(cli, ends)));
	json_object_set_new(
	    instance, "description", json_string(json_get_text(ends->data, "description")));
	json_object_set_new(
	    instance, "architecture", json_string(json_get_text(ends->data, "architecture")));
	json_object_set_new(instance, "source",
	    json_pack("{s:s, s:s, s:s, s:b, s:b, s:b}", "type", "copy", "source", from, "project",
		project_of(ends->source.server), "instance_only", flag_bool(cli, "instance-only"),
		"refresh", is_refresh(cli), "allow_inconsistent",
		flag_bool(cli, "allow-inconsistent")));
	return config_changes(cli, json_member(instance, "config"), err) < 0 ||
		device_changes(cli, ends->data, json_member(instance, "devices"), err) < 0 ?
	    NULL :
	    instance;
}

/* ---- copy ---- */

static bool exists(const Ends *ends)
{
	g_autoptr(Error) missing = NULL;
	json_t *key = json_pack("{s:s}", "name", ends->name);
	if (ends->project)
		json_object_set_new(key, "project", json_string(ends->project));
	return server_call(ends->server, "GetInstance", key, &missing) != NULL;
}

static bool is_volatile(const char *key)
{
	return g_str_has_prefix(key, "volatile.");
}

/* After a refresh the copy has the keys, devices and profiles of the source, but its own volatile
 * keys and pool. */
static int refresh_settings(Cli *cli, const Ends *ends, json_t *changes, Error **err)
{
	Object copy = object_make(ends->server, &instance_noun, ends->name);
	if (ends->project)
		json_object_set_new(copy.key, "project", json_string(ends->project));
	json_t *data = object_get(&copy, err), *value;
	const char *key;
	if (!data)
		return -1;
	json_t *put = object_writable(&copy, ends->data);
	json_t *config = json_object(), *devices = json_deep_copy(json_object_get(put, "devices"));
	json_object_foreach (json_object_get(ends->data, "config"), key, value)
		if (!is_volatile(key))
			json_object_set(config, key, value);
	json_object_foreach (json_object_get(data, "config"), key, value)
		if (is_volatile(key))
			json_object_set(config, key, value);
	json_object_update(config, json_object_get(changes, "config"));
	json_object_foreach (json_object_get(data, "expanded_devices"), key, value)
		if (strcmp(json_get_text(value, "path"), "/") == 0)
			json_object_set(devices, key, value);
	json_object_update(devices, json_object_get(changes, "devices"));
	json_object_set_new(put, "config", config);
	json_object_set_new(put, "devices", devices);
	if (json_object_get(changes, "profiles"))
		json_object_set(put, "profiles", json_object_get(changes, "profiles"));
	return object_put(&copy, put, err);
}

static int copy_run(Cli *cli, Error **err)
{
	Ends ends = { 0 };
	if (parse_ends(cli, &ends, err) < 0)
		return -1;
	json_t *instance = describe(cli, &ends, err);
	if (!instance)
		return -1;
	bool refresh = flag_bool(cli, "refresh") && exists(&ends);
	if (ends.server != ends.source.server) {
		if (copy_between(cli, &ends, instance, false, err) < 0)
			return -1;
		return refresh && !ends.snapshot ? refresh_settings(cli, &ends, instance, err) : 0;
	}
	json_t *request = json_pack("{s:O}", "instance", instance);
	if (ends.project)
		json_object_set_new(request, "project", json_string(ends.project));
	json_t *profiles = json_object_get(instance, "profiles");
	if (profiles && json_array_size(profiles) == 0)
		json_object_set_new(request, "update_mask", json_pack("[s]", "profiles"));
	if (!server_do(ends.server, "CreateInstance", request,
		arena_printf(cli->arena, "Copying %s", ends.source.name), err))
		return -1;
	return refresh && !ends.snapshot ? refresh_settings(cli, &ends, instance, err) : 0;
}

/* ---- move ---- */

/* Options that change keys, devices or profiles are carried out where the instance then is. */
static int apply_changes(Cli *cli, const Ends *ends, Error **err)
{
	Object moved = object_make(ends->server, &instance_noun, ends->name);
	if (ends->project)
		json_object_set_new(moved.key, "project", json_string(ends->project));
	if (!flag_given(cli, "config") && !flag_given(cli, "device"))
		return 0;
	json_t *data = object_get(&moved, err);
	if (!data)
		return -1;
	json_t *put = json_deep_copy(data);
	server_keep(cli, put);
	if (config_changes(cli, json_member(put, "config"), err) < 0)
		return -1;
	unsigned n;
	const char *const *given = flag_list(cli, "device", &n);
	for (unsigned i = 0; i < n; i++)
		if (device_option(given[i], json_object_get(data, "expanded_devices"),
			json_member(put, "devices"), err) < 0)
			return -1;
	return object_put(&moved, put, err);
}

static int move_run(Cli *cli, Error **err)
{
	Ends ends = { 0 };
	if (parse_ends(cli, &ends, err) < 0)
		return -1;
	if (ends.snapshot)
		return error_set(err, ERROR_INVALID,
		    "A snapshot cannot be moved: use incus copy, or incus snapshot rename");
	if (ends.server != ends.source.server) {
		json_t *instance = describe(cli, &ends, err);
		return instance ? copy_between(cli, &ends, instance, true, err) : -1;
	}
	if (flag_given(cli, "profile") || flag_bool(cli, "no-profiles"))
		return error_set(err, ERROR_UNSUPPORTED,
		    "Profiles cannot be changed by a move on one server: use incus profile assign before or after");
	json_t *request = json_copy(ends.source.key);
	json_object_set_new(request, "instance",
	    json_pack("{s:s, s:s, s:s, s:b}", "name", ends.name, "pool",
		flag_string(cli, "storage"), "project", ends.project ? ends.project : "",
		"instance_only", flag_bool(cli, "instance-only")));
	if (!server_do(ends.server, "RenameInstance", request,
		arena_printf(cli->arena, "Moving %s", ends.source.name), err))
		return -1;
	return apply_changes(cli, &ends, err);
}

#define MOVE_FLAGS                                                                                 \
	{ "allow-inconsistent", 0, FLAG_BOOL, NULL, "Go on when files change underneath" },        \
	    { "config", 'c', FLAG_LIST, NULL, "key=value to set on the result" },                  \
	    { "device", 'd', FLAG_LIST, NULL, "Device to add or change: NAME,KEY=VALUE,..." },     \
	    { "instance-only", 0, FLAG_BOOL, NULL, "Leave the snapshots" },                        \
	    { "mode", 0, FLAG_STRING, "pull", "Between servers: pull, push or relay" },            \
	    { "no-profiles", 0, FLAG_BOOL, NULL, "Use no profiles" },                              \
	    { "profile", 'p', FLAG_LIST, NULL, "Profile to use instead of those of the source" },  \
	    { "stateless", 0, FLAG_BOOL, NULL, "Leave the running state" },                        \
	    { "storage", 's', FLAG_STRING, NULL, "Storage pool for the root file system" },        \
	    FLAG_TARGET,                                                                           \
	{                                                                                          \
		"target-project", 0, FLAG_STRING, NULL, "Project of the result"                    \
	}

static const Flag copy_flags[] = {
	MOVE_FLAGS,
	{ "ephemeral", 'e', FLAG_BOOL, NULL, "Delete the copy when it stops" },
	{ "refresh", 0, FLAG_BOOL, NULL, "Bring an existing copy up to date" },
	FLAG_END,
};
static const Flag move_flags[] = { MOVE_FLAGS, FLAG_END };

const Command copy_commands[] = {
	{ .path = "copy",
	    .aliases = "cp",
	    .usage = "[<remote>:]<source>[/<snapshot>] [[<remote>:]<destination>]",
	    .min_args = 1,
	    .max_args = 2,
	    .flags = copy_flags,
	    .summary = "Copy an instance",
	    .help =
		"The copy gets its own name, identity and MAC addresses. It is not started, but for that of a\n"
		"running instance with \"migration.stateful\" on another server: that goes on from the same\n"
		"moment as the original (not with --stateless).",
	    .examples = "incus copy c1 c2\n"
			"incus copy c1/before-upgrade c3 -s fast -c limits.memory=2GiB\n"
			"incus copy c1 backup --refresh\n"
			"    Bring the copy up to date, snapshots included.\n"
			"incus copy c1 backup-server: --mode push\n"
			"    To another server; with push this one connects to it.",
	    .run = copy_run,
	    .complete = "instance,instance" },
	{ .path = "move",
	    .aliases = "mv",
	    .usage = "[<remote>:]<instance> [<remote>:][<instance>]",
	    .min_args = 1,
	    .max_args = 2,
	    .flags = move_flags,
	    .summary = "Move or rename an instance",
	    .help =
		"The instance must be stopped, but to another server: there a container goes while it runs\n"
		"(unless \"migration.stateful\" is false), as a virtual machine does where\n"
		"\"migration.stateful\" is true, and stands still for a moment; with --stateless it is stopped\n"
		"for it. Its snapshots go with it.",
	    .examples = "incus move c1 web\n"
			"    Another name.\n"
			"incus move c1 --storage fast\n"
			"incus move c1 --target-project lab\n"
			"incus move c1 other-server:",
	    .run = move_run,
	    .complete = "instance,instance" },
	{ 0 },
};
