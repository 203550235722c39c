/*
 * incus storage: pools that hold instances, images and volumes.
 */
#include "cli/nouns.h"
#include "cli/output.h"
#include "sdk/base/units.h"
#include <stdio.h>
#include <string.h>

const Noun storage_noun = {
	.title = "Storage pool",
	.method = "StoragePool",
	.body = "pool",
	.edit_help = "# The storage pool as YAML. Lines that begin with # are left out.\n"
		     "#\n"
		     "# config:\n"
		     "#   source: /srv/pool\n"
		     "#   volume.size: 10GiB\n"
		     "# description: An example\n"
		     "#\n"
		     "# Only config and description can be changed here.\n",
};

static int edit(Cli *cli, Error **err)
{
	return noun_edit(cli, &storage_noun, err);
}

static int get(Cli *cli, Error **err)
{
	return noun_get(cli, &storage_noun, err);
}

static int set(Cli *cli, Error **err)
{
	return noun_set(cli, &storage_noun, err);
}

static int unset(Cli *cli, Error **err)
{
	return noun_unset(cli, &storage_noun, err);
}

static int delete(Cli *cli, Error **err)
{
	return noun_delete(cli, &storage_noun, err);
}

static int create(Cli *cli, Error **err)
{
	Object pool;
	if (object_parse_named(cli, &storage_noun, cli->args[0], &pool, err) < 0)
		return -1;
	json_t *data = server_keep(cli, json_object());
	if (read_pairs(cli, 2, false, json_member(data, "config"), err) < 0)
		return -1;
	json_object_set_new(data, "driver", json_string(cli->args[1]));
	return object_create(&pool, data, err);
}

static json_t *resources_of(const Object *pool, Error **err)
{
	return server_call(pool->server, "GetStoragePoolResources", json_copy(pool->key), err);
}

static int show(Cli *cli, Error **err)
{
	Object pool;
	if (object_parse_named(cli, &storage_noun, cli->args[0], &pool, err) < 0)
		return -1;
	if (!flag_bool(cli, "resources"))
		return object_show(&pool, err);
	json_t *resources = resources_of(&pool, err);
	if (!resources)
		return -1;
	output_yaml(resources);
	return 0;
}

static int list(Cli *cli, Error **err)
{
	static const char *const headers[] = { "NAME", "DRIVER", "SOURCE", "DESCRIPTION", "USED BY",
		"STATE", NULL };
	Server *server = server_of_argument(cli, 0, err);
	if (!server || output_check_format(cli, err) < 0)
		return -1;
	json_t *pools = server_list(server, "GetStoragePools", NULL, err), *pool;
	if (!pools)
		return -1;
	g_autoptr(Table) table = table_new(headers);
	size_t i;
	json_array_foreach (pools, i, pool) {
		g_autofree char *state = g_ascii_strup(json_get_text(pool, "status"), -1);
		table_add(table, json_get_text(pool, "name"), json_get_text(pool, "driver"),
		    json_get_text(json_object_get(pool, "config"), "source"),
		    json_get_text(pool, "description"),
		    arena_printf(
			cli->arena, "%zu", json_array_size(json_object_get(pool, "used_by"))),
		    state, NULL);
	}
	table_sort(table);
	return output_list(cli, table, pools, err);
}

/* ---- info ---- */

/* "/1.0/instances/c1?project=p" is {"instances": ["c1 (project \"p\")"]}. */
static void add_user(json_t *users, const char *url)
{
	g_autofree char *path = g_strndup(url, strcspn(url, "?"));
	const char *project = strstr(url, "project=");
	g_auto(GStrv) parts = g_strsplit(path, "/", -1);
	guint n = g_strv_length(parts);
	if (n < 4)
		return;
	bool volume = strcmp(parts[2], "storage-pools") == 0 && n > 6;
	const char *kind = volume	? "volumes" :
	    strstr(path, "/snapshots/") ? "snapshots" :
					  parts[2];
	g_autofree char *name = g_uri_unescape_string(parts[n - 1], NULL);
	g_autofree char *text = project ?
	    g_strdup_printf("%s (project \"%s\")", name ? name : parts[n - 1], project + 8) :
	    g_strdup(name ? name : parts[n - 1]);
	json_t *list = json_object_get(users, kind);
	if (!list) {
		list = json_array();
		json_object_set_new(users, kind, list);
	}
	json_array_append_new(list, json_string(text));
}

static json_t *space(Cli *cli, int64_t bytes)
{
	if (flag_bool(cli, "bytes"))
		return json_integer(bytes);
	g_autofree char *text = units_format_bytes(bytes, 2);
	return json_string(text);
}

static int info(Cli *cli, Error **err)
{
	Object pool;
	if (object_parse_named(cli, &storage_noun, cli->args[0], &pool, err) < 0)
		return -1;
	json_t *data = object_get(&pool, err), *url;
	json_t *resources = data ? resources_of(&pool, err) : NULL;
	if (!resources)
		return -1;
	json_t *out = server_keep(cli, json_object());
	json_t *facts = json_member(out, "info"), *users = json_member(out, "used by");
	const json_t *bytes = json_object_get(resources, "space");
	json_object_set_new(facts, "description", json_string(json_get_text(data, "description")));
	json_object_set_new(facts, "driver", json_string(json_get_text(data, "driver")));
	json_object_set_new(facts, "name", json_string(json_get_text(data, "name")));
	json_object_set_new(facts, "space used", space(cli, json_get_int(bytes, "used")));
	json_object_set_new(facts, "total space", space(cli, json_get_int(bytes, "total")));
	size_t i;
	json_array_foreach (json_object_get(data, "used_by"), i, url)
		add_user(users, json_string_value(url));
	output_yaml(out);
	return 0;
}

static const Flag key_flags[] = { FLAG_TARGET, FLAG_PROPERTY, FLAG_END };
static const Flag target_flags[] = { FLAG_TARGET, FLAG_END };
static const Flag format_flags[] = { FLAG_FORMAT, FLAG_END };
static const Flag info_flags[] = {
	{ "bytes", 0, FLAG_BOOL, NULL, "Print sizes in bytes" },
	FLAG_TARGET,
	FLAG_END,
};
static const Flag show_flags[] = {
	{ "resources", 0, FLAG_BOOL, NULL,
	    "Show the space of the pool instead of its configuration" },
	FLAG_TARGET,
	FLAG_END,
};

const Command storage_commands[] = {
	{ .path = "storage", .summary = "Manage storage pools and volumes" },
	{ .path = "storage create",
	    .usage = "[<remote>:]<pool> <driver> [key=value...]",
	    .min_args = 2,
	    .max_args = -1,
	    .flags = target_flags,
	    .summary = "Create a storage pool",
	    .examples = "incus storage create s1 dir\n"
			"incus storage create s2 dir source=/srv/incus",
	    .run = create },
	{ .path = "storage delete",
	    .aliases = "rm",
	    .usage = "[<remote>:]<pool>",
	    .min_args = 1,
	    .max_args = 1,
	    .summary = "Delete an unused storage pool",
	    .run = delete,
	    .complete = "storage" },
	{ .path = "storage edit",
	    .usage = "[<remote>:]<pool>",
	    .min_args = 1,
	    .max_args = 1,
	    .summary = "Edit a storage pool as YAML",
	    .run = edit,
	    .complete = "storage" },
	{ .path = "storage get",
	    .usage = "[<remote>:]<pool> <key>",
	    .min_args = 2,
	    .max_args = 2,
	    .flags = key_flags,
	    .summary = "Print one key of a storage pool",
	    .run = get,
	    .complete = "storage" },
	{ .path = "storage info",
	    .usage = "[<remote>:]<pool>",
	    .min_args = 1,
	    .max_args = 1,
	    .flags = info_flags,
	    .summary = "Show space and users of a storage pool",
	    .run = info,
	    .complete = "storage" },
	{ .path = "storage list",
	    .aliases = "ls",
	    .usage = "[<remote>:]",
	    .max_args = 1,
	    .flags = format_flags,
	    .summary = "List storage pools",
	    .run = list,
	    .complete = "remote" },
	{ .path = "storage set",
	    .usage = "[<remote>:]<pool> <key>=<value>...",
	    .min_args = 2,
	    .max_args = -1,
	    .flags = key_flags,
	    .summary = "Set keys of a storage pool",
	    .help = "One key may also be given as \"<key> <value>\".",
	    .run = set,
	    .complete = "storage" },
	{ .path = "storage show",
	    .usage = "[<remote>:]<pool>",
	    .min_args = 1,
	    .max_args = 1,
	    .flags = show_flags,
	    .summary = "Show a storage pool",
	    .run = show,
	    .complete = "storage" },
	{ .path = "storage unset",
	    .usage = "[<remote>:]<pool> <key>",
	    .min_args = 2,
	    .max_args = 2,
	    .flags = key_flags,
	    .summary = "Unset a key of a storage pool",
	    .run = unset,
	    .complete = "storage" },
	{ 0 },
};
