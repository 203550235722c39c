#include "server/image/remote_private.h"
#include "sdk/base/names.h"
#include "server/key/server.h"
#include "server/project/project.h"
#include <string.h>

static const RemoteProtocol *const protocols[] = {&remote_incus, &remote_streams, &remote_direct};

const char *image_protocol_name(int number)
{
	for (size_t i = 0; i < G_N_ELEMENTS(protocols); i++)
		if (protocols[i]->number == number)
			return protocols[i]->name;
	return remote_incus.name;
}

static const RemoteProtocol *find_protocol(const char *name)
{
	for (size_t i = 0; i < G_N_ELEMENTS(protocols); i++)
		if (strcmp(protocols[i]->name, *name ? name : remote_incus.name) == 0)
			return protocols[i];
	return NULL;
}

int image_protocol_number(const char *name)
{
	const RemoteProtocol *protocol = find_protocol(name);
	return protocol ? protocol->number : remote_incus.number;
}

static gboolean is_url(const Pb__ImagesPostSource *source)
{
	return strcmp(source->type, "url") == 0;
}

static int check_address(const char *address, Error **err)
{
	if (name_check_url(address, err) < 0)
		return error_prefix(err, "Image server");
	if (!g_str_has_prefix(address, "https://"))
		return error_set(err, ERROR_INVALID,
		    "Images are only fetched over https, not from \"%s\"", address);
	return 0;
}

int image_remote_check(const Pb__ImagesPostSource *source, Error **err)
{
	const RemoteProtocol *protocol = find_protocol(source->protocol);
	if (is_url(source) || protocol == &remote_direct)
		return check_address(*source->url ? source->url : source->server, err);
	if (!protocol)
		return error_set(
		    err, ERROR_INVALID, "Unsupported image protocol \"%s\"", source->protocol);
	if (*source->image_type && strcmp(source->image_type, "container") != 0 &&
	    strcmp(source->image_type, "virtual-machine") != 0)
		return error_set(
		    err, ERROR_INVALID, "Invalid image type \"%s\"", source->image_type);
	if (!*source->alias && !*source->fingerprint)
		return error_set(err, ERROR_INVALID,
		    "Must specify one of alias or fingerprint for images of other servers");
	if (*source->fingerprint && name_check_fingerprint(source->fingerprint, err) < 0)
		return -1;
	if (*source->alias && name_check_line(source->alias, err) < 0)
		return error_prefix(err, "Image alias");
	return check_address(source->server, err);
}

static char *setting(Daemon *d, const char *key)
{
	return server_config_get(d->config, key);
}

static void fill_origin(ImageRemote *remote)
{
	const Pb__ImagesPostSource *source = remote->source;
	Pb__ImageSource *origin = &remote->origin;
	pb__image_source__init(origin);
	origin->server = remote->server;
	origin->protocol = (char *)remote->protocol->name;
	origin->certificate = source->certificate;
	origin->alias = *source->alias ? source->alias : source->fingerprint;
	origin->image_type = source->image_type;
}

int image_remote_open(Daemon *d, const char *project, const Pb__ImagesPostSource *source,
    const char *architecture, Operation *op, ImageRemote **ret_remote, Error **err)
{
	if (image_remote_check(source, err) < 0)
		return -1;
	ImageRemote *remote = g_new0(ImageRemote, 1);
	remote->daemon = d;
	remote->op = op;
	remote->arena = arena_new();
	remote->source = source = arena_message_copy(remote->arena, source);
	remote->protocol = is_url(source) ? &remote_direct : find_protocol(source->protocol);
	remote->server = g_strdup(
	    remote->protocol == &remote_direct && *source->url ? source->url : source->server);
	for (size_t n = strlen(remote->server);
	     remote->protocol != &remote_direct && n > 0 && remote->server[n - 1] == '/';)
		remote->server[--n] = '\0';
	remote->architecture = architecture && *architecture
				   ? g_strdup(architecture)
				   : project_setting(d, project, "images.default_architecture");
	remote->proxy = setting(d, "core.proxy_https");
	remote->no_proxy = setting(d, "core.proxy_ignore_hosts");
	fill_origin(remote);
	*ret_remote = remote;
	return 0;
}

void image_remote_free(ImageRemote *remote)
{
	if (!remote)
		return;
	streams_free(remote->streams);
	g_free(remote->server);
	g_free(remote->architecture);
	g_free(remote->proxy);
	g_free(remote->no_proxy);
	arena_free(remote->arena);
	g_free(remote);
}

const Pb__ImageSource *image_remote_source(const ImageRemote *remote)
{
	return &remote->origin;
}

gboolean remote_cancelled(void *data)
{
	const ImageRemote *remote = data;
	return (remote->op && operation_cancelled(remote->op)) ||
	       g_atomic_int_get(&remote->daemon->shutting_down);
}

Fetch remote_request(ImageRemote *remote, const char *url)
{
	return (Fetch){.url = url,
	    .certificate = remote->source->certificate,
	    .proxy = remote->proxy,
	    .no_proxy = remote->no_proxy,
	    .cancelled = remote_cancelled,
	    .data = remote};
}

int remote_take(const void *bytes, size_t length, void *data, Error **err)
{
	ImageRemote *remote = data;
	remote->done += length;
	if (remote->total && remote->done > remote->total)
		return error_set(err, ERROR_INVALID,
		    "The image is longer than the %" G_GUINT64_FORMAT " bytes that \"%s\" promises",
		    (guint64)remote->total, remote->server);
	if (image_import_write(remote->import, bytes, length, err) < 0)
		return -1;
	if (remote->op)
		operation_set_progress(remote->op, "download", "rootfs", remote->done,
		    remote->total, remote->started_us);
	return 0;
}

int image_remote_find(ImageRemote *remote, Arena *arena, Pb__Image **ret_image, Error **err)
{
	Pb__Image *image;
	if (remote->protocol->find(remote, arena, &image, err) < 0)
		return -1;
	if (strlen(image->fingerprint) != 64 ||
	    name_check_fingerprint(image->fingerprint, NULL) < 0 || image->size < 0)
		return error_set(err, ERROR_INVALID,
		    "\"%s\" describes image \"%s\" with a fingerprint or size that is none",
		    remote->server, remote->origin.alias);
	*ret_image = image;
	return 0;
}

int image_remote_fetch(
    ImageRemote *remote, const Pb__Image *image, ImageImport *import, Error **err)
{
	remote->import = import;
	remote->done = 0;
	remote->total = (uint64_t)image->size;
	remote->started_us = g_get_monotonic_time();
	int result = remote->protocol->fetch(remote, image, err);
	remote->import = NULL;
	return result < 0 ? error_prefix(err, "Cannot download image \"%.12s\"", image->fingerprint)
			  : 0;
}
