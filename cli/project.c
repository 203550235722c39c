/*
 * incus project: separate sets of instances, images, profiles and volumes on one server.
 */
#include "cli/nouns.h"
#include "cli/output.h"
#include "sdk/base/units.h"
#include <stdio.h>
#include <string.h>

const Noun project_noun = {
	.title = "Project",
	.method = "Project",
	.body = "body",
	.edit_help = "# The project as YAML. Lines that begin with # are left out.\n"
		     "#\n"
		     "# config:\n"
		     "#   features.images: \"true\"\n"
		     "#   limits.instances: \"10\"\n"
		     "# description: An example\n"
		     "#\n"
		     "# Its name is shown, but changed by \"incus project rename\".\n",
};

static int show(Cli *cli, Error **err)
{
	return noun_show(cli, &project_noun, err);
}

static int edit(Cli *cli, Error **err)
{
	return noun_edit(cli, &project_noun, err);
}

static int get(Cli *cli, Error **err)
{
	return noun_get(cli, &project_noun, err);
}

static int set(Cli *cli, Error **err)
{
	return noun_set(cli, &project_noun, err);
}

static int unset(Cli *cli, Error **err)
{
	return noun_unset(cli, &project_noun, err);
}

static int rename_run(Cli *cli, Error **err)
{
	return noun_rename(cli, &project_noun, err);
}

/* A remote whose current project is gone goes back to the default one. */
static int delete(Cli *cli, Error **err)
{
	Object project;
	if (object_parse_named(cli, &project_noun, cli->args[0], &project, err) < 0 ||
	    object_delete(&project, err) < 0)
		return -1;
	Remote *remote = conf_remote(cli->conf, project.server->remote->name);
	if (!remote || strcmp(remote->project, project.name) != 0)
		return 0;
	g_free(remote->project);
	remote->project = g_strdup("default");
	return conf_save(cli->conf, err);
}

static int create(Cli *cli, Error **err)
{
	Object project;
	unsigned n;
	const char *const *pairs = flag_list(cli, "config", &n);
	if (object_parse_named(cli, &project_noun, cli->args[0], &project, err) < 0)
		return -1;
	json_t *data = server_keep(cli, json_object());
	for (unsigned i = 0; i < n; i++)
		if (read_pair(pairs[i], json_member(data, "config"), err) < 0)
			return -1;
	return object_create(&project, data, err);
}

static const char *feature(const json_t *project, const char *name)
{
	const char *value = json_get_text(json_object_get(project, "config"), name);
	return g_ascii_strcasecmp(value, "true") == 0 || strcmp(value, "1") == 0 ? "YES" : "NO";
}

static const char *current_project(const Server *server)
{
	const char *project = server->project;
	return project && *project ? project : "default";
}

static int list(Cli *cli, Error **err)
{
	static const char *const headers[] = { "NAME", "IMAGES", "PROFILES", "STORAGE VOLUMES",
		"STORAGE BUCKETS", "NETWORKS", "NETWORK ZONES", "DESCRIPTION", "USED BY", NULL };
	Server *server = server_of_argument(cli, 0, err);
	if (!server || output_check_format(cli, err) < 0)
		return -1;
	json_t *projects = server_list(server, "GetProjects", NULL, err), *project;
	if (!projects)
		return -1;
	g_autoptr(Table) table = table_new(headers);
	size_t i;
	json_array_foreach (projects, i, project) {
		const char *name = json_get_text(project, "name");
		if (strcmp(name, current_project(server)) == 0)
			name = arena_printf(cli->arena, "%s (current)", name);
		table_add(table, name, feature(project, "features.images"),
		    feature(project, "features.profiles"),
		    feature(project, "features.storage.volumes"),
		    feature(project, "features.storage.buckets"),
		    feature(project, "features.networks"),
		    feature(project, "features.networks.zones"),
		    json_get_text(project, "description"),
		    arena_printf(
			cli->arena, "%zu", json_array_size(json_object_get(project, "used_by"))),
		    NULL);
	}
	table_sort(table);
	return output_list(cli, table, projects, err);
}

static const char *amount(Cli *cli, const char *resource, int64_t value)
{
	if (strcmp(resource, "memory") != 0 && strcmp(resource, "disk") != 0)
		return arena_printf(cli->arena, "%" G_GINT64_FORMAT, value);
	g_autofree char *text = units_format_bytes(value, 2);
	return arena_strdup(cli->arena, text);
}

static int info(Cli *cli, Error **err)
{
	static const char *const headers[] = { "RESOURCE", "LIMIT", "USAGE", NULL };
	Target target;
	if (target_parse(cli, cli->args[0], &target, err) < 0 || output_check_format(cli, err) < 0)
		return -1;
	json_t *state = server_call(
	    target.server, "GetProjectState", json_pack("{s:s}", "name", target.name), err);
	if (!state)
		return -1;
	g_autoptr(Table) table = table_new(headers);
	const char *name;
	json_t *row;
	json_object_foreach (json_object_get(state, "resources"), name, row) {
		int64_t limit = json_get_int(row, "Limit");
		g_autofree char *upper = g_ascii_strup(name, -1);
		table_add(table, upper, limit < 0 ? "UNLIMITED" : amount(cli, name, limit),
		    amount(cli, name, json_get_int(row, "Usage")), NULL);
	}
	table_sort(table);
	return output_list(cli, table, state, err);
}

static int switch_run(Cli *cli, Error **err)
{
	Object project;
	if (object_parse_named(cli, &project_noun, cli->args[0], &project, err) < 0 ||
	    !object_get(&project, err))
		return -1;
	Remote *remote = conf_remote(cli->conf, project.server->remote->name);
	if (remote->global)
		remote->global = false; /* a copy of it is kept in the user's own file */
	g_free(remote->project);
	remote->project = g_strdup(project.name);
	return conf_save(cli->conf, err);
}

static int get_current(Cli *cli, Error **err)
{
	Conf *conf = conf_get(cli, err);
	if (!conf)
		return -1;
	const Remote *remote = conf_remote(conf, conf_default_remote(conf));
	const char *project = cli_project(cli);
	if (!project && remote)
		project = remote->project;
	puts(project && *project ? project : "default");
	return 0;
}

static const Flag property_flags[] = { FLAG_PROPERTY, FLAG_END };
static const Flag format_flags[] = { FLAG_FORMAT, FLAG_END };
static const Flag create_flags[] = {
	{ "config", 'c', FLAG_LIST, NULL, "key=value to set in the new project" },
	FLAG_END,
};

const Command project_commands[] = {
	{ .path = "project", .summary = "Manage projects" },
	{ .path = "project create",
	    .usage = "[<remote>:]<project>",
	    .min_args = 1,
	    .max_args = 1,
	    .flags = create_flags,
	    .summary = "Create a project",
	    .examples = "incus project create p1 -c features.images=false",
	    .run = create },
	{ .path = "project delete",
	    .aliases = "rm",
	    .usage = "[<remote>:]<project>",
	    .min_args = 1,
	    .max_args = 1,
	    .summary = "Delete an empty project",
	    .run = delete,
	    .complete = "project" },
	{ .path = "project edit",
	    .usage = "[<remote>:]<project>",
	    .min_args = 1,
	    .max_args = 1,
	    .summary = "Edit a project as YAML",
	    .run = edit,
	    .complete = "project" },
	{ .path = "project get",
	    .usage = "[<remote>:]<project> <key>",
	    .min_args = 2,
	    .max_args = 2,
	    .flags = property_flags,
	    .summary = "Print one key of a project",
	    .run = get,
	    .complete = "project" },
	{ .path = "project get-current",
	    .max_args = 0,
	    .summary = "Print the current project",
	    .run = get_current },
	{ .path = "project info",
	    .usage = "[<remote>:]<project>",
	    .min_args = 1,
	    .max_args = 1,
	    .flags = format_flags,
	    .summary = "Show what a project uses of its limits",
	    .run = info,
	    .complete = "project" },
	{ .path = "project list",
	    .aliases = "ls",
	    .usage = "[<remote>:]",
	    .max_args = 1,
	    .flags = format_flags,
	    .summary = "List projects",
	    .run = list,
	    .complete = "remote" },
	{ .path = "project rename",
	    .aliases = "mv",
	    .usage = "[<remote>:]<project> <new-name>",
	    .min_args = 2,
	    .max_args = 2,
	    .summary = "Rename a project",
	    .run = rename_run,
	    .complete = "project" },
	{ .path = "project set",
	    .usage = "[<remote>:]<project> <key>=<value>...",
	    .min_args = 2,
	    .max_args = -1,
	    .flags = property_flags,
	    .summary = "Set keys of a project",
	    .help = "One key may also be given as \"<key> <value>\".",
	    .run = set,
	    .complete = "project" },
	{ .path = "project show",
	    .usage = "[<remote>:]<project>",
	    .min_args = 1,
	    .max_args = 1,
	    .summary = "Show a project",
	    .run = show,
	    .complete = "project" },
	{ .path = "project switch",
	    .usage = "[<remote>:]<project>",
	    .min_args = 1,
	    .max_args = 1,
	    .summary = "Make a project the current one of its remote",
	    .run = switch_run,
	    .complete = "project" },
	{ .path = "project unset",
	    .usage = "[<remote>:]<project> <key>",
	    .min_args = 2,
	    .max_args = 2,
	    .flags = property_flags,
	    .summary = "Unset a key of a project",
	    .run = unset,
	    .complete = "project" },
	{ 0 },
};
