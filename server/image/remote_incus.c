/*
 * Images of other Incus servers, over their REST API: as nobody, for a public image, or with a
 * secret that the other side made for this one download.
 */
#include "server/image/remote_private.h"
#include "sdk/base/json.h"
#include "sdk/base/names.h"
#include "server/image/multipart.h"
#include <jansson.h>
#include <string.h>

enum { REPLY_MAX = 16 * 1024 * 1024 };

/* SERVER/1.0/images/PATH?project=...&secret=... */
static char *url_of(const ImageRemote *remote, const char *path, const char *secret)
{
	const char *project = remote->source->project;
	GString *url = g_string_new(remote->server);
	g_string_append_printf(url, "/1.0/images/%s", path);
	char separator = '?';
	if (*project) {
		g_string_append_printf(url, "%cproject=", separator);
		g_string_append_uri_escaped(url, project, NULL, FALSE);
		separator = '&';
	}
	if (*secret) {
		g_string_append_printf(url, "%csecret=", separator);
		g_string_append_uri_escaped(url, secret, NULL, FALSE);
	}
	return g_string_free(url, FALSE);
}

/* GETs an object into `message`. */
static int get_object(
    ImageRemote *remote, const char *url, void *message, Arena *arena, Error **err)
{
	g_autofree char *text = NULL;
	size_t length;
	Fetch request = remote_request(remote, url);
	if (fetch_text(&request, REPLY_MAX, &text, &length, err) < 0)
		return -1;
	json_t *reply = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
	json_t *object = json_object_get(reply, "metadata");
	int result = json_is_object(object)
			 ? json_read_tree(object, message, arena, err)
			 : error_set(err, ERROR_INVALID,
			       "\"%s\" did not answer as an Incus server does", remote->server);
	json_decref(reply);
	return result;
}

static int resolve_alias(ImageRemote *remote, Arena *arena, const char **ret_target, Error **err)
{
	const Pb__ImagesPostSource *source = remote->source;
	Pb__ImageAliasesEntry alias = PB__IMAGE_ALIASES_ENTRY__INIT;
	g_autofree char *name = g_uri_escape_string(source->alias, NULL, FALSE);
	g_autofree char *path = g_strconcat("aliases/", name, NULL);
	g_autofree char *url = url_of(remote, path, "");
	Error *missing = NULL;
	if (get_object(remote, url, &alias, arena, &missing) == 0) {
		if (name_check_fingerprint(alias.target, NULL) < 0)
			return error_set(err, ERROR_INVALID,
			    "\"%s\" has an alias that points nowhere", remote->server);
		*ret_target = alias.target;
		return 0;
	}
	/* The start of a fingerprint may stand where an alias is expected. */
	if (missing->kind != ERROR_NOT_FOUND || name_check_fingerprint(source->alias, NULL) < 0)
		return error_propagate(err, missing);
	error_free(missing);
	*ret_target = source->alias;
	return 0;
}

static int find(ImageRemote *remote, Arena *arena, Pb__Image **ret_image, Error **err)
{
	const Pb__ImagesPostSource *source = remote->source;
	const char *target = source->fingerprint;
	if (!*target && resolve_alias(remote, arena, &target, err) < 0)
		return -1;
	Pb__Image *image = arena_message(arena, Pb__Image, pb__image);
	g_autofree char *url = url_of(remote, target, source->secret);
	if (get_object(remote, url, image, arena, err) < 0)
		return -1;
	if (!g_str_has_prefix(image->fingerprint, target))
		return error_set(err, ERROR_INVALID,
		    "\"%s\" answered with another image than \"%s\"", remote->server, target);
	if (*source->image_type && strcmp(source->image_type, image->type) != 0)
		return error_set(err, ERROR_NOT_FOUND, "The image is a %s and not a %s",
		    image->type, source->image_type);
	*ret_image = image;
	return 0;
}

typedef struct Export {
	ImageRemote *remote;
	char *content_type;
	Multipart *multipart;
	gboolean begun;
	Fetch *request;
} Export;

static void read_header(const char *name, const char *value, void *data)
{
	Export *export = data;
	if (g_ascii_strcasecmp(name, "Content-Type") != 0)
		return;
	g_free(export->content_type);
	export->content_type = g_strdup(value);
}

static int part_begins(void *data, const char *name, const char *filename, Error **err)
{
	return image_import_part(((Export *)data)->remote->import, name, filename, err);
}

static int part_content(void *data, const void *bytes, size_t length, Error **err)
{
	return remote_take(bytes, length, ((Export *)data)->remote, err);
}

/* Before the first byte: headers say whether there are one or two files. */
static int begin(Export *export, Error **err)
{
	static const char multipart[] = "multipart/form-data";
	MultipartSink sink = {.part = part_begins, .content = part_content, .data = export};
	export->begun = TRUE;
	/* Its boundary is another one each time: there is no going on in the middle. */
	gboolean parts = export->content_type &&
	    g_ascii_strncasecmp(export->content_type, multipart, strlen(multipart)) == 0;
	export->request->resume = !parts;
	if (parts)
		return multipart_new(export->content_type, &sink, &export->multipart, err);
	return image_import_part(export->remote->import, "", NULL, err);
}

static int take(const void *bytes, size_t length, void *data, Error **err)
{
	Export *export = data;
	if (!export->begun && begin(export, err) < 0)
		return -1;
	return export->multipart ? multipart_feed(export->multipart, bytes, length, err)
				 : remote_take(bytes, length, export->remote, err);
}

static gboolean export_cancelled(void *data)
{
	return remote_cancelled(((Export *)data)->remote);
}

static int fetch(ImageRemote *remote, const Pb__Image *image, Error **err)
{
	g_autofree char *path = g_strconcat(image->fingerprint, "/export", NULL);
	g_autofree char *url = url_of(remote, path, remote->source->secret);
	Export export = {.remote = remote};
	Fetch request = remote_request(remote, url);
	request.sink = take;
	export.request = &request;
	request.header = read_header;
	request.cancelled = export_cancelled;
	request.data = &export;
	int result = fetch_run(&request, err);
	if (result == 0 && export.multipart)
		result = multipart_end(export.multipart, err);
	multipart_free(export.multipart);
	g_free(export.content_type);
	return result;
}

const RemoteProtocol remote_incus = {"incus", 0, find, fetch};
