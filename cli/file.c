/*
 * incus file: files of instances.
 */
#include "cli/edit.h"
#include "cli/file_mount.h"
#include "cli/file_transfer.h"
#include "cli/noun.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* "[remote:]instance/path": the path gets its leading slash. */
int file_target_parse(Cli *cli, const char *argument, FileTarget *ret, Error **err)
{
	Target target;
	if (target_parse(cli, argument, &target, err) < 0)
		return -1;
	const char *slash = strchr(target.name, '/');
	if (!slash || slash == target.name)
		return error_set(
		    err, ERROR_INVALID, "Invalid path \"%s\": INSTANCE/PATH expected", argument);
	ret->server = target.server;
	ret->instance = arena_strndup(cli->arena, target.name, slash - target.name);
	ret->path = slash;
	return 0;
}

static int delete(Cli *cli, Error **err)
{
	for (int i = 0; i < cli->n_args; i++) {
		FileTarget file;
		if (file_target_parse(cli, cli->args[i], &file, err) < 0)
			return -1;
		json_t *request = json_pack("{s:s, s:s}", "name", file.instance, "path", file.path);
		if (!server_call(file.server, "DeleteInstanceFile", request, err))
			return -1;
	}
	return 0;
}

static int edit(Cli *cli, Error **err)
{
	FileTarget file;
	FileFacts facts = { .uid = -1, .gid = -1, .mode = -1, .type = "file" };
	if (file_target_parse(cli, cli->args[0], &file, err) < 0)
		return -1;
	if (!isatty(STDIN_FILENO))
		return file_send(&file, &facts, STDIN_FILENO, 0, NULL, err);
	g_autoptr(GString) text = g_string_new(NULL);
	FileFacts now;
	if (file_receive_text(&file, &now, text, err) < 0)
		return -1;
	if (strcmp(now.type, "file") != 0)
		return error_set(err, ERROR_INVALID, "\"%s\" is no file", file.path);
	for (;;) {
		g_autoptr(Error) problem = NULL;
		g_autofree char *edited = NULL;
		size_t length;
		const char *dot = strrchr(file.path, '.');
		if (edit_text(text->str, text->len, dot && !strchr(dot, '/') ? dot : "", &edited,
			&length, err) < 0)
			return -1;
		if (file_send_bytes(&file, &facts, edited, length, &problem) == 0)
			return 0;
		g_string_truncate(text, 0);
		g_string_append_len(text, edited, length);
		if (!edit_again(problem->message))
			return error_propagate(err, g_steal_pointer(&problem));
	}
}

static const Flag pull_flags[] = {
	{ "create-dirs", 'p', FLAG_BOOL, NULL, "Make directories that are needed" },
	{ "recursive", 'r', FLAG_BOOL, NULL, "Transfer directories with all that is in them" },
	FLAG_END,
};
static const Flag push_flags[] = {
	{ "create-dirs", 'p', FLAG_BOOL, NULL, "Make directories that are needed" },
	{ "gid", 0, FLAG_INT, "-1", "Group ID of the new file" },
	{ "mode", 0, FLAG_STRING, NULL, "Permissions of the new file (0644)" },
	{ "recursive", 'r', FLAG_BOOL, NULL, "Transfer directories with all that is in them" },
	{ "uid", 0, FLAG_INT, "-1", "User ID of the new file" },
	FLAG_END,
};

static const Flag mount_flags[] = {
	{ "auth-user", 0, FLAG_STRING, NULL, "Name that SSH clients log in with" },
	{ "listen", 0, FLAG_STRING, NULL, "Serve SSH clients on this address and port" },
	{ "no-auth", 0, FLAG_BOOL, NULL, "Let SSH clients in without a password" },
	FLAG_END,
};

const Command file_commands[] = {
	{ .path = "file", .summary = "Manage files in instances" },
	{ .path = "file delete",
	    .aliases = "rm",
	    .usage = "[<remote>:]<instance>/<path> [[<remote>:]<instance>/<path>...]",
	    .min_args = 1,
	    .max_args = -1,
	    .summary = "Delete files in instances",
	    .run = delete,
	    .complete = "instance" },
	{ .path = "file edit",
	    .usage = "[<remote>:]<instance>/<path>",
	    .min_args = 1,
	    .max_args = 1,
	    .summary = "Edit a file of an instance",
	    .help =
		"Its owner and permissions stay. New content is taken from the standard input when that is\n"
		"no terminal.",
	    .run = edit,
	    .complete = "instance" },
	{ .path = "file mount",
	    .usage = "[<remote>:]<instance>[/<path>] [<target path>]",
	    .min_args = 1,
	    .max_args = 2,
	    .flags = mount_flags,
	    .summary = "Mount the files of an instance",
	    .help =
		"With a target path sshfs mounts them there until ctrl+c. Without one they are offered to SSH\n"
		"clients (sftp) on a port of this machine.",
	    .examples = "incus file mount c1/root /mnt\n"
			"incus file mount c1 --listen 127.0.0.1:2022",
	    .run = file_mount,
	    .complete = "instance" },
	{ .path = "file pull",
	    .usage = "[<remote>:]<instance>/<path> [[<remote>:]<instance>/<path>...] <target path>",
	    .min_args = 2,
	    .max_args = -1,
	    .flags = pull_flags,
	    .summary = "Fetch files from instances",
	    .examples = "incus file pull c1/etc/hosts .\n"
			"incus file pull c1/etc/hosts -\n"
			"    Print the file.",
	    .run = file_pull,
	    .complete = "instance" },
	{ .path = "file push",
	    .usage = "<source path>... [<remote>:]<instance>/<path>",
	    .min_args = 2,
	    .max_args = -1,
	    .flags = push_flags,
	    .summary = "Send files to an instance",
	    .examples = "incus file push /etc/hosts c1/etc/hosts\n"
			"echo hello | incus file push - c1/root/hello\n"
			"incus file push -r src c1/root/",
	    .run = file_push },
	{ 0 },
};
