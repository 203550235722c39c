/*
 * incus config: settings of instances and of the server, and devices of instances.
 */
#include "cli/device.h"
#include "cli/message.h"
#include "cli/nouns.h"
#include "cli/output.h"
#include <stdio.h>
#include <string.h>

const Noun instance_noun = {
	.title = "Instance",
	.method = "Instance",
	.body = "instance",
	.edit_help = "# The instance as YAML. Lines that begin with # are left out.\n"
		     "#\n"
		     "# config:\n"
		     "#   limits.cpu: \"2\"\n"
		     "# devices:\n"
		     "#   eth0:\n"
		     "#     type: nic\n"
		     "#     network: incusbr0\n"
		     "# ephemeral: false\n"
		     "# profiles:\n"
		     "# - default\n"
		     "#\n"
		     "# Its name is shown, but changed by \"incus rename\".\n",
};

static const Noun snapshot_noun = {
	.title = "Instance snapshot",
	.method = "InstanceSnapshot",
	.body = "snapshot",
	.edit_help =
	    "# The snapshot as YAML. Lines that begin with # are left out.\n"
	    "#\n"
	    "# expires_at: 2030-01-01T00:00:00Z\n"
	    "#\n"
	    "# Only when it expires can be changed; nothing, or 0001-01-01T00:00:00Z, is never.\n",
};

const Noun server_noun = {
	.title = "Server",
	.method = "Server",
	.body = "server",
	.edit_help = "# The server's settings as YAML. Lines that begin with # are left out.\n"
		     "#\n"
		     "# config:\n"
		     "#   core.https_address: '[::]:8443'\n",
};

/* "INSTANCE/SNAPSHOT" is a snapshot. */
static void choose_noun(Object *owner)
{
	const char *slash = strchr(owner->name, '/');
	if (!*owner->name)
		owner->noun = &server_noun;
	if (!slash)
		return;
	owner->noun = &snapshot_noun;
	json_object_set_new(
	    owner->key, "instance", json_stringn(owner->name, (size_t)(slash - owner->name)));
	json_object_set_new(owner->key, "name", json_string(slash + 1));
}

/* Snapshots have keys, but as they were taken. */
static int check_property(Cli *cli, const Object *owner, Error **err)
{
	if (owner->noun != &snapshot_noun || flag_bool(cli, "property"))
		return 0;
	return error_set(err, ERROR_INVALID,
	    "The config keys of a snapshot are as they were when it was taken: only properties can be changed (--property)");
}

/* The first argument names an instance or a snapshot of one; or, with `extra` arguments fewer, the
 * server. */
static int parse_owner(Cli *cli, int with_instance, Object *ret, int *ret_next, Error **err)
{
	bool remote_only = cli->n_args > 0 && g_str_has_suffix(cli->args[0], ":");
	*ret_next = 0;
	if (cli->n_args < with_instance && !remote_only) {
		Server *server = server_get(cli, NULL, err);
		if (!server)
			return -1;
		*ret = object_make(server, &server_noun, "");
		return 0;
	}
	*ret_next = 1;
	if (object_parse(cli, &instance_noun, cli->args[0], ret, err) < 0)
		return -1;
	choose_noun(ret);
	return 0;
}

/* "config set" without an instance when the first argument is a pair or there are just two words
 * of which the first can only be a server's key. */
static bool sets_server(Cli *cli)
{
	if (strchr(cli->args[0], '='))
		return true;
	return cli->n_args == 2 && !strchr(cli->args[1], '=') &&
	    !g_str_has_suffix(cli->args[0], ":");
}

static int set(Cli *cli, Error **err)
{
	Object owner;
	int next;
	if (parse_owner(cli, sets_server(cli) ? cli->n_args + 1 : 1, &owner, &next, err) < 0 ||
	    check_property(cli, &owner, err) < 0)
		return -1;
	return object_set(&owner, next, err);
}

static int get(Cli *cli, Error **err)
{
	Object owner;
	int next;
	if (parse_owner(cli, 2, &owner, &next, err) < 0)
		return -1;
	if (next >= cli->n_args)
		return error_set(err, ERROR_INVALID, "Missing key name");
	return object_print_key(&owner, cli->args[next], err);
}

static int unset(Cli *cli, Error **err)
{
	Object owner;
	int next;
	if (parse_owner(cli, 2, &owner, &next, err) < 0 || check_property(cli, &owner, err) < 0)
		return -1;
	if (next >= cli->n_args)
		return error_set(err, ERROR_INVALID, "Missing key name");
	return object_unset(&owner, cli->args[next], err);
}

static int edit(Cli *cli, Error **err)
{
	Object owner;
	int next;
	if (parse_owner(cli, 1, &owner, &next, err) < 0)
		return -1;
	return object_edit(&owner, err);
}

static int show(Cli *cli, Error **err)
{
	Object owner;
	int next;
	if (parse_owner(cli, 1, &owner, &next, err) < 0)
		return -1;
	json_t *data = object_get(&owner, err);
	if (!data)
		return -1;
	/* Nearly nothing of a snapshot can be written: all of it is shown. */
	json_t *shown = owner.noun == &snapshot_noun ? data : object_writable(&owner, data);
	if (flag_bool(cli, "expanded") && owner.noun != &server_noun) {
		json_object_set(shown, "config", json_object_get(data, "expanded_config"));
		json_object_set(shown, "devices", json_object_get(data, "expanded_devices"));
	}
	json_object_del(shown, "expanded_config");
	json_object_del(shown, "expanded_devices");
	output_yaml(shown);
	return 0;
}

#define WITH_INSTANCE(call)                                                                        \
	Object instance;                                                                           \
	if (object_parse_named(cli, &instance_noun, cli->args[0], &instance, err) < 0)             \
		return -1;                                                                         \
	return call

static int add(Cli *cli, Error **err)
{
	WITH_INSTANCE(device_add(&instance, cli->args[1], cli->args[2], 3, err));
}

static int device_get_run(Cli *cli, Error **err)
{
	WITH_INSTANCE(device_get(&instance, cli->args[1], cli->args[2], err));
}

static int device_list_run(Cli *cli, Error **err)
{
	WITH_INSTANCE(device_list(&instance, err));
}

static int override(Cli *cli, Error **err)
{
	WITH_INSTANCE(device_override(&instance, cli->args[1], 2, err));
}

static int remove_run(Cli *cli, Error **err)
{
	WITH_INSTANCE(device_remove(&instance, 1, err));
}

static int device_set_run(Cli *cli, Error **err)
{
	WITH_INSTANCE(device_set(&instance, cli->args[1], 2, err));
}

static int device_show_run(Cli *cli, Error **err)
{
	WITH_INSTANCE(device_show(&instance, err));
}

static int device_unset_run(Cli *cli, Error **err)
{
	WITH_INSTANCE(device_unset(&instance, cli->args[1], cli->args[2], err));
}

static const Flag key_flags[] = { FLAG_TARGET, FLAG_PROPERTY, FLAG_END };
static const Flag target_flags[] = { FLAG_TARGET, FLAG_END };
static const Flag get_flags[] = {
	{ "expanded", 'e', FLAG_BOOL, NULL, "With what the profiles give" },
	FLAG_PROPERTY,
	FLAG_TARGET,
	FLAG_END,
};
static const Flag show_flags[] = {
	{ "expanded", 'e', FLAG_BOOL, NULL, "With what the profiles give" },
	FLAG_TARGET,
	FLAG_END,
};

const Command config_commands[] = {
	{ .path = "config", .summary = "Configure instances and the server" },
	{ .path = "config device", .summary = "Manage devices of instances" },
	{ .path = "config device add",
	    .usage = "[<remote>:]<instance> <device> <type> [key=value...]",
	    .min_args = 3,
	    .max_args = -1,
	    .summary = "Add a device to an instance",
	    .examples = "incus config device add c1 data disk source=/srv/data path=/data\n"
			"incus config device add c1 eth1 nic network=incusbr0",
	    .run = add,
	    .complete = "instance" },
	{ .path = "config device get",
	    .usage = "[<remote>:]<instance> <device> <key>",
	    .min_args = 3,
	    .max_args = 3,
	    .summary = "Print one key of a device",
	    .run = device_get_run,
	    .complete = "instance" },
	{ .path = "config device list",
	    .aliases = "ls",
	    .usage = "[<remote>:]<instance>",
	    .min_args = 1,
	    .max_args = 1,
	    .summary = "List the devices of an instance",
	    .run = device_list_run,
	    .complete = "instance" },
	{ .path = "config device override",
	    .usage = "[<remote>:]<instance> <device> [key=value...]",
	    .min_args = 2,
	    .max_args = -1,
	    .summary = "Copy a device from a profile to the instance, with changes",
	    .run = override,
	    .examples = "incus config device override c1 root size=20GiB",
	    .complete = "instance" },
	{ .path = "config device remove",
	    .aliases = "rm",
	    .usage = "[<remote>:]<instance> <name>...",
	    .min_args = 2,
	    .max_args = -1,
	    .summary = "Remove devices from an instance",
	    .run = remove_run,
	    .complete = "instance" },
	{ .path = "config device set",
	    .usage = "[<remote>:]<instance> <device> <key>=<value>...",
	    .min_args = 3,
	    .max_args = -1,
	    .summary = "Set keys of a device",
	    .help = "One key may also be given as \"<key> <value>\".",
	    .run = device_set_run,
	    .complete = "instance" },
	{ .path = "config device show",
	    .usage = "[<remote>:]<instance>",
	    .min_args = 1,
	    .max_args = 1,
	    .summary = "Show the devices of an instance",
	    .run = device_show_run,
	    .complete = "instance" },
	{ .path = "config device unset",
	    .usage = "[<remote>:]<instance> <device> <key>",
	    .min_args = 3,
	    .max_args = 3,
	    .summary = "Unset a key of a device",
	    .run = device_unset_run,
	    .complete = "instance" },
	{ .path = "config edit",
	    .usage = "[<remote>:][<instance>[/<snapshot>]]",
	    .max_args = 1,
	    .flags = target_flags,
	    .summary = "Edit an instance or the server's settings as YAML",
	    .examples = "incus config edit c1 < c1.yaml",
	    .run = edit,
	    .complete = "instance" },
	{ .path = "config get",
	    .usage = "[<remote>:][<instance>[/<snapshot>]] <key>",
	    .min_args = 1,
	    .max_args = 2,
	    .flags = get_flags,
	    .summary = "Print one key of an instance or of the server",
	    .run = get,
	    .complete = "instance" },
	{ .path = "config set",
	    .usage = "[<remote>:][<instance>[/<snapshot>]] <key>=<value>...",
	    .min_args = 1,
	    .max_args = -1,
	    .flags = key_flags,
	    .summary = "Set keys of an instance or of the server",
	    .help =
		"One key may also be given as \"<key> <value>\"; a value of - is read from the\n"
		"standard input.",
	    .examples = "incus config set c1 limits.cpu=2 limits.memory=1GiB\n"
			"incus config set c1/snap0 expires_at=2030-01-01T00:00:00Z --property\n"
			"incus config set core.https_address=:8443",
	    .run = set,
	    .complete = "instance" },
	{ .path = "config show",
	    .usage = "[<remote>:][<instance>[/<snapshot>]]",
	    .max_args = 1,
	    .flags = show_flags,
	    .summary = "Show the configuration of an instance or of the server",
	    .run = show,
	    .complete = "instance" },
	{ .path = "config unset",
	    .usage = "[<remote>:][<instance>[/<snapshot>]] <key>",
	    .min_args = 1,
	    .max_args = 2,
	    .flags = key_flags,
	    .summary = "Unset a key of an instance or of the server",
	    .run = unset,
	    .complete = "instance" },
	{ 0 },
};
