#include "cli/output.h"
#include "sdk/base/units.h"
#include "cli/yaml.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char *const formats[] = { "table", "compact", "csv", "json", "yaml", NULL };

/* Splits "csv,header" into the format and whether headers are wanted. */
static char *format_of(Cli *cli, bool *ret_header)
{
	g_auto(GStrv) parts = g_strsplit(flag_string(cli, "format"), ",", 2);
	const char *name = parts[0] ? parts[0] : "";
	*ret_header = strcmp(name, "csv") != 0;
	if (parts[0] && parts[1])
		*ret_header = strcmp(parts[1], "header") == 0 ||
		    (*ret_header && strcmp(parts[1], "noheader") != 0);
	return arena_strdup(cli->arena, name);
}

int output_check_format(Cli *cli, Error **err)
{
	bool header;
	if (g_strv_contains(formats, format_of(cli, &header)))
		return 0;
	return error_set(err, ERROR_INVALID,
	    "Invalid format \"%s\": use csv, json, table, yaml or compact",
	    flag_string(cli, "format"));
}

bool output_wants_data(Cli *cli)
{
	bool header;
	const char *format = format_of(cli, &header);
	return strcmp(format, "json") == 0 || strcmp(format, "yaml") == 0;
}

int output_list(Cli *cli, const Table *table, const json_t *data, Error **err)
{
	bool header;
	const char *format = format_of(cli, &header);
	if (output_check_format(cli, err) < 0)
		return -1;
	if (strcmp(format, "json") == 0) {
		json_dumpf(data, stdout, JSON_COMPACT | JSON_ENCODE_ANY);
		putchar('\n');
	} else if (strcmp(format, "yaml") == 0) {
		output_yaml(data);
	} else {
		g_autofree char *text = table_text(table, format, header);
		fputs(text, stdout);
	}
	return 0;
}

void output_yaml(const json_t *data)
{
	g_autofree char *text = yaml_from_json(data);
	fputs(text, stdout);
}

const char *output_time(Cli *cli, const char *text)
{
	int64_t seconds;
	int32_t nanoseconds;
	char out[64];
	struct tm parts;
	if (units_parse_time(text, &seconds, &nanoseconds, NULL) < 0)
		return "";
	time_t when = seconds;
	strftime(out, sizeof(out), "%Y/%m/%d %H:%M %Z", localtime_r(&when, &parts));
	return arena_strdup(cli->arena, out);
}
