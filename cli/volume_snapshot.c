/*
 * incus storage volume snapshot: snapshots of custom volumes, and a look at those of instances'
 * volumes.
 */
#include "cli/output.h"
#include "cli/volume.h"
#include <stdio.h>
#include <string.h>

static bool exists(const Object *snapshot)
{
	g_autoptr(Error) missing = NULL;
	return object_get(snapshot, &missing) != NULL;
}

/* The volume of the first two arguments. "VOLUME/SNAPSHOT" is for `show` alone: say so. */
static int parse(Cli *cli, Object *ret, Error **err)
{
	if (volume_parse_whole(cli, ret, err) < 0)
		return -1;
	if (strchr(ret->name, '/'))
		return error_set(err, ERROR_INVALID,
		    "Invalid volume name \"%s\": give the snapshot as an argument of its own",
		    ret->name);
	return 0;
}

static int create(Cli *cli, Error **err)
{
	Object volume;
	if (parse(cli, &volume, err) < 0)
		return -1;
	const char *name = cli->n_args > 2 ? cli->args[2] : "";
	Object snapshot = volume_snapshot_object(&volume, name);
	if (flag_bool(cli, "reuse") && *name && exists(&snapshot) &&
	    !server_do(volume.server, "DeleteStoragePoolVolumeSnapshot", json_copy(snapshot.key),
		NULL, err))
		return -1;
	json_t *body = json_pack("{s:s}", "name", name);
	if (flag_bool(cli, "no-expiry"))
		json_object_set_new(body, "expires_at", json_string("0001-01-01T00:00:00Z"));
	json_t *request = json_copy(volume_snapshot_object(&volume, NULL).key);
	json_object_set_new(request, "snapshot", body);
	return server_do(volume.server, "CreateStoragePoolVolumeSnapshot", request,
		   "Creating snapshot", err) ?
	    0 :
	    -1;
}

static int delete(Cli *cli, Error **err)
{
	Object volume;
	if (parse(cli, &volume, err) < 0)
		return -1;
	Object snapshot = volume_snapshot_object(&volume, cli->args[2]);
	return object_delete(&snapshot, err);
}

static int list(Cli *cli, Error **err)
{
	Object volume;
	if (parse(cli, &volume, err) < 0 || output_check_format(cli, err) < 0)
		return -1;
	/* One that is not there has no empty list. */
	if (!flag_bool(cli, "all-projects") && !object_get(&volume, err))
		return -1;
	const char *prefix = arena_printf(cli->arena, "%s/", volume.name);
	const char *filter = arena_printf(
	    cli->arena, "type eq %s", json_get_text(volume.key, "type"));
	return volume_print_list(
	    cli, volume.server, json_get_text(volume.key, "pool"), filter, prefix, err);
}

static int rename_run(Cli *cli, Error **err)
{
	Object volume;
	if (parse(cli, &volume, err) < 0)
		return -1;
	bool quiet = cli->quiet;
	Object snapshot = volume_snapshot_object(&volume, cli->args[2]);
	cli->quiet = true;
	if (object_rename(&snapshot, cli->args[3], err) < 0)
		return -1;
	if (!quiet)
		printf("Renamed storage volume snapshot from \"%s\" to \"%s\"\n", cli->args[2],
		    cli->args[3]);
	return 0;
}

static int restore(Cli *cli, Error **err)
{
	Object volume;
	if (parse(cli, &volume, err) < 0)
		return -1;
	json_t *request = json_copy(volume.key);
	json_object_set_new(request, "volume", json_pack("{s:s}", "restore", cli->args[2]));
	return server_do(
		   volume.server, "UpdateStoragePoolVolume", request, "Restoring snapshot", err) ?
	    0 :
	    -1;
}

static int show(Cli *cli, Error **err)
{
	Object snapshot;
	if (volume_parse(cli, &snapshot, err) < 0)
		return -1;
	if (snapshot.noun != &volume_snapshot_noun)
		return error_set(err, ERROR_INVALID,
		    "Invalid snapshot name \"%s\": it is written as VOLUME/SNAPSHOT", cli->args[1]);
	return object_show(&snapshot, err);
}

static const Flag create_flags[] = {
	{ "no-expiry", 0, FLAG_BOOL, NULL, "Keep it whatever snapshots.expiry says" },
	{ "reuse", 0, FLAG_BOOL, NULL, "Delete a snapshot of that name first" },
	FLAG_TARGET,
	FLAG_END,
};
static const Flag list_flags[] = { VOLUME_LIST_FLAGS, FLAG_END };
static const Flag target_flags[] = { FLAG_TARGET, FLAG_END };

const Command volume_snapshot_commands[] = {
	{ .path = "storage volume snapshot",
	    .summary = "Manage snapshots of volumes",
	    .help =
		"A snapshot keeps the content and the configuration of a custom volume as they are at one moment." },
	{ .path = "storage volume snapshot create",
	    .usage = "[<remote>:]<pool> <volume> [<snapshot>]",
	    .min_args = 2,
	    .max_args = 3,
	    .flags = create_flags,
	    .summary = "Create a snapshot of a volume",
	    .help =
		"Without a name, the pattern in snapshots.pattern gives one (snap0, snap1, ...).",
	    .examples = "incus storage volume snapshot create default data before-upgrade",
	    .run = create,
	    .complete = "storage,volume" },
	{ .path = "storage volume snapshot delete",
	    .aliases = "rm",
	    .usage = "[<remote>:]<pool> <volume> <snapshot>",
	    .min_args = 3,
	    .max_args = 3,
	    .flags = target_flags,
	    .summary = "Delete a snapshot of a volume",
	    .run = delete,
	    .complete = "storage,volume,snapshot" },
	{ .path = "storage volume snapshot list",
	    .aliases = "ls",
	    .usage = "[<remote>:]<pool> [<type>/]<volume>",
	    .min_args = 2,
	    .max_args = 2,
	    .flags = list_flags,
	    .summary = "List the snapshots of a volume",
	    .help = VOLUME_COLUMNS_HELP,
	    .run = list,
	    .complete = "storage,volume" },
	{ .path = "storage volume snapshot rename",
	    .usage = "[<remote>:]<pool> <volume> <old snapshot> <new snapshot>",
	    .min_args = 4,
	    .max_args = 4,
	    .flags = target_flags,
	    .summary = "Rename a snapshot of a volume",
	    .run = rename_run,
	    .complete = "storage,volume,snapshot" },
	{ .path = "storage volume snapshot restore",
	    .usage = "[<remote>:]<pool> <volume> <snapshot>",
	    .min_args = 3,
	    .max_args = 3,
	    .flags = target_flags,
	    .summary = "Restore a volume from a snapshot",
	    .help =
		"What was changed since the snapshot is lost, snapshots are not. No instance that runs may use the volume.",
	    .run = restore,
	    .complete = "storage,volume,snapshot" },
	{ .path = "storage volume snapshot show",
	    .usage = "[<remote>:]<pool> [<type>/]<volume>/<snapshot>",
	    .min_args = 2,
	    .max_args = 2,
	    .flags = target_flags,
	    .summary = "Show a snapshot of a volume",
	    .run = show,
	    .complete = "storage,volume" },
	{ 0 },
};
