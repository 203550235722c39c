/*
 * incus profile: sets of configuration and devices for instances.
 */
#include "cli/device.h"
#include "cli/instance.h"
#include "cli/nouns.h"
#include "cli/output.h"
#include <stdio.h>
#include <string.h>

const Noun profile_noun = {
	.title = "Profile",
	.method = "Profile",
	.body = "profile",
	.edit_help = "# The profile as YAML. Lines that begin with # are left out.\n"
		     "#\n"
		     "# config:\n"
		     "#   limits.memory: 2GiB\n"
		     "# description: An example\n"
		     "# devices:\n"
		     "#   eth0:\n"
		     "#     type: nic\n"
		     "#     network: incusbr0\n"
		     "#\n"
		     "# Its name is shown, but changed by \"incus profile rename\".\n",
};

static int show(Cli *cli, Error **err)
{
	return noun_show(cli, &profile_noun, err);
}

static int edit(Cli *cli, Error **err)
{
	return noun_edit(cli, &profile_noun, err);
}

static int get(Cli *cli, Error **err)
{
	return noun_get(cli, &profile_noun, err);
}

static int set(Cli *cli, Error **err)
{
	return noun_set(cli, &profile_noun, err);
}

static int unset(Cli *cli, Error **err)
{
	return noun_unset(cli, &profile_noun, err);
}

static int rename_run(Cli *cli, Error **err)
{
	return noun_rename(cli, &profile_noun, err);
}

static int delete(Cli *cli, Error **err)
{
	return noun_delete(cli, &profile_noun, err);
}

static int create(Cli *cli, Error **err)
{
	Object profile;
	if (object_parse_named(cli, &profile_noun, cli->args[0], &profile, err) < 0)
		return -1;
	return object_create(&profile, server_keep(cli, json_object()), err);
}

static int list(Cli *cli, Error **err)
{
	static const char *const headers[] = { "NAME", "DESCRIPTION", "USED BY", NULL };
	Server *server = server_of_argument(cli, 0, err);
	if (!server || output_check_format(cli, err) < 0)
		return -1;
	json_t *profiles = server_list(server, "GetProfiles", NULL, err), *profile;
	if (!profiles)
		return -1;
	g_autoptr(Table) table = table_new(headers);
	size_t i;
	json_array_foreach (profiles, i, profile)
		table_add(table, json_get_text(profile, "name"), json_get_text(profile, "description"),
		    arena_printf(cli->arena, "%zu", json_array_size(json_object_get(profile, "used_by"))),
		    NULL);
	table_sort(table);
	return output_list(cli, table, profiles, err);
}

static int copy(Cli *cli, Error **err)
{
	Object from, to;
	if (object_parse_named(cli, &profile_noun, cli->args[0], &from, err) < 0 ||
	    object_parse(cli, &profile_noun, cli->args[1], &to, err) < 0)
		return -1;
	if (!*to.name)
		to = object_make(to.server, &profile_noun, from.name);
	json_t *data = object_get(&from, err);
	if (!data)
		return -1;
	const char *project = flag_string(cli, "target-project");
	if (*project)
		json_object_set_new(to.key, "project", json_string(project));
	if (flag_bool(cli, "refresh") && object_get(&to, NULL))
		return object_put(&to, data, err);
	cli->quiet = true;
	return object_create(&to, object_writable(&to, data), err);
}

/* ---- profiles of instances ---- */

static int change_profiles(Cli *cli, const Object *instance, json_t *data, json_t *profiles, Error **err)
{
	json_object_set(data, "profiles", profiles);
	(void)cli;
	return object_put(instance, data, err);
}

static int assign(Cli *cli, Error **err)
{
	Object instance;
	json_t *data, *profiles = server_keep(cli, json_array());
	if (object_parse_named(cli, &instance_noun, cli->args[0], &instance, err) < 0)
		return -1;
	const char *names = cli->n_args > 1 ? cli->args[1] : "";
	g_auto(GStrv) words = g_strsplit(names, ",", -1);
	for (char **w = words; *w; w++)
		if (*g_strstrip(*w))
			json_array_append_new(profiles, json_string(*w));
	data = object_get(&instance, err);
	if (!data || change_profiles(cli, &instance, data, profiles, err) < 0)
		return -1;
	if (!cli->quiet)
		printf("Profiles %s applied to %s\n", json_array_size(profiles) ? names : "(none)",
		    instance.name);
	return 0;
}

static int add(Cli *cli, Error **err)
{
	Object instance;
	if (object_parse_named(cli, &instance_noun, cli->args[0], &instance, err) < 0)
		return -1;
	json_t *data = object_get(&instance, err);
	if (!data)
		return -1;
	json_t *profiles = server_keep(cli, json_copy(json_object_get(data, "profiles")));
	json_array_append_new(profiles, json_string(cli->args[1]));
	if (change_profiles(cli, &instance, data, profiles, err) < 0)
		return -1;
	if (!cli->quiet)
		printf("Profile %s added to %s\n", cli->args[1], instance.name);
	return 0;
}

static int remove_run(Cli *cli, Error **err)
{
	Object instance;
	if (object_parse_named(cli, &instance_noun, cli->args[0], &instance, err) < 0)
		return -1;
	json_t *data = object_get(&instance, err), *name;
	if (!data)
		return -1;
	json_t *profiles = server_keep(cli, json_array());
	size_t i;
	bool found = false;
	json_array_foreach (json_object_get(data, "profiles"), i, name) {
		if (strcmp(json_string_value(name), cli->args[1]) == 0)
			found = true;
		else
			json_array_append(profiles, name);
	}
	if (!found)
		return error_set(err, ERROR_NOT_FOUND, "Profile %s isn't currently applied to %s", cli->args[1],
		    instance.name);
	if (change_profiles(cli, &instance, data, profiles, err) < 0)
		return -1;
	if (!cli->quiet)
		printf("Profile %s removed from %s\n", cli->args[1], instance.name);
	return 0;
}

/* ---- devices ---- */

#define WITH_PROFILE(call)                                                                         \
	Object profile;                                                                            \
	if (object_parse_named(cli, &profile_noun, cli->args[0], &profile, err) < 0)               \
		return -1;                                                                         \
	return call

static int profile_device_add(Cli *cli, Error **err)
{
	WITH_PROFILE(device_add(&profile, cli->args[1], cli->args[2], 3, err));
}

static int profile_device_get(Cli *cli, Error **err)
{
	WITH_PROFILE(device_get(&profile, cli->args[1], cli->args[2], err));
}

static int profile_device_list(Cli *cli, Error **err)
{
	WITH_PROFILE(device_list(&profile, err));
}

static int profile_device_remove(Cli *cli, Error **err)
{
	WITH_PROFILE(device_remove(&profile, 1, err));
}

static int profile_device_set(Cli *cli, Error **err)
{
	WITH_PROFILE(device_set(&profile, cli->args[1], 2, err));
}

static int profile_device_show(Cli *cli, Error **err)
{
	WITH_PROFILE(device_show(&profile, err));
}

static int profile_device_unset(Cli *cli, Error **err)
{
	WITH_PROFILE(device_unset(&profile, cli->args[1], cli->args[2], err));
}

static const Flag property_flags[] = { FLAG_PROPERTY, FLAG_END };
static const Flag format_flags[] = { FLAG_FORMAT, FLAG_END };
static const Flag copy_flags[] = {
	{ "refresh", 0, FLAG_BOOL, NULL, "Replace the content of a profile that is there" },
	{ "target-project", 0, FLAG_STRING, NULL, "Project to copy to" },
	FLAG_END,
};

/* The same tree stands under "profile" and, for old scripts, under "config profile". */
#define PROFILE_COMMANDS(top, hide)                                                                \
	{ .path = top, .summary = "Manage profiles", .hidden = hide },                             \
	{ .path = top " add", .usage = "[<remote>:]<instance> <profile>", .min_args = 2,           \
	    .max_args = 2, .summary = "Add a profile to an instance", .run = add,                  \
	    .complete = "instance,profile" },                                                      \
	{ .path = top " assign", .aliases = "apply",                                               \
	    .usage = "[<remote>:]<instance> <profiles>", .min_args = 1, .max_args = 2,             \
	    .summary = "Replace the profiles of an instance",                                      \
	    .examples = "incus profile assign c1 default,big\n"                                    \
			"    c1 has these two profiles, and the second counts more.\n"             \
			"incus profile assign c1 \"\"\n"                                           \
			"    c1 has none.",                                                        \
	    .run = assign, .complete = "instance,profile" },                                       \
	{ .path = top " copy", .aliases = "cp",                                                    \
	    .usage = "[<remote>:]<profile> [<remote>:]<profile>", .min_args = 2, .max_args = 2,    \
	    .flags = copy_flags, .summary = "Copy a profile", .run = copy,                         \
	    .complete = "profile" },                                                               \
	{ .path = top " create", .usage = "[<remote>:]<profile>", .min_args = 1, .max_args = 1,    \
	    .summary = "Create a profile", .run = create },                                        \
	{ .path = top " delete", .aliases = "rm", .usage = "[<remote>:]<profile>", .min_args = 1,  \
	    .max_args = 1, .summary = "Delete a profile", .run = delete, .complete = "profile" },  \
	{ .path = top " device", .summary = "Manage devices of profiles" },                        \
	{ .path = top " device add", .usage = "[<remote>:]<profile> <device> <type> [key=value...]", \
	    .min_args = 3, .max_args = -1, .summary = "Add a device to a profile",                 \
	    .examples = "incus profile device add default root disk path=/ pool=default",          \
	    .run = profile_device_add, .complete = "profile" },                                    \
	{ .path = top " device get", .usage = "[<remote>:]<profile> <device> <key>",               \
	    .min_args = 3, .max_args = 3, .summary = "Print one key of a device",                  \
	    .run = profile_device_get, .complete = "profile" },                                    \
	{ .path = top " device list", .aliases = "ls", .usage = "[<remote>:]<profile>",            \
	    .min_args = 1, .max_args = 1, .summary = "List the devices of a profile",              \
	    .run = profile_device_list, .complete = "profile" },                                   \
	{ .path = top " device remove", .aliases = "rm", .usage = "[<remote>:]<profile> <name>...", \
	    .min_args = 2, .max_args = -1, .summary = "Remove devices from a profile",             \
	    .run = profile_device_remove, .complete = "profile" },                                 \
	{ .path = top " device set", .usage = "[<remote>:]<profile> <device> <key>=<value>...",    \
	    .min_args = 3, .max_args = -1, .summary = "Set keys of a device",                      \
	    .help = "One key may also be given as \"<key> <value>\".", .run = profile_device_set,  \
	    .complete = "profile" },                                                               \
	{ .path = top " device show", .usage = "[<remote>:]<profile>", .min_args = 1,              \
	    .max_args = 1, .summary = "Show the devices of a profile",                             \
	    .run = profile_device_show, .complete = "profile" },                                   \
	{ .path = top " device unset", .usage = "[<remote>:]<profile> <device> <key>",             \
	    .min_args = 3, .max_args = 3, .summary = "Unset a key of a device",                    \
	    .run = profile_device_unset, .complete = "profile" },                                  \
	{ .path = top " edit", .usage = "[<remote>:]<profile>", .min_args = 1, .max_args = 1,      \
	    .summary = "Edit a profile as YAML",                                                   \
	    .examples = "incus profile edit default < default.yaml", .run = edit,                  \
	    .complete = "profile" },                                                               \
	{ .path = top " get", .usage = "[<remote>:]<profile> <key>", .min_args = 2, .max_args = 2, \
	    .flags = property_flags, .summary = "Print one key of a profile", .run = get,          \
	    .complete = "profile" },                                                               \
	{ .path = top " list", .aliases = "ls", .usage = "[<remote>:]", .max_args = 1,             \
	    .flags = format_flags, .summary = "List profiles", .run = list,                        \
	    .complete = "remote" },                                                                \
	{ .path = top " remove", .usage = "[<remote>:]<instance> <profile>", .min_args = 2,        \
	    .max_args = 2, .summary = "Take a profile off an instance", .run = remove_run,         \
	    .complete = "instance,profile" },                                                      \
	{ .path = top " rename", .aliases = "mv", .usage = "[<remote>:]<profile> <new-name>",      \
	    .min_args = 2, .max_args = 2, .summary = "Rename a profile", .run = rename_run,        \
	    .complete = "profile" },                                                               \
	{ .path = top " set", .usage = "[<remote>:]<profile> <key>=<value>...", .min_args = 2,     \
	    .max_args = -1, .flags = property_flags, .summary = "Set keys of a profile",           \
	    .help = "One key may also be given as \"<key> <value>\"; a value of - is read from the\n" \
		    "standard input.",                                                             \
	    .run = set, .complete = "profile" },                                                   \
	{ .path = top " show", .usage = "[<remote>:]<profile>", .min_args = 1, .max_args = 1,      \
	    .summary = "Show a profile", .run = show, .complete = "profile" },                     \
	{ .path = top " unset", .usage = "[<remote>:]<profile> <key>", .min_args = 2,              \
	    .max_args = 2, .flags = property_flags, .summary = "Unset a key of a profile",         \
	    .run = unset, .complete = "profile" }

const Command profile_commands[] = {
	PROFILE_COMMANDS("profile", false),
	PROFILE_COMMANDS("config profile", true),
	{ 0 },
};
