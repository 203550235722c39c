/*
 * incus image copy: the target fetches the image (pull), the source sends it (push), or it goes
 * through this program (relay).
 */
#include "cli/copy_remote.h"
#include "cli/image_commands.h"
#include "cli/interrupt.h"
#include "cli/message.h"
#include "cli/progress.h"
#include "cli/sdk_error.h"
#include <glib/gstdio.h>
#include <incus/transfer.h>
#include <stdio.h>
#include <string.h>

typedef struct Copy {
	Cli *cli;
	const Remote *remote; /* of the source */
	const char *image;    /* as named there */
	incus_copy_mode mode;
	Server *from; /* NULL: a simple streams server */
	Server *to;
	/* Of a simple streams server: */
	json_t *data;	     /* the image as it is described there */
	json_t *aliases;     /* to make */
	const char *project; /* over there; "": the current one */
} Copy;

/* ---- what is common ---- */

static bool has_alias(const json_t *aliases, const char *name)
{
	size_t i;
	json_t *alias;
	json_array_foreach(aliases, i, alias)
		if (strcmp(json_get_text(alias, "name"), name) == 0)
			return true;
	return false;
}

static void collect_aliases(Copy *copy)
{
	unsigned n;
	const char *const *given = flag_list(copy->cli, "alias", &n);
	json_t *alias;
	size_t i;
	copy->aliases = server_keep(copy->cli, json_array());
	for (unsigned k = 0; k < n; k++)
		if (!has_alias(copy->aliases, given[k]))
			json_array_append_new(copy->aliases, json_pack("{s:s}", "name", given[k]));
	if (!flag_bool(copy->cli, "copy-aliases"))
		return;
	json_array_foreach(json_object_get(copy->data, "aliases"), i, alias)
		if (!has_alias(copy->aliases, json_get_text(alias, "name")))
			json_array_append(copy->aliases, alias);
}

static json_t *profiles_of(Cli *cli)
{
	unsigned n;
	const char *const *given = flag_list(cli, "profile", &n);
	json_t *names = json_array();
	for (unsigned i = 0; i < n; i++)
		json_array_append_new(names, json_string(given[i]));
	return names;
}

/* The ImagesPost for a source (taken). */
static json_t *post_of(const Copy *copy, json_t *source)
{
	return json_pack("{s:o, s:b, s:b, s:O, s:o}", "source", source, "public",
	    flag_bool(copy->cli, "public"), "auto_update", flag_bool(copy->cli, "auto-update"),
	    "aliases", copy->aliases, "profiles", profiles_of(copy->cli));
}

/* ---- modes ---- */

static int pull_from_image_server(Copy *copy, Error **err)
{
	json_t *source = image_remote_source(copy->cli, copy->remote, copy->image, err);
	if (!source)
		return -1;
	json_object_set(source, "image_type", json_object_get(copy->data, "type"));
	return image_create(
		   copy->to, post_of(copy, source), copy->project, "Copying the image", err)
		   ? 0
		   : -1;
}

static int show(uint64_t done, uint64_t total, void *data)
{
	progress_bytes(data, done, total);
	return interrupt_count();
}

static int between_servers(Copy *copy, Error **err)
{
	Progress progress;
	incus_error *problem = NULL;
	incus_image_copy options = {
		.mode = copy->mode,
		.project = *copy->project ? copy->project : NULL,
		.aliases = flag_list(copy->cli, "alias", NULL),
		.profiles = flag_list(copy->cli, "profile", NULL),
		.copy_aliases = flag_bool(copy->cli, "copy-aliases"),
		.is_public = flag_bool(copy->cli, "public"),
		.auto_update = flag_bool(copy->cli, "auto-update"),
		.transfer = { show, &progress },
		.progress = copy_show,
		.data = &progress,
	};
	progress_start(&progress, copy->cli->quiet ? NULL : "Copying the image");
	interrupt_begin();
	int result = incus_copy_image(
	    copy->from->client, copy->image, copy->to->client, &options, NULL, &problem);
	interrupt_end();
	progress_end(&progress);
	return result < 0 ? error_from_sdk(err, problem) : 0;
}

static json_t *relay_from_image_server(Copy *copy, Error **err)
{
	g_autoptr(GError) failure = NULL;
	g_autofree char *directory = g_dir_make_tmp("incus_image_XXXXXX", &failure);
	const char *image, *rootfs;
	json_t *done = NULL;
	if (!directory) {
		error_set(
		    err, ERROR_INTERNAL, "Cannot create a temporary folder: %s", failure->message);
		return NULL;
	}
	if (image_streams_download(copy->cli, copy->remote,
		json_get_text(copy->data, "fingerprint"), directory, &image, &rootfs, err) == 0) {
		done = image_upload(copy->to, image, rootfs,
		    json_object_get(copy->data, "properties"), copy->project, err);
		g_unlink(image);
		if (rootfs)
			g_unlink(rootfs);
	}
	g_rmdir(directory);
	return done;
}

static int relay_with_aliases(Copy *copy, Error **err)
{
	json_t *alias;
	size_t i;
	if (!relay_from_image_server(copy, err))
		return -1;
	json_array_foreach(copy->aliases, i, alias) {
		json_t *request =
		    json_pack("{s:{s:s, s:s, s:O}}", "alias", "name", json_get_text(alias, "name"),
			"description", json_get_text(alias, "description"), "target",
			json_object_get(copy->data, "fingerprint"));
		if (*copy->project)
			json_object_set_new(request, "project", json_string(copy->project));
		if (!server_call(copy->to, "CreateImageAlias", request, err))
			return -1;
	}
	return 0;
}

/* ---- the command ---- */

/* A simple streams server can only be asked for files. */
static int from_image_server(Copy *copy, Error **err)
{
	copy->data = image_streams_get(copy->cli, copy->remote, copy->image, err);
	if (!copy->data)
		return -1;
	if (copy->mode == INCUS_COPY_PUSH)
		return error_set(err, ERROR_INVALID,
		    "Remote \"%s\" cannot push images: use pull or relay", copy->remote->name);
	collect_aliases(copy);
	return copy->mode == INCUS_COPY_PULL ? pull_from_image_server(copy, err) :
					       relay_with_aliases(copy, err);
}

static int from_server(Copy *copy, Error **err)
{
	copy->from = server_get(copy->cli, copy->remote->name, err);
	return copy->from ? between_servers(copy, err) : -1;
}

int image_copy(Cli *cli, Error **err)
{
	Copy copy = {.cli = cli, .project = flag_string(cli, "target-project")};
	if (copy_mode(cli, &copy.mode, err) < 0)
		return -1;
	if (copy.mode != INCUS_COPY_PULL && flag_bool(cli, "auto-update"))
		return error_set(err, ERROR_INVALID, "Auto update is only available in pull mode");
	if (!(copy.to = server_of_argument(cli, 1, err)) ||
	    !(copy.remote = image_remote(cli, cli->args[0], &copy.image, err)))
		return -1;
	if (!*copy.image)
		return error_set(err, ERROR_INVALID, "Image identifier missing");
	bool streams = strcmp(copy.remote->protocol, "simplestreams") == 0;
	if ((streams ? from_image_server : from_server)(&copy, err) < 0)
		return -1;
	if (!cli->quiet)
		puts("Image copied successfully!");
	return 0;
}
