/*
 * incus image: showing, changing and deleting images. Transfers of files are in image_import.c,
 * image_export.c and image_copy.c, the list in image_list.c.
 */
#include "cli/image.h"
#include "cli/image_commands.h"
#include "cli/noun.h"
#include "cli/output.h"
#include "sdk/base/units.h"
#include <stdio.h>
#include <string.h>

const Noun image_noun = {
	.title = "Image",
	.method = "Image",
	.body = "image",
	.edit_help = "# The image as YAML. Lines that begin with # are left out.\n"
		     "#\n"
		     "# public: false\n"
		     "# properties:\n"
		     "#   description: An example\n",
};

int image_parse(Cli *cli, const char *argument, Object *ret, Error **err)
{
	if (object_parse(cli, &image_noun, argument, ret, err) < 0)
		return -1;
	if (!*ret->name)
		return error_set(err, ERROR_INVALID, "Image identifier missing");
	json_object_del(ret->key, "name");
	json_object_set_new(
	    ret->key, "fingerprint", json_string(image_resolve(ret->server, ret->name)));
	return 0;
}

/* ---- info ---- */

static void print_time(const char *label, const char *text)
{
	int64_t seconds;
	int32_t nanoseconds;
	if (units_parse_time(text, &seconds, &nanoseconds, NULL) < 0 || seconds <= 0) {
		if (strcmp(label, "    Expires") == 0 || strcmp(label, "    Last used") == 0)
			printf("%s: never\n", label);
		return;
	}
	g_autoptr(GDateTime) when = g_date_time_new_from_unix_local(seconds);
	g_autofree char *spelled = g_date_time_format(when, "%Y/%m/%d %H:%M %Z");
	printf("%s: %s\n", label, spelled);
}

static void print_list(const char *title, const json_t *list, const char *key)
{
	size_t i;
	json_t *item;
	if (json_array_size(list) == 0)
		return;
	printf("%s:\n", title);
	json_array_foreach (list, i, item)
		printf("    - %s\n", key ? json_get_text(item, key) : json_string_value(item));
}

static const char *yes_no(const json_t *value)
{
	return json_is_true(value) ? "yes" : "no";
}

/* The image that the first argument names, of whatever kind of server. */
static json_t *fetch(Cli *cli, Error **err)
{
	Object image;
	const char *name;
	const Remote *streams = image_streams_remote(cli, cli->args[0], &name);
	if (streams)
		return image_streams_get(cli, streams, name, err);
	return image_parse(cli, cli->args[0], &image, err) < 0 ? NULL : object_get(&image, err);
}

static int info(Cli *cli, Error **err)
{
	json_t *data = fetch(cli, err), *value;
	const char *key;
	if (!data)
		return -1;
	printf("Fingerprint: %s\n", json_get_text(data, "fingerprint"));
	printf("Size: %.2fMiB\n", (double)json_get_int(data, "size") / (1 << 20));
	printf("Architecture: %s\n", json_get_text(data, "architecture"));
	printf("Type: %s\n", json_get_text(data, "type"));
	printf("Public: %s\nTimestamps:\n", yes_no(json_object_get(data, "public")));
	print_time("    Created", json_get_text(data, "created_at"));
	print_time("    Uploaded", json_get_text(data, "uploaded_at"));
	print_time("    Expires", json_get_text(data, "expires_at"));
	print_time("    Last used", json_get_text(data, "last_used_at"));
	puts("Properties:");
	json_object_foreach (json_object_get(data, "properties"), key, value)
		printf("    %s: %s\n", key, json_string_value(value));
	print_list("Aliases", json_object_get(data, "aliases"), "name");
	printf("Cached: %s\n", yes_no(json_object_get(data, "cached")));
	printf("Auto update: %s\n",
	    json_is_true(json_object_get(data, "auto_update")) ? "enabled" : "disabled");
	const json_t *source = json_object_get(data, "update_source");
	if (json_is_object(source))
		printf("Source:\n    Server: %s\n    Protocol: %s\n    Alias: %s\n",
		    json_get_text(source, "server"), json_get_text(source, "protocol"),
		    json_get_text(source, "alias"));
	print_list("Profiles", json_object_get(data, "profiles"), NULL);
	return 0;
}

/* ---- simple verbs ---- */

static int show(Cli *cli, Error **err)
{
	json_t *data = fetch(cli, err);
	if (!data)
		return -1;
	output_yaml(data);
	return 0;
}

static int edit(Cli *cli, Error **err)
{
	Object image;
	return image_parse(cli, cli->args[0], &image, err) < 0 ? -1 : object_edit(&image, err);
}

static int delete(Cli *cli, Error **err)
{
	for (int i = 0; i < cli->n_args; i++) {
		Object image;
		if (image_parse(cli, cli->args[i], &image, err) < 0 ||
		    !server_do(image.server, "DeleteImage", json_copy(image.key),
			"Deleting the image", err))
			return -1;
	}
	return 0;
}

static int refresh(Cli *cli, Error **err)
{
	for (int i = 0; i < cli->n_args; i++) {
		Object image;
		if (image_parse(cli, cli->args[i], &image, err) < 0)
			return -1;
		json_t *done = server_do(image.server, "RefreshImage", json_copy(image.key),
		    "Refreshing the image", err);
		if (!done)
			return -1;
		bool fresh = json_is_true(
		    json_object_get(json_object_get(done, "metadata"), "refreshed"));
		puts(fresh ? "Image refreshed successfully!" : "Image already up to date.");
	}
	return 0;
}

/* ---- properties ---- */

static int get_property(Cli *cli, Error **err)
{
	json_t *data = fetch(cli, err);
	if (!data)
		return -1;
	const json_t *value = json_object_get(json_object_get(data, "properties"), cli->args[1]);
	if (!value)
		return error_set(err, ERROR_NOT_FOUND, "Property not found");
	puts(json_string_value(value));
	return 0;
}

static int set_property(Cli *cli, Error **err)
{
	Object image;
	if (image_parse(cli, cli->args[0], &image, err) < 0)
		return -1;
	json_t *data = object_get(&image, err);
	if (!data)
		return -1;
	json_object_set_new(
	    json_member(data, "properties"), cli->args[1], json_string(cli->args[2]));
	return object_put(&image, data, err);
}

static int unset_property(Cli *cli, Error **err)
{
	Object image;
	if (image_parse(cli, cli->args[0], &image, err) < 0)
		return -1;
	json_t *data = object_get(&image, err);
	if (!data)
		return -1;
	if (json_object_del(json_member(data, "properties"), cli->args[1]) < 0)
		return error_set(err, ERROR_NOT_FOUND, "Property not found");
	return object_put(&image, data, err);
}

static const Flag vm_flags[] = {
	{ "vm", 0, FLAG_BOOL, NULL, "Look for a virtual machine image" },
	FLAG_END,
};
static const Flag copy_flags[] = {
	{ "alias", 0, FLAG_LIST, NULL, "Alias to make for the copy" },
	{ "auto-update", 0, FLAG_BOOL, NULL, "Keep the copy up to date with the source" },
	{ "copy-aliases", 0, FLAG_BOOL, NULL, "Make the aliases of the source" },
	{ "mode", 0, FLAG_STRING, "pull",
	    "Who moves the data: pull (the target), push (the source) or relay (this program)" },
	{ "profile", 'p', FLAG_LIST, NULL, "Profile for instances of the copy" },
	{ "public", 0, FLAG_BOOL, NULL, "Make the copy public" },
	{ "target-project", 0, FLAG_STRING, NULL, "Project to copy to" },
	{ "vm", 0, FLAG_BOOL, NULL, "Copy the virtual machine image" },
	FLAG_END,
};
static const Flag import_flags[] = {
	{ "alias", 0, FLAG_LIST, NULL, "Alias to make" },
	{ "public", 0, FLAG_BOOL, NULL, "Make the image public" },
	FLAG_END,
};
static const Flag list_flags[] = {
	{ "columns", 'c', FLAG_STRING, "lfpdatsu", "Columns" },
	FLAG_FORMAT,
	FLAG_END,
};

const Command image_commands[] = {
	{ .path = "image", .summary = "Manage images" },
	{ .path = "image copy",
	    .aliases = "cp",
	    .usage = "[<remote>:]<image> <remote>:",
	    .min_args = 2,
	    .max_args = 2,
	    .flags = copy_flags,
	    .summary = "Copy an image to another server",
	    .help =
		"In mode pull the target fetches the image, and --auto-update has it look for newer ones; in\n"
		"mode push the source sends it; in mode relay it goes through this program, for servers\n"
		"that cannot reach each other. The source may be an image server (simplestreams).",
	    .examples = "incus image copy images:alpine/edge local: --copy-aliases --auto-update\n"
			"incus image copy web lab: --alias web --mode push --target-project shop",
	    .run = image_copy,
	    .complete = "image,remote" },
	{ .path = "image delete",
	    .aliases = "rm",
	    .usage = "[<remote>:]<image> [[<remote>:]<image>...]",
	    .min_args = 1,
	    .max_args = -1,
	    .summary = "Delete images",
	    .run = delete,
	    .complete = "image" },
	{ .path = "image edit",
	    .usage = "[<remote>:]<image>",
	    .min_args = 1,
	    .max_args = 1,
	    .summary = "Edit an image as YAML",
	    .run = edit,
	    .complete = "image" },
	{ .path = "image export",
	    .usage = "[<remote>:]<image> [<target>]",
	    .min_args = 1,
	    .max_args = 2,
	    .flags = vm_flags,
	    .summary = "Save the files of an image",
	    .help =
		"The target is a directory, or a file name without its ending. Without it the files are\n"
		"named after the fingerprint and put into the current directory.",
	    .run = image_export,
	    .complete = "image" },
	{ .path = "image get-property",
	    .usage = "[<remote>:]<image> <key>",
	    .min_args = 2,
	    .max_args = 2,
	    .summary = "Print one property of an image",
	    .run = get_property,
	    .complete = "image" },
	{ .path = "image import",
	    .usage = "<tarball>|<directory>|<URL> [<rootfs tarball>] [<remote>:] [key=value...]",
	    .min_args = 1,
	    .max_args = -1,
	    .flags = import_flags,
	    .summary = "Make an image from files, a directory or a URL",
	    .help =
		"A directory holds metadata.yaml and rootfs/ as they are in an image; root must pack it.",
	    .examples = "incus image import busybox.tar.xz --alias busybox\n"
			"incus image import incus.tar.xz rootfs.squashfs",
	    .run = image_import },
	{ .path = "image info",
	    .usage = "[<remote>:]<image>",
	    .min_args = 1,
	    .max_args = 1,
	    .flags = vm_flags,
	    .summary = "Tell about an image",
	    .run = info,
	    .complete = "image" },
	{ .path = "image list",
	    .aliases = "ls",
	    .usage = "[<remote>:] [<filter>...]",
	    .max_args = -1,
	    .flags = list_flags,
	    .summary = "List images",
	    .help =
		"A filter is part of an alias or the start of a fingerprint, or a property and its value\n"
		"(os=Debian). What passes every filter is listed.\n"
		"\n"
		"Columns:\n"
		"  l - Shortest alias, and how many more there are\n"
		"  L - All aliases\n"
		"  f - Fingerprint (short)\n"
		"  F - Fingerprint\n"
		"  p - Whether it is public\n"
		"  d - Description\n"
		"  e - Project\n"
		"  a - Architecture\n"
		"  s - Size\n"
		"  u - When it was uploaded\n"
		"  t - Type",
	    .run = image_list,
	    .complete = "remote" },
	{ .path = "image refresh",
	    .usage = "[<remote>:]<image> [[<remote>:]<image>...]",
	    .min_args = 1,
	    .max_args = -1,
	    .summary = "Fetch newer versions of images",
	    .run = refresh,
	    .complete = "image" },
	{ .path = "image set-property",
	    .usage = "[<remote>:]<image> <key> <value>",
	    .min_args = 3,
	    .max_args = 3,
	    .summary = "Set a property of an image",
	    .run = set_property,
	    .complete = "image" },
	{ .path = "image show",
	    .usage = "[<remote>:]<image>",
	    .min_args = 1,
	    .max_args = 1,
	    .flags = vm_flags,
	    .summary = "Show an image",
	    .run = show,
	    .complete = "image" },
	{ .path = "image unset-property",
	    .usage = "[<remote>:]<image> <key>",
	    .min_args = 2,
	    .max_args = 2,
	    .summary = "Unset a property of an image",
	    .run = unset_property,
	    .complete = "image" },
	{ 0 },
};
