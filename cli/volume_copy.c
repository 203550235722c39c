/*
 * incus storage volume copy, incus storage volume move: custom volumes on one server, under another
 * name, in another pool or project.
 */
#include "cli/volume.h"
#include <stdio.h>
#include <string.h>

/* Both ends as the arguments name them. */
typedef struct Ends {
	Server *server;
	const char *from_pool, *from_name; /* NAME or NAME/SNAPSHOT */
	const char *pool, *name;
	const char *project; /* NULL: the current one */
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
	Server *server;
	const char *project = flag_string(cli, "target-project"), *mode = flag_string(cli, "mode");
	if (strcmp(mode, "pull") != 0 && strcmp(mode, "push") != 0 && strcmp(mode, "relay") != 0)
		return error_set(
		    err, ERROR_INVALID, "Invalid mode \"%s\": use pull, push or relay", mode);
	if (parse_end(cli, cli->args[0], "source", &ends->server, &ends->from_pool,
		&ends->from_name, err) < 0 ||
	    parse_end(cli, cli->args[1], "target", &server, &ends->pool, &ends->name, err) < 0)
		return -1;
	ends->project = *project ? project : NULL;
	if (strchr(ends->name, '/'))
		return error_set(err, ERROR_INVALID, "Invalid volume name \"%s\"", ends->name);
	if (server != ends->server)
		return error_set(err, ERROR_UNSUPPORTED,
		    "Copies of volumes between servers are not available in this version");
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
	if (!cli->quiet)
		puts("Storage volume copied successfully!");
	return 0;
}

static int move_run(Cli *cli, Error **err)
{
	Ends ends = { 0 };
	if (parse_ends(cli, &ends, err) < 0)
		return -1;
	if (strchr(ends.from_name, '/'))
		return error_set(err, ERROR_INVALID,
		    "A snapshot cannot be moved: use incus storage volume copy");
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
			"    Bring the copy up to date, snapshots included.",
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
