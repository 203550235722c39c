/*
 * incus config metadata, incus config template: what came with an instance's image.
 */
#include "cli/edit.h"
#include "cli/noun.h"
#include "cli/nouns.h"
#include "cli/output.h"
#include "cli/stream.h"
#include "incus/v1/instance.pb-c.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const Noun metadata_noun = {
	.title = "Metadata",
	.method = "InstanceMetadata",
	.body = "metadata",
	.edit_help = "# The metadata of the image that the instance was made from, as YAML.\n",
};

static int metadata_show(Cli *cli, Error **err)
{
	return noun_show(cli, &metadata_noun, err);
}

static int metadata_edit(Cli *cli, Error **err)
{
	return noun_edit(cli, &metadata_noun, err);
}

/* Calls GetInstanceTemplateFiles and gives every message to `take`. */
static int read_templates(const Object *instance, const char *path,
    void (*take)(const Pb__InstanceTemplate *message, void *data), void *data, Error **err)
{
	Pb__GetInstanceTemplateFilesRequest in = PB__GET_INSTANCE_TEMPLATE_FILES_REQUEST__INIT;
	in.name = (char *)instance->name;
	in.project = (char *)(instance->server->project ? instance->server->project : "");
	in.path = (char *)path;
	g_autoptr(Stream) stream =
	    stream_open(instance->server, "GetInstanceTemplateFiles", &in.base, err);
	ProtobufCMessage *message = NULL;
	if (!stream)
		return -1;
	while (stream_receive(stream, &message, err) == 0 && message) {
		take((const Pb__InstanceTemplate *)message, data);
		stream_message_free(message);
	}
	return message || (err && *err) ? -1 : 0;
}

static void take_names(const Pb__InstanceTemplate *message, void *data)
{
	for (size_t i = 0; i < message->n_entries; i++)
		json_array_append_new(data, json_string(message->entries[i]));
}

static void take_text(const Pb__InstanceTemplate *message, void *data)
{
	g_string_append_len(data, (const char *)message->data.data, message->data.len);
}

static int list(Cli *cli, Error **err)
{
	static const char *const headers[] = { "FILENAME", NULL };
	Object instance;
	json_t *names = server_keep(cli, json_array()), *name;
	if (object_parse_named(cli, &instance_noun, cli->args[0], &instance, err) < 0 ||
	    output_check_format(cli, err) < 0 ||
	    read_templates(&instance, "", take_names, names, err) < 0)
		return -1;
	g_autoptr(Table) table = table_new(headers);
	size_t i;
	json_array_foreach (names, i, name)
		table_add(table, json_string_value(name), NULL);
	table_sort(table);
	return output_list(cli, table, names, err);
}

static int show(Cli *cli, Error **err)
{
	Object instance;
	g_autoptr(GString) text = g_string_new(NULL);
	if (object_parse_named(cli, &instance_noun, cli->args[0], &instance, err) < 0 ||
	    read_templates(&instance, cli->args[1], take_text, text, err) < 0)
		return -1;
	fwrite(text->str, 1, text->len, stdout);
	return 0;
}

static int write_template(
    const Object *instance, const char *path, const char *text, size_t length, Error **err)
{
	Pb__CreateInstanceTemplateFileRequest in = PB__CREATE_INSTANCE_TEMPLATE_FILE_REQUEST__INIT;
	in.name = (char *)instance->name;
	in.project = (char *)(instance->server->project ? instance->server->project : "");
	in.path = (char *)path;
	g_autoptr(Stream) stream = stream_open(
	    instance->server, "CreateInstanceTemplateFile", &in.base, err);
	for (size_t at = 0; stream && at < length; at += in.data.len) {
		in.data.data = (uint8_t *)text + at;
		in.data.len = MIN(length - at, 256 * 1024);
		if (stream_send(stream, &in.base, err) < 0)
			return -1;
	}
	return stream ? stream_finish(stream, NULL, err) : -1;
}

static int create(Cli *cli, Error **err)
{
	Object instance;
	if (object_parse_named(cli, &instance_noun, cli->args[0], &instance, err) < 0 ||
	    write_template(&instance, cli->args[1], "", 0, err) < 0)
		return -1;
	if (!cli->quiet)
		printf("Template %s created\n", cli->args[1]);
	return 0;
}

static int edit(Cli *cli, Error **err)
{
	Object instance;
	const char *text;
	size_t length;
	if (object_parse_named(cli, &instance_noun, cli->args[0], &instance, err) < 0)
		return -1;
	if (!isatty(STDIN_FILENO)) {
		if (read_stdin(cli, &text, &length, err) < 0)
			return -1;
		return write_template(&instance, cli->args[1], text, length, err);
	}
	g_autoptr(GString) now = g_string_new(NULL);
	if (read_templates(&instance, cli->args[1], take_text, now, err) < 0)
		return -1;
	for (;;) {
		g_autoptr(Error) problem = NULL;
		g_autofree char *edited = NULL;
		if (edit_text(now->str, now->len, ".tpl", &edited, &length, err) < 0)
			return -1;
		if (write_template(&instance, cli->args[1], edited, length, &problem) == 0)
			return 0;
		g_string_truncate(now, 0);
		g_string_append_len(now, edited, length);
		if (!edit_again(problem->message))
			return error_propagate(err, g_steal_pointer(&problem));
	}
}

static int delete(Cli *cli, Error **err)
{
	Object instance;
	if (object_parse_named(cli, &instance_noun, cli->args[0], &instance, err) < 0)
		return -1;
	json_t *request = json_copy(instance.key);
	json_object_set_new(request, "path", json_string(cli->args[1]));
	if (!server_call(instance.server, "DeleteInstanceTemplateFile", request, err))
		return -1;
	if (!cli->quiet)
		printf("Template %s deleted\n", cli->args[1]);
	return 0;
}

static const Flag format_flags[] = { FLAG_FORMAT, FLAG_END };

const Command template_commands[] = {
	{ .path = "config metadata", .summary = "Manage the metadata of instances" },
	{ .path = "config metadata edit",
	    .usage = "[<remote>:]<instance>",
	    .min_args = 1,
	    .max_args = 1,
	    .summary = "Edit the metadata of an instance as YAML",
	    .run = metadata_edit,
	    .complete = "instance" },
	{ .path = "config metadata show",
	    .usage = "[<remote>:]<instance>",
	    .min_args = 1,
	    .max_args = 1,
	    .summary = "Show the metadata of an instance",
	    .run = metadata_show,
	    .complete = "instance" },
	{ .path = "config template", .summary = "Manage the file templates of instances" },
	{ .path = "config template create",
	    .usage = "[<remote>:]<instance> <template>",
	    .min_args = 2,
	    .max_args = 2,
	    .summary = "Create an empty template",
	    .run = create,
	    .complete = "instance" },
	{ .path = "config template delete",
	    .aliases = "rm",
	    .usage = "[<remote>:]<instance> <template>",
	    .min_args = 2,
	    .max_args = 2,
	    .summary = "Delete a template",
	    .run = delete,
	    .complete = "instance" },
	{ .path = "config template edit",
	    .usage = "[<remote>:]<instance> <template>",
	    .min_args = 2,
	    .max_args = 2,
	    .summary = "Edit a template",
	    .run = edit,
	    .complete = "instance" },
	{ .path = "config template list",
	    .aliases = "ls",
	    .usage = "[<remote>:]<instance>",
	    .min_args = 1,
	    .max_args = 1,
	    .flags = format_flags,
	    .summary = "List the templates of an instance",
	    .run = list,
	    .complete = "instance" },
	{ .path = "config template show",
	    .usage = "[<remote>:]<instance> <template>",
	    .min_args = 2,
	    .max_args = 2,
	    .summary = "Print a template",
	    .run = show,
	    .complete = "instance" },
	{ 0 },
};
