#include "sdk/base/json.h"
#include "sdk/base/json_text.h"
#include "sdk/base/map.h"
#include "sdk/base/names.h"
#include "sdk/base/x509.h"
#include "server/api/image_source.h"
#include "server/api/upload.h"
#include "server/daemon.h"
#include "server/event/event.h"
#include "server/image/import.h"
#include "server/image/multipart.h"
#include "server/image/secret.h"
#include "server/operation/operation.h"
#include "server/rpc/access.h"
#include "server/rpc/method.h"
#include "incus/v1/handlers.h"
#include <jansson.h>
#include <string.h>

enum { JSON_MAX = 1024 * 1024 };

/* Everything that outlives the request. */
typedef struct Upload {
	ImageImport *import;
	ImageImportOptions options;
	char *project, *filename, *fingerprint;
	Config *properties;
	char **profiles;
	Arena *arena;
	const Pb__ImagesPost *expected; /* what was said of a pushed image; NULL: it is no push */
	UploadTurn *turn;
	uint64_t bytes; /* so far, of all parts */
} Upload;

static void upload_free(void *data)
{
	Upload *upload = data;
	upload_end(upload->turn);
	image_import_free(upload->import);
	g_free(upload->project);
	g_free(upload->filename);
	g_free(upload->fingerprint);
	g_clear_pointer(&upload->properties, g_hash_table_unref);
	g_strfreev(upload->profiles);
	arena_free(upload->arena);
	g_free(upload);
}

/* "a=1&b=2", URL-encoded. Calls `add` for each. */
static int parse_query(const char *text,
    void (*add)(void *data, const char *key, const char *value), void *data, Error **err)
{
	g_auto(GStrv) pairs = g_strsplit(text, "&", -1);
	for (int i = 0; pairs[i]; i++) {
		if (!*pairs[i])
			continue;
		for (char *p = pairs[i]; *p; p++)
			*p = *p == '+' ? ' ' : *p;
		char *equals = strchr(pairs[i], '=');
		if (equals)
			*equals = '\0';
		g_autofree char *key = g_uri_unescape_string(pairs[i], NULL);
		g_autofree char *value = g_uri_unescape_string(equals ? equals + 1 : "", NULL);
		if (!key || !value || !g_utf8_validate(key, -1, NULL) ||
		    !g_utf8_validate(value, -1, NULL))
			return error_set(err, ERROR_INVALID, "Malformed URL-encoded image header");
		add(data, key, value);
	}
	return 0;
}

static void add_property(void *config, const char *key, const char *value)
{
	config_set(config, key, value);
}

static void add_profile(void *list, const char *key, const char *value)
{
	if (strcmp(key, "profile") == 0 && *value)
		g_ptr_array_add(list, g_strdup(value));
}

/* An announced image is as it was announced; only the profiles may come with the upload. */
static void expect(Upload *upload)
{
	const Pb__ImagesPost *post = upload->expected;
	g_free(upload->fingerprint);
	upload->fingerprint = g_strdup(post->source->fingerprint);
	g_hash_table_unref(upload->properties);
	upload->properties = config_from_map(post->n_properties, post->properties);
	if (!*upload->profiles && post->n_profiles) {
		g_strfreev(upload->profiles);
		upload->profiles = g_new0(char *, post->n_profiles + 1);
		for (size_t i = 0; i < post->n_profiles; i++)
			upload->profiles[i] = g_strdup(post->profiles[i]);
	}
}

static int read_options(Request *rq, const Pb__CreateImageRequest *in, Upload *upload, Error **err)
{
	upload->properties = config_new();
	upload->project = g_strdup(rq->project);
	upload->filename = g_strdup(in->filename);
	upload->fingerprint = g_strdup(in->fingerprint);
	if (*in->fingerprint && name_check_fingerprint(in->fingerprint, err) < 0)
		return -1;
	g_autoptr(GPtrArray) profiles = g_ptr_array_new_with_free_func(g_free);
	if (parse_query(in->properties, add_property, upload->properties, err) < 0 ||
	    parse_query(in->profiles, add_profile, profiles, err) < 0)
		return -1;
	g_ptr_array_add(profiles, NULL);
	upload->profiles = (char **)g_ptr_array_steal(profiles, NULL);
	const Pb__ImagesPost *post = upload->expected;
	if (post)
		expect(upload);
	gboolean public = strcmp(in->public_, "1") == 0 ||
	    g_ascii_strcasecmp(in->public_, "true") == 0;
	upload->options = (ImageImportOptions){
		.project = upload->project,
		.filename = upload->filename,
		.fingerprint = upload->fingerprint,
		.public = post ? post->public_ : public,
		.expires_at = post && post->expires_at ? MAX(post->expires_at->seconds, 0) : 0,
		.properties = upload->properties,
		.profiles = upload->profiles,
	};
	return 0;
}

static int run_import(Operation *op, void *data, Error **err)
{
	Upload *upload = data;
	Daemon *d = operation_daemon(op);
	g_autoptr(Arena) arena = arena_new();
	Pb__Image *image;
	int r = image_import_finish(upload->import, &upload->options, arena, &image, err);
	/* Not with the operation, which stays visible for a while. */
	g_clear_pointer(&upload->import, image_import_free);
	if (r < 0)
		return -1;
	image_source_report(op, image);
	g_autofree char *source = g_strdup_printf("/1.0/images/%s", image->fingerprint);
	event_lifecycle(
	    d->events, upload->project, "image-created", source, NULL, operation_caller(op));
	return upload->expected ?
	    image_source_aliases(d, upload->project, upload->expected, image->fingerprint, err) :
	    0;
}

static int start_operation(Request *rq, Upload *upload, Stream *stream, Error **err)
{
	Pb__Operation reply = PB__OPERATION__INIT;
	OperationSpec spec = { .op_class = OPERATION_TASK,
		.description = "Downloading image",
		.run = run_import,
		.data = upload,
		.destroy = upload_free };
	/* Who pushes is a stranger here, who waits for the end with this. */
	g_autofree char *secret = upload->expected ? random_hex(32) : NULL;
	g_autofree char *metadata = secret ? json_text_object("secret", secret, NULL) : NULL;
	spec.metadata_json = metadata;
	UploadTurn *turn = g_steal_pointer(&upload->turn);
	if (operation_create(rq->daemon, rq, &spec, NULL, &reply, err) < 0) {
		upload_end(turn);
		return -1;
	}
	upload_done(turn, reply.id);
	return stream_send(stream, &reply, err);
}

static int part_begins(void *import, const char *name, const char *filename, Error **err)
{
	return image_import_part(import, name, filename, err);
}

static int part_content(void *import, const void *bytes, size_t length, Error **err)
{
	return image_import_write(import, bytes, length, err);
}

/* One message of the upload: gRPC clients name the parts, REST clients send a body. */
static int take(
    Upload *upload, Multipart *multipart, const Pb__CreateImageRequest *message, Error **err)
{
	if (multipart)
		return multipart_feed(multipart, message->data.data, message->data.len, err);
	if (*message->part &&
	    image_import_part(upload->import, message->part, message->part_filename, err) < 0)
		return -1;
	upload->bytes += message->data.len;
	return message->data.len ?
	    image_import_write(upload->import, message->data.data, message->data.len, err) :
	    0;
}

static void free_import(void *import)
{
	image_import_free(import);
}

static int receive(const Pb__CreateImageRequest *first, Upload *upload, Multipart *multipart,
    Stream *stream, Error **err)
{
	const void *next = first;
	int more = 1;
	Error *error = NULL;
	gboolean named = multipart || *first->part || upload->bytes;
	if (!named && image_import_part(upload->import, "", first->filename, err) < 0)
		return -1;
	while (more > 0) {
		if (take(upload, multipart, next, err) < 0)
			return -1;
		more = stream_recv(stream, -1, &next, &error);
	}
	if (more < 0) {
		if (error->kind == ERROR_CANCELLED && upload->turn)
			upload_keep(g_steal_pointer(&upload->turn),
			    g_steal_pointer(&upload->import), free_import, upload->bytes);
		return error_propagate(err, error);
	}
	return multipart ? multipart_end(multipart, err) : 0;
}

static gboolean is_multipart(const Pb__CreateImageRequest *in)
{
	return g_ascii_strncasecmp(
		   in->content_type, "multipart/form-data", strlen("multipart/form-data")) == 0;
}

/* A new one, or one that goes on after a cut. */
static int begin_import(
    Request *rq, const Pb__CreateImageRequest *in, Upload *upload, Stream *stream, Error **err)
{
	const char *id = *in->secret || is_multipart(in) ? "" : in->upload;
	if (upload_begin(rq, id, in->offset, stream, &upload->turn, err) < 0)
		return -1;
	upload->import = upload_take(upload->turn);
	if (upload->import)
		upload->bytes = in->offset;
	else if (image_import_new(rq->daemon, &upload->import, err) < 0)
		return -1;
	return image_import_limit(upload->import, rq->project, err);
}

static int create_from_upload(Request *rq, const Pb__CreateImageRequest *in,
    const Pb__CreateImageRequest *first, Stream *stream, Error **err)
{
	g_autoptr(Multipart) multipart = NULL;
	Upload *upload = g_new0(Upload, 1);
	upload->arena = arena_new();
	Pb__ImagesPost *expected = NULL;
	int r = *in->secret ? image_secret_accept(rq->daemon, rq->project, in->fingerprint,
				  in->secret, upload->arena, &expected, err) :
			      0;
	upload->expected = expected;
	if (r == 0)
		r = read_options(rq, in, upload, err);
	if (r == 0)
		r = begin_import(rq, in, upload, stream, err);
	if (r == 0 && is_multipart(in)) {
		MultipartSink sink = {
			.part = part_begins, .content = part_content, .data = upload->import
		};
		r = multipart_new(in->content_type, &sink, &multipart, err);
	}
	if (r == 0)
		r = receive(first, upload, multipart, stream, err);
	if (r == 0)
		return start_operation(
		    rq, upload, stream, err); /* takes the upload, whatever comes */
	upload_free(upload);
	return -1;
}

/* A REST body that says where the image comes from. */
static int create_from_json(
    Request *rq, const Pb__CreateImageRequest *first, Stream *stream, Error **err)
{
	g_autoptr(GByteArray) body = g_byte_array_new();
	const void *next = first;
	int more = 1;
	while (more > 0) {
		const Pb__CreateImageRequest *message = next;
		if (body->len + message->data.len > JSON_MAX)
			return error_set(err, ERROR_TOO_LARGE, "The request is too large");
		if (message->data.len)
			g_byte_array_append(body, message->data.data, (guint)message->data.len);
		more = stream_recv(stream, -1, &next, err);
	}
	if (more < 0)
		return -1;
	json_error_t problem;
	json_t *document = json_loadb(
	    (const char *)body->data, body->len, JSON_REJECT_DUPLICATES, &problem);
	if (!document)
		return error_set(err, ERROR_INVALID, "Invalid images JSON: %s", problem.text);
	Pb__ImagesPost *post = arena_message(rq->arena, Pb__ImagesPost, pb__images_post);
	int r = json_read_tree(document, post, rq->arena, err);
	json_decref(document);
	return r < 0 ? -1 : image_source_create(rq, post, stream, err);
}

/* Clients of Incus send JSON without saying so, and files as application/octet-stream. */
static gboolean is_json(const Pb__CreateImageRequest *in, const Pb__CreateImageRequest *first)
{
	const char *type = in->content_type;
	if (g_str_has_prefix(type, "application/octet-stream") ||
	    g_ascii_strncasecmp(type, "multipart/", 10) == 0)
		return FALSE;
	return g_str_has_prefix(type, "application/json") ||
	    (first->data.len > 0 && first->data.data[0] == '{');
}

int api_create_image(Request *rq, const Pb__CreateImageRequest *in, Stream *stream, Error **err)
{
	gboolean trusted = access_check_object(
			       rq, "project", "can_create_images", rq->project, NULL) == 0;
	if (!trusted && !*in->secret)
		return error_set(err, ERROR_FORBIDDEN, "not authorized");
	if (trusted && in->image)
		return image_source_create(rq, in->image, stream, err);
	/* Bytes that came with the first message are received again (stream.h); REST gives the
	 * headers first, without bytes. */
	static const Pb__CreateImageRequest nothing = PB__CREATE_IMAGE_REQUEST__INIT;
	const void *first = in;
	if (in->data.len > 0 || !*in->part) {
		int more = stream_recv(stream, -1, &first, err);
		if (more < 0)
			return -1;
		if (more == 0 && in->offset) /* the cut came after the last bytes */
			first = &nothing;
		else if (more == 0)
			return error_set(err, ERROR_INVALID, "Invalid image: it is empty");
	}
	if (trusted && !*in->secret && rq->rest && is_json(in, first))
		return create_from_json(rq, first, stream, err);
	return create_from_upload(rq, in, first, stream, err);
}
