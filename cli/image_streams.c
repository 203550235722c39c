/*
 * Images of simple streams servers, which are read by this program itself.
 */
#include "cli/image_commands.h"
#include "cli/message.h"
#include "cli/sdk_error.h"
#include <incus/simplestreams.h>
#include "cli/progress.h"
#include "sdk/base/own.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>

const Remote *image_streams_remote(Cli *cli, const char *argument, const char **ret_image)
{
	const char *name;
	if (!conf_get(cli, NULL) || cli->force_local)
		return NULL;
	target_split(cli, argument, &name, ret_image);
	const Remote *remote = conf_remote(
	    cli->conf, *name ? name : conf_default_remote(cli->conf));
	return remote && strcmp(remote->protocol, "simplestreams") == 0 ? remote : NULL;
}

/* Read once a run, freed with it. */
static incus_streams *open_streams(Cli *cli, const Remote *remote, Error **err)
{
	incus_streams *streams = NULL;
	incus_error *problem = NULL;
	g_autofree char *pem = image_pinned_certificate(cli->conf, remote);
	if (incus_streams_open_pinned(remote->addr, pem, &streams, &problem) < 0) {
		error_from_sdk(err, problem);
		return NULL;
	}
	arena_defer(cli->arena, (GDestroyNotify)incus_streams_free, streams);
	return streams;
}

json_t *image_streams_list(Cli *cli, const Remote *remote, Error **err)
{
	Pb__Image *const *images;
	incus_error *problem = NULL;
	size_t n;
	incus_streams *streams = open_streams(cli, remote, err);
	if (!streams)
		return NULL;
	if (incus_streams_images(streams, &images, &n, &problem) < 0) {
		error_from_sdk(err, problem);
		return NULL;
	}
	json_t *list = server_keep(cli, json_array());
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, message_to_json(&images[i]->base, true));
	return list;
}

json_t *image_streams_get(Cli *cli, const Remote *remote, const char *name, Error **err)
{
	const Pb__Image *image;
	incus_error *problem = NULL;
	const char *type = flag_find(cli->command, "vm", 2) && flag_bool(cli, "vm") ?
	    "virtual-machine" :
	    NULL;
	incus_streams *streams = open_streams(cli, remote, err);
	if (!streams)
		return NULL;
	if (incus_streams_alias(streams, name, NULL, type, &image, NULL) < 0 &&
	    incus_streams_image(streams, name, &image, &problem) < 0) {
		error_from_sdk(err, problem);
		return NULL;
	}
	return server_keep(cli, message_to_json(&image->base, true));
}

static int show_progress(uint64_t done, uint64_t total, void *progress)
{
	progress_bytes(progress, done, total);
	return 0;
}

static int download(Cli *cli, incus_streams *streams, const incus_streams_file *file,
    const char *directory, const char **ret_path, Error **err)
{
	g_autofree char *name = g_path_get_basename(file->path);
	incus_error *problem = NULL;
	Progress progress;
	*ret_path = arena_printf(cli->arena, "%s/%s", directory, name);
	autofd int fd = open(*ret_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot create \"%s\"", *ret_path);
	progress_start(&progress, cli->quiet ? NULL : "Downloading the image");
	int result = incus_streams_download(streams, file, fd, show_progress, &progress, &problem);
	progress_end(&progress);
	if (result == 0)
		return 0;
	unlink(*ret_path);
	return error_from_sdk(err, problem);
}

int image_streams_download(Cli *cli, const Remote *remote, const char *fingerprint,
    const char *directory, const char **ret_image, const char **ret_rootfs, Error **err)
{
	incus_streams_file image, rootfs;
	incus_error *problem = NULL;
	incus_streams *streams = open_streams(cli, remote, err);
	if (!streams)
		return -1;
	if (incus_streams_files(streams, fingerprint, &image, &rootfs, &problem) < 0)
		return error_from_sdk(err, problem);
	*ret_rootfs = NULL;
	if (download(cli, streams, &image, directory, ret_image, err) < 0)
		return -1;
	if (!rootfs.path || download(cli, streams, &rootfs, directory, ret_rootfs, err) == 0)
		return 0;
	unlink(*ret_image);
	return -1;
}
