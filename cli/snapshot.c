/*
 * incus snapshot: snapshots of instances.
 */
#include "cli/instance.h"
#include "cli/output.h"
#include "cli/prompt.h"
#include <stdio.h>
#include <string.h>

/* What snapshot requests have in common. name NULL: none. */
static json_t *snapshot_key(const Object *instance, const char *name)
{
	json_t *key = json_object();
	json_object_set_new(key, "instance", json_string(instance->name));
	if (name)
		json_object_set_new(key, "name", json_string(name));
	return key;
}

/* The instance that the first argument names. "INSTANCE/SNAPSHOT" was how it was written once: say
 * so. */
static int parse(Cli *cli, Object *ret, Error **err)
{
	if (object_parse_named(cli, &instance_noun, cli->args[0], ret, err) < 0)
		return -1;
	if (strchr(ret->name, '/'))
		return error_set(err, ERROR_INVALID,
		    "Invalid instance name \"%s\": give the snapshot as an argument of its own",
		    ret->name);
	return 0;
}

static bool exists(const Object *instance, const char *name)
{
	g_autoptr(Error) missing = NULL;
	return server_call(instance->server, "GetInstanceSnapshot", snapshot_key(instance, name),
		   &missing) != NULL;
}

static int create(Cli *cli, Error **err)
{
	Object instance;
	if (parse(cli, &instance, err) < 0)
		return -1;
	const char *name = cli->n_args > 1 ? cli->args[1] : "";
	if (flag_bool(cli, "reuse") && *name && exists(&instance, name) &&
	    !server_do(instance.server, "DeleteInstanceSnapshot", snapshot_key(&instance, name),
		NULL, err))
		return -1;
	json_t *request = snapshot_key(&instance, NULL);
	json_t *snapshot = json_pack(
	    "{s:s, s:b}", "name", name, "stateful", flag_bool(cli, "stateful"));
	if (flag_bool(cli, "no-expiry"))
		json_object_set_new(snapshot, "expires_at", json_string("0001-01-01T00:00:00Z"));
	json_object_set_new(request, "snapshot", snapshot);
	return server_do(
		   instance.server, "CreateInstanceSnapshot", request, "Creating snapshot", err) ?
	    0 :
	    -1;
}

static int delete(Cli *cli, Error **err)
{
	Object instance;
	if (parse(cli, &instance, err) < 0)
		return -1;
	if (flag_bool(cli, "interactive")) {
		printf("Remove %s/%s (yes/no): ", instance.name, cli->args[1]);
		g_autofree char *answer = prompt_line();
		if (!answer ||
		    (g_ascii_strcasecmp(answer, "yes") != 0 &&
			g_ascii_strcasecmp(answer, "y") != 0))
			return error_set(err, ERROR_CANCELLED, "User aborted delete operation");
	}
	return server_do(instance.server, "DeleteInstanceSnapshot",
		   snapshot_key(&instance, cli->args[1]), "Deleting snapshot", err) ?
	    0 :
	    -1;
}

static const char *time_cell(Cli *cli, const char *text)
{
	g_autoptr(GDateTime) time = g_date_time_new_from_iso8601(text, NULL);
	if (!time || g_date_time_get_year(time) < 1971)
		return "";
	g_autoptr(GDateTime) local = g_date_time_to_local(time);
	g_autofree char *shown = g_date_time_format(local, "%Y/%m/%d %H:%M %Z");
	return arena_strdup(cli->arena, shown);
}

static int list(Cli *cli, Error **err)
{
	static const char *const headers[] = { "NAME", "TAKEN AT", "EXPIRES AT", "STATEFUL", NULL };
	Object instance;
	if (parse(cli, &instance, err) < 0 || output_check_format(cli, err) < 0)
		return -1;
	json_t *snapshots = server_list(
		   instance.server, "GetInstanceSnapshots", snapshot_key(&instance, NULL), err),
	       *snapshot;
	if (!snapshots)
		return -1;
	g_autoptr(Table) table = table_new(headers);
	size_t i;
	json_array_foreach (snapshots, i, snapshot)
		table_add(table, json_get_text(snapshot, "name"),
		    time_cell(cli, json_get_text(snapshot, "created_at")),
		    time_cell(cli, json_get_text(snapshot, "expires_at")),
		    json_is_true(json_object_get(snapshot, "stateful")) ? "YES" : "NO", NULL);
	return output_list(cli, table, snapshots, err);
}

static int rename_run(Cli *cli, Error **err)
{
	Object instance;
	if (parse(cli, &instance, err) < 0)
		return -1;
	json_t *request = snapshot_key(&instance, cli->args[1]);
	json_object_set_new(request, "snapshot", json_pack("{s:s}", "name", cli->args[2]));
	return server_do(instance.server, "RenameInstanceSnapshot", request, NULL, err) ? 0 : -1;
}

static int restore(Cli *cli, Error **err)
{
	Object instance;
	if (parse(cli, &instance, err) < 0)
		return -1;
	json_t *request = json_copy(instance.key);
	json_object_set_new(request, "instance",
	    json_pack(
		"{s:s, s:b}", "restore", cli->args[1], "stateful", flag_bool(cli, "stateful")));
	return server_do(instance.server, "UpdateInstance", request, "Restoring snapshot", err) ?
	    0 :
	    -1;
}

static int show(Cli *cli, Error **err)
{
	Object instance;
	if (parse(cli, &instance, err) < 0)
		return -1;
	json_t *snapshot = server_call(
	    instance.server, "GetInstanceSnapshot", snapshot_key(&instance, cli->args[1]), err);
	if (!snapshot)
		return -1;
	output_yaml(snapshot);
	return 0;
}

static const Flag create_flags[] = {
	{ "no-expiry", 0, FLAG_BOOL, NULL, "Keep it whatever snapshots.expiry says" },
	{ "reuse", 0, FLAG_BOOL, NULL, "Delete a snapshot of that name first" },
	{ "stateful", 0, FLAG_BOOL, NULL, "Keep the running state too" },
	FLAG_END,
};
static const Flag delete_flags[] = {
	{ "interactive", 'i', FLAG_BOOL, NULL, "Ask first" },
	FLAG_END,
};
static const Flag list_flags[] = { FLAG_FORMAT, FLAG_END };
static const Flag restore_flags[] = {
	{ "stateful", 0, FLAG_BOOL, NULL, "Bring the running state back too" },
	FLAG_END,
};

const Command snapshot_commands[] = {
	{ .path = "snapshot",
	    .summary = "Manage instance snapshots",
	    .help =
		"A snapshot keeps an instance's files, configuration and devices as they are at one moment." },
	{ .path = "snapshot create",
	    .usage = "[<remote>:]<instance> [<snapshot name>]",
	    .min_args = 1,
	    .max_args = 2,
	    .flags = create_flags,
	    .summary = "Create an instance snapshot",
	    .help =
		"Without a name, the pattern in snapshots.pattern gives one (snap0, snap1, ...).",
	    .examples = "incus snapshot create c1 before-upgrade\n"
			"    Keep c1 as it is now.",
	    .run = create,
	    .complete = "instance" },
	{ .path = "snapshot delete",
	    .aliases = "rm",
	    .usage = "[<remote>:]<instance> <snapshot name>",
	    .min_args = 2,
	    .max_args = 2,
	    .flags = delete_flags,
	    .summary = "Delete an instance snapshot",
	    .run = delete,
	    .complete = "instance,snapshot" },
	{ .path = "snapshot list",
	    .aliases = "ls",
	    .usage = "[<remote>:]<instance>",
	    .min_args = 1,
	    .max_args = 1,
	    .flags = list_flags,
	    .summary = "List instance snapshots",
	    .run = list,
	    .complete = "instance" },
	{ .path = "snapshot rename",
	    .usage = "[<remote>:]<instance> <old snapshot name> <new snapshot name>",
	    .min_args = 3,
	    .max_args = 3,
	    .summary = "Rename an instance snapshot",
	    .run = rename_run,
	    .complete = "instance,snapshot" },
	{ .path = "snapshot restore",
	    .usage = "[<remote>:]<instance> <snapshot name>",
	    .min_args = 2,
	    .max_args = 2,
	    .flags = restore_flags,
	    .summary = "Restore an instance from a snapshot",
	    .help =
		"What was changed since the snapshot is lost, snapshots are not. A running instance is stopped and started again.",
	    .run = restore,
	    .complete = "instance,snapshot" },
	{ .path = "snapshot show",
	    .usage = "[<remote>:]<instance> <snapshot name>",
	    .min_args = 2,
	    .max_args = 2,
	    .summary = "Show an instance snapshot",
	    .run = show,
	    .complete = "instance,snapshot" },
	{ 0 },
};
