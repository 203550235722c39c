/*
 * Images at a plain URL: the headers Incus-Image-Hash and Incus-Image-URL of the reply to a HEAD
 * request say what the image is and where.
 */
#include "server/image/remote_private.h"
#include "sdk/base/names.h"
#include "server/sys/host.h"

typedef struct Answer {
	ImageRemote *remote;
	char *hash, *url;
} Answer;

static void read_header(const char *name, const char *value, void *data)
{
	Answer *answer = data;
	if (g_ascii_strcasecmp(name, "Incus-Image-Hash") == 0 && !answer->hash)
		answer->hash = arena_strdup(answer->remote->arena, value);
	else if (g_ascii_strcasecmp(name, "Incus-Image-URL") == 0 && !answer->url)
		answer->url = arena_strdup(answer->remote->arena, value);
}

static gboolean answer_cancelled(void *data)
{
	return remote_cancelled(((Answer *)data)->remote);
}

static int find(ImageRemote *remote, Arena *arena, Pb__Image **ret_image, Error **err)
{
	g_autofree char *names = g_strjoinv(", ", (char **)host_facts()->architectures);
	const char *headers[] = {arena_printf(arena, "Incus-Server-Architectures: %s", names),
	    "Incus-Server-Version: " INCUS_VERSION, NULL};
	Answer answer = {.remote = remote};
	Fetch request = remote_request(remote, remote->server);
	request.head = TRUE;
	request.headers = headers;
	request.header = read_header;
	request.cancelled = answer_cancelled;
	request.data = &answer;
	if (fetch_run(&request, err) < 0)
		return -1;
	if (!answer.hash || !answer.url)
		return error_set(err, ERROR_INVALID, "Missing %s header",
		    answer.hash ? "Incus-Image-URL" : "Incus-Image-Hash");
	if (name_check_url(answer.url, err) < 0 || !g_str_has_prefix(answer.url, "https://"))
		return error_set(err, ERROR_INVALID,
		    "\"%s\" points to an image that is not at an https address", remote->server);
	Pb__Image *image = arena_message(arena, Pb__Image, pb__image);
	image->fingerprint = answer.hash;
	image->filename = answer.url; /* for fetch(); the import keeps the last part */
	remote->origin.alias = answer.hash;
	*ret_image = image;
	return 0;
}

static int fetch(ImageRemote *remote, const Pb__Image *image, Error **err)
{
	Fetch request = remote_request(remote, image->filename);
	request.sink = remote_take;
	request.resume = TRUE;
	if (image_import_part(remote->import, "", image->filename, err) < 0)
		return -1;
	return fetch_run(&request, err);
}

const RemoteProtocol remote_direct = {"direct", 1, find, fetch};
