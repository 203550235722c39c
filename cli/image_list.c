/*
 * incus image list, incus image alias.
 */
#include "cli/image_commands.h"
#include "cli/list.h"
#include "cli/output.h"
#include "sdk/base/units.h"
#include <stdio.h>
#include <string.h>

static const struct {
	char letter;
	const char *header;
} columns[] = { { 'l', "ALIAS" }, { 'L', "ALIASES" }, { 'f', "FINGERPRINT" },
	{ 'F', "FINGERPRINT" }, { 'p', "PUBLIC" }, { 'd', "DESCRIPTION" }, { 'e', "PROJECT" },
	{ 'a', "ARCHITECTURE" }, { 's', "SIZE" }, { 'u', "UPLOAD DATE" }, { 't', "TYPE" } };

static const char *shortest_alias(Cli *cli, const json_t *image)
{
	const json_t *aliases = json_object_get(image, "aliases");
	const char *shortest = NULL;
	json_t *alias;
	size_t i;
	json_array_foreach (aliases, i, alias) {
		const char *name = json_get_text(alias, "name");
		if (!shortest || strlen(name) < strlen(shortest))
			shortest = name;
	}
	if (i > 1)
		return arena_printf(cli->arena, "%s (%zu more)", shortest, i - 1);
	return shortest;
}

static const char *all_aliases(Cli *cli, const json_t *image)
{
	g_autoptr(GString) out = g_string_new(NULL);
	json_t *alias;
	size_t i;
	json_array_foreach (json_object_get(image, "aliases"), i, alias)
		g_string_append_printf(out, "%s%s", i ? "\n" : "", json_get_text(alias, "name"));
	return arena_strdup(cli->arena, out->str);
}

static const char *upload_date(Cli *cli, const json_t *image)
{
	int64_t seconds;
	int32_t nanoseconds;
	if (units_parse_time(json_get_text(image, "uploaded_at"), &seconds, &nanoseconds, NULL) < 0)
		return "";
	g_autoptr(GDateTime) when = g_date_time_new_from_unix_local(seconds);
	g_autofree char *text = when ? g_date_time_format(when, "%Y/%m/%d %H:%M %Z") : NULL;
	return arena_strdup(cli->arena, text);
}

static const char *cell(Cli *cli, const json_t *image, char letter)
{
	switch (letter) {
	case 'l':
		return shortest_alias(cli, image);
	case 'L':
		return all_aliases(cli, image);
	case 'f':
		return arena_strndup(cli->arena, json_get_text(image, "fingerprint"), 12);
	case 'F':
		return json_get_text(image, "fingerprint");
	case 'p':
		return json_is_true(json_object_get(image, "public")) ? "yes" : "no";
	case 'd':
		return json_get_text(json_object_get(image, "properties"), "description");
	case 'e':
		return json_get_text(image, "project");
	case 'a':
		return json_get_text(image, "architecture");
	case 's':
		return arena_printf(
		    cli->arena, "%.2fMiB", (double)json_get_int(image, "size") / (1 << 20));
	case 'u':
		return upload_date(cli, image);
	default: {
		g_autofree char *upper = g_ascii_strup(json_get_text(image, "type"), -1);
		return arena_strdup(cli->arena, upper);
	}
	}
}

static bool property_matches(const json_t *image, const char *key, const char *value)
{
	const char *name;
	json_t *held;
	if (strcmp(key, "architecture") == 0 || strcmp(key, "type") == 0 ||
	    strcmp(key, "fingerprint") == 0)
		return g_ascii_strcasecmp(json_get_text(image, key), value) == 0;
	if (strcmp(key, "public") == 0)
		return json_is_true(json_object_get(image, key)) == (strcmp(value, "true") == 0);
	const char *plain = g_str_has_prefix(key, "properties.") ? key + strlen("properties.") :
								   key;
	json_object_foreach (json_object_get(image, "properties"), name, held)
		if (key_matches(plain, name) &&
		    g_ascii_strcasecmp(json_string_value(held), value) == 0)
			return true;
	return false;
}

static bool image_matches(const json_t *image, const char *filter)
{
	const char *equals = strchr(filter, '=');
	size_t i;
	json_t *alias;
	if (equals) {
		g_autofree char *key = g_strndup(filter, equals - filter);
		return property_matches(image, key, equals + 1);
	}
	if (g_str_has_prefix(json_get_text(image, "fingerprint"), filter))
		return true;
	json_array_foreach (json_object_get(image, "aliases"), i, alias)
		if (strstr(json_get_text(alias, "name"), filter))
			return true;
	return false;
}

static json_t *pick(Cli *cli, const json_t *images, int first)
{
	json_t *picked = server_keep(cli, json_array()), *image;
	size_t i;
	json_array_foreach (images, i, image) {
		bool matches = true;
		for (int k = first; matches && k < cli->n_args; k++)
			matches = !*cli->args[k] || image_matches(image, cli->args[k]);
		if (matches)
			json_array_append(picked, image);
	}
	return picked;
}

/* The server that the first argument names, and where the filters start; "remote:filter" works too.
 */
static Server *parse_list(Cli *cli, int *ret_first, Error **err)
{
	Target target;
	*ret_first = 0;
	if (cli->n_args == 0 || !strchr(cli->args[0], ':') || strchr(cli->args[0], '='))
		return server_get(cli, NULL, err);
	if (target_parse(cli, cli->args[0], &target, err) < 0)
		return NULL;
	cli->args[0] = (char *)target.name;
	return target.server;
}

static json_t *fetch_images(Cli *cli, int *ret_first, Error **err)
{
	const char *first = cli->n_args > 0 ? cli->args[0] : "", *rest = first;
	const Remote *streams = strchr(first, '=') ? NULL : image_streams_remote(cli, first, &rest);
	*ret_first = 0;
	if (streams) {
		if (cli->n_args > 0)
			cli->args[0] = (char *)rest;
		return image_streams_list(cli, streams, err);
	}
	Server *server = parse_list(cli, ret_first, err);
	return server ? server_list(server, "GetImages", NULL, err) : NULL;
}

static int parse_columns(Cli *cli, GString *letters, GPtrArray *headers, Error **err)
{
	for (const char *p = flag_string(cli, "columns"); *p; p++) {
		size_t i = 0;
		while (i < G_N_ELEMENTS(columns) && columns[i].letter != *p)
			i++;
		if (*p == ',')
			continue;
		if (i == G_N_ELEMENTS(columns))
			return error_set(err, ERROR_INVALID,
			    "Unknown column shorthand char '%c' in \"%s\"", *p,
			    flag_string(cli, "columns"));
		g_string_append_c(letters, *p);
		g_ptr_array_add(headers, (char *)columns[i].header);
	}
	g_ptr_array_add(headers, NULL);
	return 0;
}

int image_list(Cli *cli, Error **err)
{
	g_autoptr(GString) letters = g_string_new(NULL);
	g_autoptr(GPtrArray) headers = g_ptr_array_new();
	int first;
	if (output_check_format(cli, err) < 0 || parse_columns(cli, letters, headers, err) < 0)
		return -1;
	json_t *images = fetch_images(cli, &first, err), *image;
	if (!images)
		return -1;
	images = pick(cli, images, first);
	g_autoptr(Table) table = table_new((const char *const *)headers->pdata);
	size_t i;
	json_array_foreach (images, i, image) {
		char **cells = g_new0(char *, letters->len + 1);
		for (gsize c = 0; c < letters->len; c++) {
			const char *text = cell(cli, image, letters->str[c]);
			cells[c] = g_strdup(text ? text : "");
		}
		table_add_cells(table, cells);
	}
	table_sort(table);
	return output_list(cli, table, images, err);
}

/* ---- aliases ---- */

int image_alias_set(Server *server, const char *alias, const char *fingerprint, Error **err)
{
	if (server_call(server, "GetImageAlias", json_pack("{s:s}", "name", alias), NULL))
		server_call(server, "DeleteImageAlias", json_pack("{s:s}", "name", alias), NULL);
	return server_call(server, "CreateImageAlias",
		   json_pack("{s:{s:s, s:s}}", "alias", "name", alias, "target", fingerprint),
		   err) ?
	    0 :
	    -1;
}

static int alias_create(Cli *cli, Error **err)
{
	Target alias;
	if (target_parse(cli, cli->args[0], &alias, err) < 0)
		return -1;
	if (!*alias.name)
		return error_set(err, ERROR_INVALID, "Alias name missing");
	return server_call(alias.server, "CreateImageAlias",
		   json_pack("{s:{s:s, s:s}}", "alias", "name", alias.name, "target",
		       image_resolve(alias.server, cli->args[1])),
		   err) ?
	    0 :
	    -1;
}

static int alias_delete(Cli *cli, Error **err)
{
	Target alias;
	if (target_parse(cli, cli->args[0], &alias, err) < 0)
		return -1;
	return server_call(
		   alias.server, "DeleteImageAlias", json_pack("{s:s}", "name", alias.name), err) ?
	    0 :
	    -1;
}

static int alias_rename(Cli *cli, Error **err)
{
	Target alias;
	if (target_parse(cli, cli->args[0], &alias, err) < 0)
		return -1;
	return server_call(alias.server, "RenameImageAlias",
		   json_pack("{s:s, s:{s:s}}", "name", alias.name, "alias", "name", cli->args[1]),
		   err) ?
	    0 :
	    -1;
}

static bool alias_matches(Cli *cli, const json_t *alias, int first)
{
	for (int i = first; i < cli->n_args; i++)
		if (*cli->args[i] && !strstr(json_get_text(alias, "name"), cli->args[i]) &&
		    !g_str_has_prefix(json_get_text(alias, "target"), cli->args[i]))
			return false;
	return true;
}

/* The aliases of a simple streams server are those that its images name. */
static json_t *aliases_of(Cli *cli, const json_t *images)
{
	json_t *all = server_keep(cli, json_array()), *image, *alias;
	size_t i, k;
	json_array_foreach (images, i, image)
		json_array_foreach (json_object_get(image, "aliases"), k, alias)
			json_array_append_new(all,
			    json_pack("{s:s, s:s, s:s, s:s}", "description", "", "name",
				json_get_text(alias, "name"), "target",
				json_get_text(image, "fingerprint"), "type",
				json_get_text(image, "type")));
	return all;
}

static json_t *fetch_aliases(Cli *cli, int *ret_first, Error **err)
{
	const char *first = cli->n_args > 0 ? cli->args[0] : "", *rest = first;
	const Remote *streams = image_streams_remote(cli, first, &rest);
	*ret_first = 0;
	if (streams) {
		if (cli->n_args > 0)
			cli->args[0] = (char *)rest;
		json_t *images = image_streams_list(cli, streams, err);
		return images ? aliases_of(cli, images) : NULL;
	}
	Server *server = parse_list(cli, ret_first, err);
	return server ? server_list(server, "GetImageAliases", NULL, err) : NULL;
}

static int alias_list(Cli *cli, Error **err)
{
	static const char *const headers[] = { "ALIAS", "FINGERPRINT", "TYPE", "DESCRIPTION",
		NULL };
	int first;
	if (output_check_format(cli, err) < 0)
		return -1;
	json_t *aliases = fetch_aliases(cli, &first, err), *alias;
	if (!aliases)
		return -1;
	json_t *picked = server_keep(cli, json_array());
	g_autoptr(Table) table = table_new(headers);
	size_t i;
	json_array_foreach (aliases, i, alias) {
		g_autofree char *type = g_ascii_strup(json_get_text(alias, "type"), -1);
		if (!alias_matches(cli, alias, first))
			continue;
		json_array_append(picked, alias);
		table_add(table, json_get_text(alias, "name"),
		    arena_strndup(cli->arena, json_get_text(alias, "target"), 12), type,
		    json_get_text(alias, "description"), NULL);
	}
	table_sort(table);
	return output_list(cli, table, picked, err);
}

static const Flag format_flags[] = { FLAG_FORMAT, FLAG_END };

const Command image_alias_commands[] = {
	{ .path = "image alias", .summary = "Manage names of images" },
	{ .path = "image alias create",
	    .usage = "[<remote>:]<alias> <fingerprint>",
	    .min_args = 2,
	    .max_args = 2,
	    .summary = "Give an image a name",
	    .run = alias_create },
	{ .path = "image alias delete",
	    .aliases = "rm",
	    .usage = "[<remote>:]<alias>",
	    .min_args = 1,
	    .max_args = 1,
	    .summary = "Take a name away",
	    .run = alias_delete,
	    .complete = "image" },
	{ .path = "image alias list",
	    .aliases = "ls",
	    .usage = "[<remote>:] [<filters>...]",
	    .max_args = -1,
	    .flags = format_flags,
	    .summary = "List names of images",
	    .help = "A filter is part of a name or the start of a fingerprint.",
	    .run = alias_list,
	    .complete = "remote" },
	{ .path = "image alias rename",
	    .aliases = "mv",
	    .usage = "[<remote>:]<alias> <new-name>",
	    .min_args = 2,
	    .max_args = 2,
	    .summary = "Change a name",
	    .run = alias_rename,
	    .complete = "image" },
	{ 0 },
};
