#include "server/image/push.h"
#include "sdk/base/fetch.h"
#include "sdk/base/names.h"
#include "sdk/base/x509.h"
#include "server/image/export.h"
#include "server/key/server.h"
#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

enum { REPLY_MAX = 1024 * 1024, BOUNDARY_BYTES = 16 };

/* The body is texts and files in a row. */
typedef struct Piece {
	const char *text; /* NULL: a file */
	int fd;
	uint64_t length;
} Piece;

typedef struct Push {
	Daemon *daemon;
	Operation *op;
	const Pb__ImageExportPost *post;
	Arena *arena;
	Piece pieces[5];
	unsigned n_pieces, piece; /* that is being sent */
	uint64_t at, sent, total;
	int64_t started_us;
	char *proxy, *no_proxy;
} Push;

static void add_piece(Push *push, const char *text, int fd, uint64_t length)
{
	push->pieces[push->n_pieces++] = (Piece){text, fd, length};
	push->total += length;
}

/* Gives the Content-Type. */
static char *lay_out(Push *push, const ImageFiles *files)
{
	if (files->n == 1) {
		add_piece(push, NULL, files->files[0].fd, files->files[0].size);
		return (char *)"application/octet-stream";
	}
	g_autofree char *boundary = random_hex(BOUNDARY_BYTES);
	for (unsigned i = 0; i < files->n; i++) {
		char *head = image_files_head(files, i, boundary, push->arena);
		add_piece(push, head, -1, strlen(head));
		add_piece(push, NULL, files->files[i].fd, files->files[i].size);
	}
	char *end = arena_printf(push->arena, "\r\n--%s--\r\n", boundary);
	add_piece(push, end, -1, strlen(end));
	return arena_printf(push->arena, "multipart/form-data; boundary=%s", boundary);
}

static ssize_t read_piece(const Push *push, void *bytes, size_t length)
{
	const Piece *piece = &push->pieces[push->piece];
	size_t n = MIN(length, piece->length - push->at);
	if (!piece->text)
		return pread(piece->fd, bytes, n, (off_t)push->at);
	memcpy(bytes, piece->text + push->at, n);
	return (ssize_t)n;
}

static ssize_t next_bytes(void *bytes, size_t length, void *data, Error **err)
{
	Push *push = data;
	while (push->piece < push->n_pieces && push->at == push->pieces[push->piece].length) {
		push->piece++;
		push->at = 0;
	}
	if (push->piece == push->n_pieces)
		return 0;
	ssize_t n = read_piece(push, bytes, length);
	if (n <= 0)
		return error_errno(
		    err, ERROR_INTERNAL, n < 0 ? errno : EIO, "Cannot read the image file");
	push->at += (uint64_t)n;
	push->sent += (uint64_t)n;
	operation_set_progress(
	    push->op, "upload", "rootfs", push->sent, push->total, push->started_us);
	return n;
}

static gboolean cancelled(void *data)
{
	const Push *push = data;
	return operation_cancelled(push->op) || g_atomic_int_get(&push->daemon->shutting_down);
}

static Fetch request_to(Push *push, const char *url)
{
	return (Fetch){.url = url,
	    .certificate = push->post->certificate,
	    .proxy = push->proxy,
	    .no_proxy = push->no_proxy,
	    .patient = TRUE,
	    .cancelled = cancelled,
	    .data = push};
}

/* The reply's "metadata"; to json_decref. */
static json_t *exchange(const Fetch *request, Error **err)
{
	g_autofree char *text = NULL;
	size_t length;
	if (fetch_text(request, REPLY_MAX, &text, &length, err) < 0)
		return NULL;
	json_t *reply = json_loadb(text, length, 0, NULL),
	       *metadata = json_object_get(reply, "metadata");
	if (json_is_object(metadata))
		json_incref(metadata);
	else
		error_set(err, ERROR_INVALID, "The target did not answer as an Incus server does");
	json_decref(reply);
	return json_is_object(metadata) ? metadata : NULL;
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text ? text : "";
}

static char *profiles_header(const Push *push)
{
	g_autoptr(GString) list = g_string_new("X-Incus-profiles: ");
	for (size_t i = 0; i < push->post->n_profiles; i++) {
		g_string_append(list, i ? "&profile=" : "profile=");
		g_string_append_uri_escaped(list, push->post->profiles[i], NULL, FALSE);
	}
	return arena_strdup(push->arena, list->str);
}

static json_t *upload(Push *push, const Pb__Image *image, const ImageFiles *files, Error **err)
{
	g_autofree char *project = g_uri_escape_string(push->post->project, NULL, FALSE);
	const char *url = arena_printf(push->arena, "%s/1.0/images%s%s", push->post->target,
	    *project ? "?project=" : "", project);
	const char *filename = name_check_line(image->filename, NULL) == 0 ? image->filename : "";
	const char *headers[] = {
	    arena_printf(push->arena, "Content-Type: %s", lay_out(push, files)),
	    arena_printf(push->arena, "X-Incus-secret: %s", push->post->secret),
	    arena_printf(push->arena, "X-Incus-fingerprint: %s", image->fingerprint),
	    arena_printf(push->arena, "X-Incus-filename: %s", filename),
	    push->post->n_profiles ? profiles_header(push) : NULL,
	    NULL,
	};
	Fetch request = request_to(push, url);
	request.headers = headers;
	request.source = next_bytes;
	request.upload = push->total;
	push->started_us = g_get_monotonic_time();
	return exchange(&request, err);
}

/* Waits for the import over there. */
static int wait_for(Push *push, const json_t *operation, Error **err)
{
	const char *id = text_of(operation, "id");
	g_autofree char *secret = g_uri_escape_string(
	    text_of(json_object_get(operation, "metadata"), "secret"), NULL, FALSE);
	if (name_check_uuid(id, NULL) < 0)
		return error_set(err, ERROR_INVALID, "\"%s\" did not answer with an operation",
		    push->post->target);
	const char *url = arena_printf(
	    push->arena, "%s/1.0/operations/%s/wait?secret=%s", push->post->target, id, secret);
	Fetch request = request_to(push, url);
	json_t *done = exchange(&request, err);
	if (!done)
		return -1;
	int result = json_integer_value(json_object_get(done, "status_code")) == 200
			 ? 0
			 : error_set(err, ERROR_UNAVAILABLE, "\"%s\": %s", push->post->target,
			       text_of(done, "err"));
	json_decref(done);
	return result;
}

static int check_post(const Pb__ImageExportPost *post, Error **err)
{
	if (name_check_url(post->target, err) < 0)
		return error_prefix(err, "Target server");
	if (!g_str_has_prefix(post->target, "https://"))
		return error_set(err, ERROR_INVALID,
		    "Images are only sent over https, not to \"%s\"", post->target);
	if (!*post->secret || name_check_line(post->secret, NULL) < 0)
		return error_set(
		    err, ERROR_INVALID, "The secret of the waiting operation is needed");
	return 0;
}

int image_push(
    Daemon *d, const Pb__Image *image, const Pb__ImageExportPost *post, Operation *op, Error **err)
{
	g_autoptr(Arena) arena = arena_new();
	g_autofree char *proxy = server_config_get(d->config, "core.proxy_https");
	g_autofree char *no_proxy = server_config_get(d->config, "core.proxy_ignore_hosts");
	Push push = {.daemon = d,
	    .op = op,
	    .post = post,
	    .arena = arena,
	    .proxy = proxy,
	    .no_proxy = no_proxy};
	ImageFiles files;
	if (check_post(post, err) < 0 || image_files_open(d, image, arena, &files, err) < 0)
		return -1;
	json_t *operation = upload(&push, image, &files, err);
	image_files_close(&files);
	int result = operation ? wait_for(&push, operation, err) : -1;
	json_decref(operation);
	return result < 0 ? error_prefix(err, "Cannot push image \"%.12s\"", image->fingerprint)
			  : 0;
}
