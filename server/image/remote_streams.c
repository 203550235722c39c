/* Images of simple streams servers. */
#include "server/image/remote_private.h"

static int find(ImageRemote *remote, Arena *arena, Pb__Image **ret_image, Error **err)
{
	const Pb__ImagesPostSource *source = remote->source;
	const char *wanted = *source->fingerprint ? source->fingerprint : source->alias;
	const Pb__Image *image = NULL;
	Fetch server = remote_request(remote, remote->server);
	Error *missing = NULL;
	if (!remote->streams && streams_open(&server, &remote->streams, err) < 0)
		return -1;
	if (*source->fingerprint || streams_alias(remote->streams, wanted, remote->architecture,
					source->image_type, &image, &missing) < 0) {
		if (missing && missing->kind != ERROR_NOT_FOUND)
			return error_propagate(err, missing);
		error_free(missing);
		if (streams_image(remote->streams, wanted, &image, err) < 0)
			return -1;
	}
	*ret_image = (Pb__Image *)image;
	return 0;
}

static int fetch(ImageRemote *remote, const Pb__Image *image, Error **err)
{
	StreamsFile metadata, rootfs;
	if (streams_files(remote->streams, image->fingerprint, &metadata, &rootfs, err) < 0)
		return -1;
	gboolean machine = g_str_equal(image->type, "virtual-machine");
	if (image_import_part(remote->import, rootfs.path ? "metadata" : "", metadata.path, err) <
		0 ||
	    streams_download(remote->streams, &metadata, remote_take, remote, err) < 0)
		return -1;
	if (!rootfs.path)
		return 0;
	if (image_import_part(remote->import, machine ? "rootfs.img" : "rootfs", rootfs.path, err) <
	    0)
		return -1;
	return streams_download(remote->streams, &rootfs, remote_take, remote, err);
}

const RemoteProtocol remote_streams = {"simplestreams", 2, find, fetch};
