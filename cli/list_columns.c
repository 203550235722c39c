#include "cli/list.h"
#include "sdk/base/units.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef const char *(*CellOf)(Cli *cli, const json_t *instance);

static const json_t *state_of(const json_t *instance)
{
	return json_object_get(instance, "state");
}

static bool is_running(const json_t *instance)
{
	int64_t status = json_get_int(instance, "status_code");
	return status == 103 || status == 110 || status == 113;
}

static int by_text_descending(const void *a, const void *b)
{
	return strcmp(*(char *const *)b, *(char *const *)a);
}

static const char *addresses(Cli *cli, const json_t *instance, const char *family)
{
	g_autoptr(GPtrArray) found = g_ptr_array_new();
	const char *name;
	json_t *nic, *address;
	size_t i;
	if (!is_running(instance))
		return "";
	json_object_foreach (json_object_get(state_of(instance), "network"), name, nic) {
		if (strcmp(json_get_text(nic, "type"), "loopback") == 0)
			continue;
		json_array_foreach (json_object_get(nic, "addresses"), i, address) {
			const char *scope = json_get_text(address, "scope");
			if (strcmp(scope, "link") == 0 || strcmp(scope, "local") == 0 ||
			    strcmp(json_get_text(address, "family"), family) != 0)
				continue;
			g_ptr_array_add(found,
			    arena_printf(
				cli->arena, "%s (%s)", json_get_text(address, "address"), name));
		}
	}
	if (found->len > 1)
		qsort(found->pdata, found->len, sizeof(void *), by_text_descending);
	g_ptr_array_add(found, NULL);
	g_autofree char *joined = g_strjoinv("\n", (char **)found->pdata);
	return arena_strdup(cli->arena, joined);
}

static const char *cell_ipv4(Cli *cli, const json_t *instance)
{
	return addresses(cli, instance, "inet");
}

static const char *cell_ipv6(Cli *cli, const json_t *instance)
{
	return addresses(cli, instance, "inet6");
}

static const char *time_text(Cli *cli, const char *text)
{
	int64_t seconds;
	int32_t nanoseconds;
	char out[64];
	struct tm parts;
	if (units_parse_time(text, &seconds, &nanoseconds, NULL) < 0 || seconds <= 0)
		return "";
	time_t when = seconds;
	strftime(out, sizeof(out), "%Y/%m/%d %H:%M %Z", localtime_r(&when, &parts));
	return arena_strdup(cli->arena, out);
}

static const char *cell_architecture(Cli *cli, const json_t *instance)
{
	return json_get_text(instance, "architecture");
}

static const char *cell_pool(Cli *cli, const json_t *instance)
{
	const char *name;
	json_t *device;
	json_object_foreach (json_object_get(instance, "expanded_devices"), name, device)
		if (strcmp(json_get_text(device, "type"), "disk") == 0 &&
		    strcmp(json_get_text(device, "path"), "/") == 0)
			return json_get_text(device, "pool");
	return "";
}

static const char *cell_created(Cli *cli, const json_t *instance)
{
	return time_text(cli, json_get_text(instance, "created_at"));
}

static const char *cell_last_used(Cli *cli, const json_t *instance)
{
	return time_text(cli, json_get_text(instance, "last_used_at"));
}

static const char *cell_description(Cli *cli, const json_t *instance)
{
	return json_get_text(instance, "description");
}

static const char *size_text(Cli *cli, int64_t bytes)
{
	if (bytes <= 0)
		return "";
	g_autofree char *text = units_format_bytes(bytes, 2);
	return arena_strdup(cli->arena, text);
}

static const char *cell_disk(Cli *cli, const json_t *instance)
{
	return size_text(cli,
	    json_get_int(
		json_object_get(json_object_get(state_of(instance), "disk"), "root"), "usage"));
}

static const char *cell_project(Cli *cli, const json_t *instance)
{
	return json_get_text(instance, "project");
}

static const char *cell_memory(Cli *cli, const json_t *instance)
{
	return size_text(cli, json_get_int(json_object_get(state_of(instance), "memory"), "usage"));
}

static const char *cell_memory_percent(Cli *cli, const json_t *instance)
{
	const json_t *memory = json_object_get(state_of(instance), "memory");
	int64_t total = json_get_int(memory, "total");
	if (!is_running(instance) || total <= 0)
		return "";
	return arena_printf(cli->arena, "%.1f%%", 100.0 * json_get_int(memory, "usage") / total);
}

static const char *cell_name(Cli *cli, const json_t *instance)
{
	return json_get_text(instance, "name");
}

static const char *number(Cli *cli, int64_t value)
{
	return value > 0 ? arena_printf(cli->arena, "%" G_GINT64_FORMAT, value) : "";
}

static const char *cell_processes(Cli *cli, const json_t *instance)
{
	return is_running(instance) ? number(cli, json_get_int(state_of(instance), "processes")) :
				      "";
}

static const char *cell_pid(Cli *cli, const json_t *instance)
{
	return is_running(instance) ? number(cli, json_get_int(state_of(instance), "pid")) : "";
}

static const char *cell_profiles(Cli *cli, const json_t *instance)
{
	g_autoptr(GString) out = g_string_new(NULL);
	size_t i;
	json_t *name;
	json_array_foreach (json_object_get(instance, "profiles"), i, name)
		g_string_append_printf(out, "%s%s", i ? "\n" : "", json_string_value(name));
	return arena_strdup(cli->arena, out->str);
}

static const char *cell_state(Cli *cli, const json_t *instance)
{
	g_autofree char *upper = g_ascii_strup(json_get_text(instance, "status"), -1);
	return arena_strdup(cli->arena, upper);
}

static const char *cell_snapshots(Cli *cli, const json_t *instance)
{
	return arena_printf(cli->arena, "%" JSON_INTEGER_FORMAT,
	    (json_int_t)json_get_int(instance, "snapshot_count") +
		(json_int_t)json_array_size(json_object_get(instance, "snapshots")));
}

static const char *cell_type(Cli *cli, const json_t *instance)
{
	g_autofree char *upper = g_ascii_strup(json_get_text(instance, "type"), -1);
	bool ephemeral = json_is_true(json_object_get(instance, "ephemeral"));
	return arena_printf(
	    cli->arena, "%s%s", *upper ? upper : "CONTAINER", ephemeral ? " (EPHEMERAL)" : "");
}

static const char *cell_cpu(Cli *cli, const json_t *instance)
{
	if (!is_running(instance))
		return "";
	int64_t usage = json_get_int(json_object_get(state_of(instance), "cpu"), "usage");
	return arena_printf(cli->arena, "%" G_GINT64_FORMAT "s", usage / 1000000000);
}

static const char *cell_location(Cli *cli, const json_t *instance)
{
	return json_get_text(instance, "location");
}

static const char *cell_base_image(Cli *cli, const json_t *instance)
{
	return json_get_text(json_object_get(instance, "expanded_config"), "volatile.base_image");
}

static const char *cell_base_image_short(Cli *cli, const json_t *instance)
{
	return arena_strndup(cli->arena, cell_base_image(cli, instance), 12);
}

static const struct {
	char letter;
	const char *header;
	CellOf cell;
	const char *field; /* of the instance, that the cell needs beside its plain values */
} known[] = {
	{ '4', "IPV4", cell_ipv4, "state" },
	{ '6', "IPV6", cell_ipv6, "state" },
	{ 'a', "ARCHITECTURE", cell_architecture, NULL },
	{ 'b', "STORAGE POOL", cell_pool, "expanded_devices" },
	{ 'c', "CREATED AT", cell_created, NULL },
	{ 'd', "DESCRIPTION", cell_description, NULL },
	{ 'D', "DISK USAGE", cell_disk, "state" },
	{ 'e', "PROJECT", cell_project, NULL },
	{ 'f', "BASE IMAGE", cell_base_image_short, "expanded_config" },
	{ 'F', "BASE IMAGE", cell_base_image, "expanded_config" },
	{ 'l', "LAST USED AT", cell_last_used, NULL },
	{ 'L', "LOCATION", cell_location, NULL },
	{ 'm', "MEMORY USAGE", cell_memory, "state" },
	{ 'M', "MEMORY USAGE%", cell_memory_percent, "state" },
	{ 'n', "NAME", cell_name, NULL },
	{ 'N', "PROCESSES", cell_processes, "state" },
	{ 'p', "PID", cell_pid, "state" },
	{ 'P', "PROFILES", cell_profiles, "profiles" },
	{ 's', "STATE", cell_state, NULL },
	{ 'S', "SNAPSHOTS", cell_snapshots, "snapshot_count" },
	{ 't', "TYPE", cell_type, NULL },
	{ 'u', "CPU USAGE", cell_cpu, "state" },
};

static int find_letter(char letter)
{
	for (size_t i = 0; i < G_N_ELEMENTS(known); i++)
		if (known[i].letter == letter)
			return (int)i;
	return -1;
}

/* "[config:|devices:]key[:name][:width]" */
static int parse_custom(Cli *cli, const char *text, GArray *columns, Error **err)
{
	g_auto(GStrv) parts = g_strsplit(text, ":", -1);
	guint n = g_strv_length(parts), at = 0;
	Column column = { .max_width = -1 };
	if (n > 1 && (strcmp(parts[0], "config") == 0 || strcmp(parts[0], "devices") == 0))
		column.device = parts[at++][0] == 'd';
	if (at >= n || !*parts[at] || (column.device && !strchr(parts[at], '.')))
		return error_set(err, ERROR_INVALID, "Invalid column \"%s\"", text);
	column.key = arena_strdup(cli->arena, parts[at++]);
	g_autofree char *upper = g_ascii_strup(at < n && *parts[at] ? parts[at] : column.key, -1);
	column.header = arena_strdup(cli->arena, upper);
	if (at + 1 < n) {
		char *end;
		column.max_width = (int)strtol(parts[at + 1], &end, 10);
		if (*end || column.max_width < -1 || n > at + 2)
			return error_set(
			    err, ERROR_INVALID, "Invalid width in column \"%s\"", text);
		if (column.max_width == 0)
			column.max_width = (int)strlen(column.header);
	}
	g_array_append_val(columns, column);
	return 0;
}

static int parse_part(Cli *cli, const char *text, GArray *columns, Error **err)
{
	if (strpbrk(text, ".:"))
		return parse_custom(cli, text, columns, err);
	for (const char *p = text; *p; p++) {
		int index = find_letter(*p);
		if (index < 0)
			return error_set(err, ERROR_INVALID,
			    "Unknown column shorthand char '%c' in \"%s\"", *p, text);
		Column column = { .letter = *p, .header = known[index].header, .max_width = -1 };
		g_array_append_val(columns, column);
	}
	return 0;
}

GArray *columns_parse(Cli *cli, const char *text, Error **err)
{
	g_autoptr(GArray) columns = g_array_new(FALSE, FALSE, sizeof(Column));
	g_auto(GStrv) parts = g_strsplit(text, ",", -1);
	for (char **p = parts; *p; p++) {
		if (!**p) {
			error_set(err, ERROR_INVALID,
			    "Empty column entry (redundant, leading or trailing comma) in \"%s\"",
			    text);
			return NULL;
		}
		if (parse_part(cli, *p, columns, err) < 0)
			return NULL;
	}
	return g_steal_pointer(&columns);
}

static const char *field_of(const Column *column)
{
	if (column->letter)
		return known[find_letter(column->letter)].field;
	return column->device ? "expanded_devices" : "expanded_config";
}

const char **columns_fields(Cli *cli, const GArray *columns)
{
	const char **fields = arena_alloc(cli->arena, (columns->len + 2) * sizeof(char *));
	size_t n = 0;
	fields[n++] = "name"; /* an empty list would mean all */
	for (guint i = 0; i < columns->len; i++) {
		const char *field = field_of(&g_array_index(columns, Column, i));
		if (field && !g_strv_contains(fields, field))
			fields[n++] = field;
	}
	return fields;
}

static const char *custom_text(const json_t *instance, const Column *column)
{
	if (!column->device)
		return json_get_text(json_object_get(instance, "expanded_config"), column->key);
	const char *dot = strchr(column->key, '.');
	g_autofree char *device = g_strndup(column->key, dot - column->key);
	return json_get_text(
	    json_object_get(json_object_get(instance, "expanded_devices"), device), dot + 1);
}

const char *column_text(Cli *cli, const json_t *instance, const Column *column)
{
	if (column->letter)
		return known[find_letter(column->letter)].cell(cli, instance);
	const char *text = custom_text(instance, column);
	if (column->max_width < 0 || g_utf8_strlen(text, -1) <= column->max_width)
		return text;
	g_autofree char *cut = g_utf8_substring(text, 0, column->max_width);
	return arena_strdup(cli->arena, cut);
}
