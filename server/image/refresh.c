#include "server/image/refresh.h"
#include "server/event/event.h"
#include "server/image/alias.h"
#include "server/image/download.h"
#include "server/storage/pool.h"
#include <string.h>

/* Aliases first: from then on the old image is not found any more. */
static int take_over(Daemon *d, const char *project, const Pb__Image *old, const Pb__Image *image,
    Operation *op, Error **err)
{
	for (size_t i = 0; i < old->n_aliases; i++)
		if (image_alias_update(d, project, old->aliases[i]->name, image->fingerprint,
			old->aliases[i]->description, err) < 0)
			return -1;
	if (old->last_used_at && image_set_last_used(d, project, image->fingerprint,
				     old->last_used_at->seconds, err) < 0)
		return -1;
	pool_image_follow(d, old->fingerprint, image->fingerprint, op);
	return image_delete(d, project, old->fingerprint, err);
}

int image_refresh(Daemon *d, const char *project, const Pb__Image *image, Operation *op,
    gboolean *ret_refreshed, Error **err)
{
	g_autoptr(Arena) arena = arena_new();
	const Pb__ImageSource *origin = image->update_source;
	Pb__Image *newer;
	*ret_refreshed = FALSE;
	if (!origin)
		return error_set(err, ERROR_INVALID,
		    "Image \"%.12s\" has no source to refresh it from", image->fingerprint);
	gboolean direct = strcmp(origin->protocol, "direct") == 0;
	Pb__ImagesPostSource source = PB__IMAGES_POST_SOURCE__INIT;
	source.type = (char *)(direct ? "url" : "image");
	source.server = source.url = origin->server;
	source.protocol = origin->protocol;
	source.certificate = origin->certificate;
	source.alias = origin->alias;
	source.image_type = image->type;
	ImageDownload download = {.project = project,
	    .source = &source,
	    .architecture = image->architecture,
	    .known = image->fingerprint,
	    .public = image->public_,
	    .auto_update = image->auto_update,
	    .cached = image->cached,
	    .profiles = arena_strv(arena, image->n_profiles, image->profiles)};
	if (image_download(d, &download, op, arena, &newer, err) < 0)
		return -1;
	if (!newer)
		return 0;
	if (take_over(d, project, image, newer, op, err) < 0)
		return error_prefix(err, "Cannot replace image \"%.12s\"", image->fingerprint);
	g_autofree char *url = g_strdup_printf("/1.0/images/%s", newer->fingerprint);
	event_lifecycle(
	    d->events, project, "image-refreshed", url, NULL, op ? operation_caller(op) : NULL);
	*ret_refreshed = TRUE;
	return 0;
}
