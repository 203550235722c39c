/*
 * incus storage volume: custom volumes, and a look at those of instances and images.
 */
#include "cli/volume.h"
#include "cli/device.h"
#include "cli/nouns.h"
#include "cli/output.h"
#include "sdk/base/units.h"
#include <stdio.h>
#include <string.h>

const Noun volume_noun = {
	.title = "Storage volume",
	.method = "StoragePoolVolume",
	.body = "volume",
	.edit_help = "# The storage volume as YAML. Lines that begin with # are left out.\n"
		     "#\n"
		     "# config:\n"
		     "#   size: 10GiB\n"
		     "# description: An example\n"
		     "#\n"
		     "# Only config and description can be changed here.\n",
};

const Noun volume_snapshot_noun = {
	.title = "Storage volume snapshot",
	.method = "StoragePoolVolumeSnapshot",
	.body = "snapshot",
	.edit_help = "# The snapshot as YAML. Lines that begin with # are left out.\n"
		     "#\n"
		     "# description: An example\n"
		     "# expires_at: 2030-01-01T00:00:00Z\n"
		     "#\n"
		     "# Only description and expires_at can be changed.\n",
};

static const char *const types[] = { "custom", "container", "virtual-machine", "image" };

const char *volume_split_type(const char *name, const char **ret_type)
{
	for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
		size_t length = strlen(types[i]);
		if (strncmp(name, types[i], length) != 0 || name[length] != '/')
			continue;
		*ret_type = types[i];
		return name + length + 1;
	}
	*ret_type = "custom";
	return name;
}

int volume_parse_pool(Cli *cli, Target *ret, Error **err)
{
	if (target_parse(cli, cli->args[0], ret, err) < 0)
		return -1;
	return *ret->name ? 0 : error_set(err, ERROR_INVALID, "Missing pool name");
}

static Object make_volume(const Target *pool, const char *type, const char *name)
{
	Object volume = object_make(pool->server, &volume_noun, name);
	json_object_set_new(volume.key, "pool", json_string(pool->name));
	json_object_set_new(volume.key, "type", json_string(type));
	return volume;
}

Object volume_snapshot_object(const Object *volume, const char *name)
{
	Object snapshot = object_make(volume->server, &volume_snapshot_noun, name);
	json_object_set(snapshot.key, "pool", json_object_get(volume->key, "pool"));
	json_object_set(snapshot.key, "type", json_object_get(volume->key, "type"));
	json_object_set_new(snapshot.key, "volume", json_string(volume->name));
	return snapshot;
}

int volume_parse_whole(Cli *cli, Object *ret, Error **err)
{
	Target pool;
	const char *type, *name = volume_split_type(cli->args[1], &type);
	if (volume_parse_pool(cli, &pool, err) < 0)
		return -1;
	*ret = make_volume(&pool, type, name);
	return *ret->name ? 0 : error_set(err, ERROR_INVALID, "Missing volume name");
}

int volume_parse(Cli *cli, Object *ret, Error **err)
{
	if (volume_parse_whole(cli, ret, err) < 0)
		return -1;
	const char *slash = strchr(ret->name, '/');
	if (!slash)
		return 0;
	json_t *key = ret->key;
	ret->name = arena_strndup(cli->arena, ret->name, (size_t)(slash - ret->name));
	json_object_set_new(key, "name", json_string(ret->name));
	*ret = volume_snapshot_object(ret, slash + 1);
	return 0;
}

#define PARSE_VOLUME                                                                               \
	Object volume;                                                                             \
	if (volume_parse(cli, &volume, err) < 0)                                                   \
		return -1
#define PARSE_WHOLE                                                                                \
	Object volume;                                                                             \
	if (volume_parse_whole(cli, &volume, err) < 0)                                             \
		return -1

static int create(Cli *cli, Error **err)
{
	PARSE_WHOLE;
	json_t *data = server_keep(cli, json_object());
	if (read_pairs(cli, 2, false, json_member(data, "config"), err) < 0)
		return -1;
	json_object_set_new(data, "type", json_string(json_get_text(volume.key, "type")));
	json_object_set_new(data, "content_type", json_string(flag_string(cli, "type")));
	json_object_del(volume.key, "type");
	return object_create(&volume, data, err);
}

static int delete(Cli *cli, Error **err)
{
	PARSE_WHOLE;
	return object_delete(&volume, err);
}

static int edit(Cli *cli, Error **err)
{
	PARSE_VOLUME;
	return object_edit(&volume, err);
}

static int get(Cli *cli, Error **err)
{
	PARSE_VOLUME;
	return object_print_key(&volume, cli->args[2], err);
}

/* What a snapshot holds stays as it was; its description and expiry are properties. */
static int check_changeable(Cli *cli, const Object *volume, Error **err)
{
	if (volume->noun == &volume_noun || flag_bool(cli, "property"))
		return 0;
	return error_set(err, ERROR_INVALID,
	    "Snapshots are read-only and can't have their configuration changed");
}

static int set(Cli *cli, Error **err)
{
	PARSE_VOLUME;
	if (check_changeable(cli, &volume, err) < 0)
		return -1;
	return object_set(&volume, 2, err);
}

static int show(Cli *cli, Error **err)
{
	PARSE_VOLUME;
	return object_show(&volume, err);
}

static int unset(Cli *cli, Error **err)
{
	PARSE_VOLUME;
	if (check_changeable(cli, &volume, err) < 0)
		return -1;
	return object_unset(&volume, cli->args[2], err);
}

static int rename_run(Cli *cli, Error **err)
{
	PARSE_WHOLE;
	bool quiet = cli->quiet;
	cli->quiet = true;
	if (object_rename(&volume, cli->args[2], err) < 0)
		return -1;
	if (!quiet)
		printf("Renamed storage volume from \"%s\" to \"%s\"\n", volume.name, cli->args[2]);
	return 0;
}

/* Empty: never. */
static const char *expiry_of(Cli *cli, const json_t *snapshot)
{
	const char *expires = json_get_text(snapshot, "expires_at");
	return g_str_has_prefix(expires, "0001-") ? "" : output_time(cli, expires);
}

static int print_snapshots(const Object *volume, Error **err)
{
	static const char *const headers[] = { "NAME", "DESCRIPTION", "EXPIRES AT", NULL };
	Object all = volume_snapshot_object(volume, NULL);
	json_t *snapshots = server_list(
		   volume->server, "GetStoragePoolVolumeSnapshots", json_copy(all.key), err),
	       *snapshot;
	size_t i;
	if (!snapshots)
		return -1;
	if (json_array_size(snapshots) == 0)
		return 0;
	g_autoptr(Table) table = table_new(headers);
	json_array_foreach (snapshots, i, snapshot)
		table_add(table, json_get_text(snapshot, "name"),
		    json_get_text(snapshot, "description"),
		    expiry_of(volume->server->cli, snapshot), NULL);
	g_autofree char *text = table_text(table, "table", true);
	printf("\nSnapshots:\n%s", text);
	return 0;
}

static int info(Cli *cli, Error **err)
{
	PARSE_WHOLE;
	json_t *data = object_get(&volume, err);
	if (!data)
		return -1;
	json_t *state = server_call(
	    volume.server, "GetStoragePoolVolumeState", json_copy(volume.key), NULL);
	const json_t *usage = json_object_get(state, "usage");
	const char *location = json_get_text(data, "location");
	printf("Name: %s\n", json_get_text(data, "name"));
	if (*json_get_text(data, "description"))
		printf("Description: %s\n", json_get_text(data, "description"));
	printf("Type: %s\nContent type: %s\n", json_get_text(data, "type"),
	    json_get_text(data, "content_type"));
	if (*location && strcmp(location, "none") != 0)
		printf("Location: %s\n", location);
	if (json_is_object(usage)) {
		g_autofree char *used = units_format_bytes(json_get_int(usage, "used"), 2);
		printf("Usage: %s\n", used);
		g_autofree char *total = units_format_bytes(json_get_int(usage, "total"), 2);
		if (json_get_int(usage, "total") > 0)
			printf("Total: %s\n", total);
	}
	printf("Created: %s\n", json_get_text(data, "created_at"));
	return print_snapshots(&volume, err);
}

/* ---- list ---- */

static const char *column_of(Cli *cli, const json_t *volume, char column)
{
	switch (column) {
	case 'e':
		return json_get_text(volume, "project");
	case 't':
		return strchr(json_get_text(volume, "name"), '/') ?
		    arena_printf(cli->arena, "%s (snapshot)", json_get_text(volume, "type")) :
		    json_get_text(volume, "type");
	case 'n':
		return json_get_text(volume, "name");
	case 'd':
		return json_get_text(volume, "description");
	case 'c':
		return json_get_text(volume, "content_type");
	case 'u':
		return arena_printf(
		    cli->arena, "%zu", json_array_size(json_object_get(volume, "used_by")));
	default:
		return json_get_text(volume, "location");
	}
}

static const char *header_of(char column)
{
	static const char letters[] = "etndcuL";
	static const char *const headers[] = { "PROJECT", "TYPE", "NAME", "DESCRIPTION",
		"CONTENT-TYPE", "USED BY", "LOCATION" };
	const char *at = column ? strchr(letters, column) : NULL;
	return at ? headers[at - letters] : NULL;
}

/* The letters to show: project and location only where they tell something. */
static int pick_columns(Cli *cli, GString *columns, GPtrArray *headers, Error **err)
{
	bool chosen = flag_given(cli, "columns"), all = flag_bool(cli, "all-projects");
	for (const char *p = flag_string(cli, "columns"); *p; p++) {
		if (*p == ',')
			continue;
		const char *header = header_of(*p);
		if (!header)
			return error_set(err, ERROR_INVALID,
			    "Unknown column shorthand char '%c' in \"%s\"", *p,
			    flag_string(cli, "columns"));
		if (!chosen && ((*p == 'e' && !all) || *p == 'L'))
			continue;
		g_string_append_c(columns, *p);
		g_ptr_array_add(headers, (char *)header);
	}
	g_ptr_array_add(headers, NULL);
	return 0;
}

/* "type=custom name=v1" as the server's filter language has it. */
static char *make_filter(Cli *cli)
{
	GString *filter = g_string_new(NULL);
	for (int i = 1; i < cli->n_args; i++) {
		const char *equals = strchr(cli->args[i], '=');
		g_string_append(filter, filter->len ? " and " : "");
		if (equals)
			g_string_append_printf(filter, "%.*s eq %s", (int)(equals - cli->args[i]),
			    cli->args[i], equals + 1);
		else
			g_string_append_printf(filter, "name eq ^%s($|.*)", cli->args[i]);
	}
	return g_string_free(filter, FALSE);
}

static json_t *fetch_list(
    Cli *cli, Server *server, const char *pool, const char *filter, const char *prefix, Error **err)
{
	json_t *all = server_list(server, "GetStoragePoolVolumes",
	    json_pack("{s:s, s:b, s:s}", "pool", pool, "all-projects",
		flag_bool(cli, "all-projects"), "filter", filter),
	    err);
	if (!all || !prefix)
		return all;
	json_t *volumes = server_keep(cli, json_array()), *volume;
	size_t i;
	json_array_foreach (all, i, volume)
		if (g_str_has_prefix(json_get_text(volume, "name"), prefix))
			json_array_append(volumes, volume);
	return volumes;
}

int volume_print_list(
    Cli *cli, Server *server, const char *pool, const char *filter, const char *prefix, Error **err)
{
	g_autoptr(GString) columns = g_string_new(NULL);
	g_autoptr(GPtrArray) headers = g_ptr_array_new();
	if (output_check_format(cli, err) < 0 || pick_columns(cli, columns, headers, err) < 0)
		return -1;
	json_t *volumes = fetch_list(cli, server, pool, filter, prefix, err);
	if (!volumes)
		return -1;
	g_autoptr(Table) table = table_new((const char *const *)headers->pdata);
	size_t i;
	json_t *volume;
	json_array_foreach (volumes, i, volume) {
		char **cells = g_new0(char *, columns->len + 1);
		for (gsize c = 0; c < columns->len; c++)
			cells[c] = g_strdup(column_of(cli, volume, columns->str[c]));
		table_add_cells(table, cells);
	}
	table_sort(table);
	return output_list(cli, table, volumes, err);
}

static int list(Cli *cli, Error **err)
{
	Target pool;
	if (volume_parse_pool(cli, &pool, err) < 0)
		return -1;
	g_autofree char *filter = make_filter(cli);
	return volume_print_list(cli, pool.server, pool.name, filter, NULL, err);
}

/* ---- attach and detach ---- */

static int attach_to(Cli *cli, const Noun *noun, Error **err)
{
	Target pool;
	const char *type, *volume = volume_split_type(cli->args[1], &type);
	if (volume_parse_pool(cli, &pool, err) < 0)
		return -1;
	if (strcmp(type, "custom") != 0)
		return error_set(err, ERROR_INVALID, "Only custom volumes can be attached");
	/* The last is the path, beneath the root where it is relative; the one before names the
	 * device. */
	const char *path = cli->n_args > 3 ? cli->args[cli->n_args - 1] : NULL;
	const char *device = cli->n_args > 4 ? cli->args[3] : volume;
	json_t *config = json_pack(
	    "{s:s, s:s, s:s}", "type", "disk", "pool", pool.name, "source", volume);
	if (path)
		json_object_set_new(config, "path", json_string(path));
	Object owner = object_make(pool.server, noun, cli->args[2]);
	return device_attach(&owner, device, config, err);
}

static int detach_from(Cli *cli, const Noun *noun, Error **err)
{
	static const char *const keys[] = { "source", NULL };
	Target pool;
	const char *type, *volume = volume_split_type(cli->args[1], &type);
	if (volume_parse_pool(cli, &pool, err) < 0)
		return -1;
	Object owner = object_make(pool.server, noun, cli->args[2]);
	return device_detach(&owner, cli->n_args > 3 ? cli->args[3] : NULL, keys, volume, err);
}

static int attach(Cli *cli, Error **err)
{
	return attach_to(cli, &instance_noun, err);
}

static int attach_profile(Cli *cli, Error **err)
{
	return attach_to(cli, &profile_noun, err);
}

static int detach(Cli *cli, Error **err)
{
	return detach_from(cli, &instance_noun, err);
}

static int detach_profile(Cli *cli, Error **err)
{
	return detach_from(cli, &profile_noun, err);
}

static const Flag key_flags[] = { FLAG_TARGET, FLAG_PROPERTY, FLAG_END };
static const Flag target_flags[] = { FLAG_TARGET, FLAG_END };
static const Flag create_flags[] = {
	FLAG_TARGET,
	{ "type", 0, FLAG_STRING, "filesystem", "What it holds: filesystem or block" },
	FLAG_END,
};
static const Flag list_flags[] = { VOLUME_LIST_FLAGS, FLAG_END };

const Command volume_commands[] = {
	{ .path = "storage volume",
	    .summary = "Manage storage volumes",
	    .help =
		"A volume is named as [<type>/]<volume>; the types are custom (when left out), container,\n"
		"virtual-machine and image." },
	{ .path = "storage volume attach",
	    .usage = "[<remote>:]<pool> <volume> <instance> [[<device name>] <path>]",
	    .min_args = 3,
	    .max_args = 5,
	    .summary = "Attach a volume to an instance",
	    .run = attach,
	    .complete = "storage,volume,instance" },
	{ .path = "storage volume attach-profile",
	    .usage = "[<remote>:]<pool> <volume> <profile> [[<device name>] <path>]",
	    .min_args = 3,
	    .max_args = 5,
	    .summary = "Attach a volume to a profile",
	    .run = attach_profile,
	    .complete = "storage,volume,profile" },
	{ .path = "storage volume create",
	    .usage = "[<remote>:]<pool> <volume> [key=value...]",
	    .min_args = 2,
	    .max_args = -1,
	    .flags = create_flags,
	    .summary = "Create a volume",
	    .examples = "incus storage volume create default data size=10GiB",
	    .run = create,
	    .complete = "storage" },
	{ .path = "storage volume delete",
	    .aliases = "rm",
	    .usage = "[<remote>:]<pool> <volume>",
	    .min_args = 2,
	    .max_args = 2,
	    .flags = target_flags,
	    .summary = "Delete a volume",
	    .run = delete,
	    .complete = "storage,volume" },
	{ .path = "storage volume detach",
	    .usage = "[<remote>:]<pool> <volume> <instance> [<device name>]",
	    .min_args = 3,
	    .max_args = 4,
	    .summary = "Detach a volume from an instance",
	    .run = detach,
	    .complete = "storage,volume,instance" },
	{ .path = "storage volume detach-profile",
	    .usage = "[<remote>:]<pool> <volume> <profile> [<device name>]",
	    .min_args = 3,
	    .max_args = 4,
	    .summary = "Detach a volume from a profile",
	    .run = detach_profile,
	    .complete = "storage,volume,profile" },
	{ .path = "storage volume edit",
	    .usage = "[<remote>:]<pool> [<type>/]<volume>",
	    .min_args = 2,
	    .max_args = 2,
	    .flags = target_flags,
	    .summary = "Edit a volume as YAML",
	    .run = edit,
	    .complete = "storage,volume" },
	{ .path = "storage volume get",
	    .usage = "[<remote>:]<pool> [<type>/]<volume>[/<snapshot>] <key>",
	    .min_args = 3,
	    .max_args = 3,
	    .flags = key_flags,
	    .summary = "Print one key of a volume",
	    .run = get,
	    .complete = "storage,volume" },
	{ .path = "storage volume info",
	    .usage = "[<remote>:]<pool> [<type>/]<volume>",
	    .min_args = 2,
	    .max_args = 2,
	    .flags = target_flags,
	    .summary = "Show the use of a volume",
	    .run = info,
	    .complete = "storage,volume" },
	{ .path = "storage volume list",
	    .aliases = "ls",
	    .usage = "[<remote>:]<pool> [<filter>...]",
	    .min_args = 1,
	    .max_args = -1,
	    .flags = list_flags,
	    .summary = "List the volumes of a pool",
	    .help = "A filter is the start of a name or KEY=VALUE (type=custom).\n"
		    "\n" VOLUME_COLUMNS_HELP,
	    .run = list,
	    .complete = "storage" },
	{ .path = "storage volume rename",
	    .usage = "[<remote>:]<pool> <old name> <new name>",
	    .min_args = 3,
	    .max_args = 3,
	    .flags = target_flags,
	    .summary = "Rename a volume",
	    .run = rename_run,
	    .complete = "storage,volume" },
	{ .path = "storage volume set",
	    .usage = "[<remote>:]<pool> [<type>/]<volume> <key>=<value>...",
	    .min_args = 3,
	    .max_args = -1,
	    .flags = key_flags,
	    .summary = "Set keys of a volume",
	    .run = set,
	    .complete = "storage,volume" },
	{ .path = "storage volume show",
	    .usage = "[<remote>:]<pool> [<type>/]<volume>",
	    .min_args = 2,
	    .max_args = 2,
	    .flags = target_flags,
	    .summary = "Show a volume",
	    .run = show,
	    .complete = "storage,volume" },
	{ .path = "storage volume unset",
	    .usage = "[<remote>:]<pool> [<type>/]<volume> <key>",
	    .min_args = 3,
	    .max_args = 3,
	    .flags = key_flags,
	    .summary = "Unset a key of a volume",
	    .run = unset,
	    .complete = "storage,volume" },
	{ 0 },
};
