/*
 * incus storage volume copy, incus storage volume move: custom volumes under another name, in
 * another pool or project, on one server or between two.
 */
#include "cli/volume.h"
#include "cli/copy_remote.h"
#include "cli/interrupt.h"
#include "cli/progress.h"
#include "cli/sdk_error.h"
#include <stdio.h>
#include <string.h>

/* Both ends as the arguments name them. */
typedef struct Ends {
	Server *server, *to;
	const char *from_pool, *from_name; /* NAME or NAME/SNAPSHOT */
	const char *pool, *name;
	const char *project; /* NULL: the current one */
	incus_copy_mode mode;
} Ends;

static const char *project_of(const Server *server)
{
	return server->project ? server->project : "default";
}

/* "[remote:]pool/volume[/snapshot]" */
static int parse_end(Cli *cli, const char *argument, const char *which, Server **ret_server,
    const char **ret_pool, const char **ret_name, Error **err)
{
	Target target;
	if (target_parse(cli, argument, &target, err) < 0)
		return -1;
	const char *slash = strchr(target.name, '/');
	if (!slash || slash == target.name || !slash[1])
		return error_set(err, ERROR_INVALID,
		    "No storage pool for %s volume specified: it is written as POOL/VOLUME", which);
	*ret_server = target.server;
	*ret_pool = arena_strndup(cli->arena, target.name, (size_t)(slash - target.name));
	*ret_name = slash + 1;
	return 0;
}

static int parse_ends(Cli *cli, Ends *ends, Error **err)
{
	const char *project = flag_string(cli, "target-project");
	if (copy_mode(cli, &ends->mode, err) < 0 ||
	    parse_end(cli, cli->args[0], "source", &ends->server, &ends->from_pool,
		&ends->from_name, err) < 0 ||
	    parse_end(cli, cli->args[1], "target", &ends->to, &ends->pool, &ends->name, err) < 0)
		return -1;
	ends->project = *project ? project : NULL;
	if (strchr(ends->name, '/'))
		return error_set(err, ERROR_INVALID, "Invalid volume name \"%s\"", ends->name);
	return 0;
}

/* To another server. */
static int copy_between(Cli *cli, const Ends *ends, bool move, Error **err)
{
	Progress progress;
	incus_error *problem = NULL;
	incus_volume_copy copy = { .mode = ends->mode,
		.pool = ends->pool,
		.name = ends->name,
		.project = ends->project,
		.volume_only = !move && flag_bool(cli, "volume-only"),
		.refresh = !move && flag_bool(cli, "refresh"),
		.progress = copy_show,
		.data = &progress };
	progress_start(&progress,
	    cli->quiet ? NULL :
		move   ? "Moving the storage volume" :
			 "Copying the storage volume");
	interrupt_begin();
	int result = (move ? incus_migrate_storage_pool_volume : incus_copy_storage_pool_volume)(
	    ends->server->client, ends->from_pool, ends->from_name, ends->to->client, &copy,
	    &problem);
	interrupt_end();
	progress_end(&progress);
	return result < 0 ? error_from_sdk(err, problem) : 0;
}

static int copied(Cli *cli)
{
	if (!cli->quiet)
		puts("Storage volume copied successfully!");
	return 0;
}

static int copy_run(Cli *cli, Error **err)
{
	Ends ends = { 0 };
	if (parse_ends(cli, &ends, err) < 0)
		return -1;
	if (strchr(ends.from_name, '/') && flag_bool(cli, "volume-only"))
		return error_set(
		    err, ERROR_INVALID, "Cannot set --volume-only when copying a snapshot");
	if (ends.to != ends.server)
		return copy_between(cli, &ends, false, err) < 0 ? -1 : copied(cli);
	json_t *source = json_pack("{s:s, s:s, s:s, s:s, s:b, s:b}", "type", "copy", "pool",
	    ends.from_pool, "name", ends.from_name, "project", project_of(ends.server),
	    "volume_only", flag_bool(cli, "volume-only"), "refresh", flag_bool(cli, "refresh"));
	json_t *request = json_pack("{s:s, s:{s:s, s:s, s:o}}", "pool", ends.pool, "volume", "name",
	    ends.name, "type", "custom", "source", source);
	if (ends.project)
		json_object_set_new(request, "project", json_string(ends.project));
	if (!server_do(
		ends.server, "CreateStoragePoolVolume", request, "Copying the storage volume", err))
		return -1;
	return copied(cli);
}

static int move_run(Cli *cli, Error **err)
{
	Ends ends = { 0 };
	if (parse_ends(cli, &ends, err) < 0)
		return -1;
	if (strchr(ends.from_name, '/'))
		return error_set(err, ERROR_INVALID,
		    "A snapshot cannot be moved: use incus storage volume copy");
	if (ends.to != ends.server) {
		if (copy_between(cli, &ends, true, err) < 0)
			return -1;
		if (!cli->quiet)
			puts("Storage volume moved successfully!");
		return 0;
	}
	bool renamed = strcmp(ends.pool, ends.from_pool) == 0 && !ends.project;
	json_t *request = json_pack("{s:s, s:s, s:s, s:{s:s, s:s, s:s}}", "pool", ends.from_pool,
	    "type", "custom", "name", ends.from_name, "volume", "name", ends.name, "pool",
	    ends.pool, "project", ends.project ? ends.project : "");
	if (!server_do(
		ends.server, "RenameStoragePoolVolume", request, "Moving the storage volume", err))
		return -1;
	if (cli->quiet)
		return 0;
	if (renamed)
		printf("Renamed storage volume from \"%s\" to \"%s\"\n", ends.from_name, ends.name);
	else
		puts("Storage volume moved successfully!");
	return 0;
}

#define COPY_FLAGS                                                                                 \
	{ "destination-target", 0, FLAG_STRING, NULL, "Cluster member of the result" },            \
	    { "mode", 0, FLAG_STRING, "pull", "Between servers: pull, push or relay" },            \
	    FLAG_TARGET,                                                                           \
	{                                                                                          \
		"target-project", 0, FLAG_STRING, NULL, "Project of the result"                    \
	}

static const Flag copy_flags[] = {
	COPY_FLAGS,
	{ "refresh", 0, FLAG_BOOL, NULL, "Bring an existing copy up to date" },
	{ "volume-only", 0, FLAG_BOOL, NULL, "Leave the snapshots" },
	FLAG_END,
};
static const Flag move_flags[] = { COPY_FLAGS, FLAG_END };

const Command volume_copy_commands[] = {
	{ .path = "storage volume copy",
	    .aliases = "cp",
	    .usage = "[<remote>:]<pool>/<volume>[/<snapshot>] [<remote>:]<pool>/<volume>",
	    .min_args = 2,
	    .max_args = 2,
	    .flags = copy_flags,
	    .summary = "Copy a custom volume",
	    .examples = "incus storage volume copy default/data fast/data\n"
			"incus storage volume copy default/data/before-upgrade default/old\n"
			"incus storage volume copy default/data backup/data --refresh\n"
			"    Bring the copy up to date, snapshots included.\n"
			"incus storage volume copy default/data backup-server:default/data --mode push\n"
			"    To another server; with push this one connects to it.",
	    .run = copy_run,
	    .complete = "storage,storage" },
	{ .path = "storage volume move",
	    .aliases = "mv",
	    .usage = "[<remote>:]<pool>/<volume> [<remote>:]<pool>/<volume>",
	    .min_args = 2,
	    .max_args = 2,
	    .flags = move_flags,
	    .summary = "Move or rename a custom volume",
	    .help =
		"Its snapshots go with it, and devices that use it follow. No instance that runs may use it.",
	    .examples = "incus storage volume move default/data fast/data",
	    .run = move_run,
	    .complete = "storage,storage" },
	{ 0 },
};
