/*
 * Images of simple streams servers, which are read by this program itself.
 */
#include "cli/image_commands.h"
#include "cli/message.h"
#include "cli/sdk_error.h"
#include <incus/simplestreams.h>
#include <string.h>

const Remote *image_streams_remote(Cli *cli, const char *argument, const char **ret_image)
{
	const char *name;
	if (!conf_get(cli, NULL) || cli->force_local)
		return NULL;
	target_split(cli, argument, &name, ret_image);
	const Remote *remote = conf_remote(cli->conf, *name ? name : conf_default_remote(cli->conf));
	return remote && strcmp(remote->protocol, "simplestreams") == 0 ? remote : NULL;
}

/* Read once a run, freed with it. */
static incus_streams *open_streams(Cli *cli, const Remote *remote, Error **err)
{
	incus_streams *streams = NULL;
	incus_error *problem = NULL;
	if (incus_streams_open(remote->addr, &streams, &problem) < 0) {
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
	const char *type = flag_bool(cli, "vm") ? "virtual-machine" : NULL;
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
