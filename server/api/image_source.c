#include "server/api/image_source.h"
#include "server/image/alias.h"
#include "server/image/download.h"
#include "server/image/remote.h"
#include "server/image/secret.h"
#include <string.h>

/* Everything that outlives the request. */
typedef struct FetchTask {
	Arena *arena;
	char *project;
	const Pb__ImagesPost *post;
} FetchTask;

static void task_free(void *data)
{
	FetchTask *task = data;
	arena_free(task->arena);
	g_free(task);
}

void image_source_report(Operation *op, const Pb__Image *image)
{
	g_autofree char *fingerprint = g_strdup_printf("\"%s\"", image->fingerprint);
	g_autofree char *size = g_strdup_printf("\"%" G_GINT64_FORMAT "\"", (gint64)image->size);
	operation_set_metadata(op, "fingerprint", fingerprint);
	operation_set_metadata(op, "size", size);
}

int image_source_aliases(Daemon *d, const char *project, const Pb__ImagesPost *post,
    const char *fingerprint, Error **err)
{
	for (size_t i = 0; i < post->n_aliases; i++)
		if (image_alias_create(d, project, post->aliases[i]->name, fingerprint,
			post->aliases[i]->description, err) < 0)
			return -1;
	return 0;
}

/* Before anything is downloaded: is a name taken? */
static int check_aliases(Request *rq, const Pb__ImagesPost *post, Error **err)
{
	for (size_t i = 0; i < post->n_aliases; i++) {
		Pb__ImageAliasesEntry *taken;
		g_autoptr(Error) missing = NULL;
		if (image_alias_get(rq->daemon, rq->project, post->aliases[i]->name, NULL, FALSE,
			rq->arena, &taken, &missing) == 0)
			return error_set(
			    err, ERROR_EXISTS, "Alias \"%s\" already exists", taken->name);
		if (missing->kind != ERROR_NOT_FOUND)
			return error_propagate(err, g_steal_pointer(&missing));
	}
	return 0;
}

static int run_fetch(Operation *op, void *data, Error **err)
{
	FetchTask *task = data;
	Daemon *d = operation_daemon(op);
	const Pb__ImagesPost *post = task->post;
	g_autoptr(Config) properties = config_from_map(post->n_properties, post->properties);
	ImageDownload download = {.project = task->project,
	    .source = post->source,
	    .public = post->public_,
	    .auto_update = post->auto_update,
	    .filename = post->filename,
	    .properties = properties,
	    .profiles = arena_strv(task->arena, post->n_profiles, post->profiles),
	    .expires_at = post->expires_at ? MAX(post->expires_at->seconds, 0) : 0};
	Pb__Image *image;
	if (image_download(d, &download, op, task->arena, &image, err) < 0 ||
	    image_source_aliases(d, task->project, post, image->fingerprint, err) < 0)
		return -1;
	image_source_report(op, image);
	return 0;
}

static int start_fetch(Request *rq, const Pb__ImagesPost *post, Pb__Operation *reply, Error **err)
{
	if (image_remote_check(post->source, err) < 0 || check_aliases(rq, post, err) < 0)
		return -1;
	FetchTask *task = g_new0(FetchTask, 1);
	task->arena = arena_new();
	task->project = arena_strdup(task->arena, rq->project);
	task->post = arena_message_copy(task->arena, post);
	OperationSpec spec = {.op_class = OPERATION_TASK,
	    .description = "Downloading image",
	    .run = run_fetch,
	    .cancel = image_download_cancel,
	    .data = task,
	    .destroy = task_free};
	return operation_create(rq->daemon, rq, &spec, NULL, reply, err);
}

static int create_from_image(
    Request *rq, const Pb__ImagesPost *post, Pb__Operation *reply, Error **err)
{
	const char *mode = post->source->mode;
	if (strcmp(mode, "push") == 0)
		return check_aliases(rq, post, err) < 0 ? -1
							: image_secret_expect(rq, post, reply, err);
	if (*mode && strcmp(mode, "pull") != 0)
		return error_set(err, ERROR_INVALID, "Invalid image transfer mode \"%s\"", mode);
	return start_fetch(rq, post, reply, err);
}

static int create_from_url(
    Request *rq, const Pb__ImagesPost *post, Pb__Operation *reply, Error **err)
{
	if (!*post->source->url)
		return error_set(err, ERROR_INVALID, "Missing URL");
	return start_fetch(rq, post, reply, err);
}

static int refuse_instance(
    Request *rq, const Pb__ImagesPost *post, Pb__Operation *reply, Error **err)
{
	return error_set(err, ERROR_UNSUPPORTED,
	    "Image source \"%s\" is not supported by this server", post->source->type);
}

static const struct {
	const char *type;
	int (*create)(Request *rq, const Pb__ImagesPost *post, Pb__Operation *reply, Error **err);
} sources[] = {
    {"image", create_from_image},
    {"url", create_from_url},
    {"instance", refuse_instance},
    {"container", refuse_instance},
    {"virtual-machine", refuse_instance},
    {"snapshot", refuse_instance},
};

int image_source_create(Request *rq, const Pb__ImagesPost *post, Stream *stream, Error **err)
{
	Pb__Operation reply = PB__OPERATION__INIT;
	/* Clients of Incus that announce a push say no type. */
	const char *type = !post->source				 ? NULL
			   : *post->source->type || !*post->source->mode ? post->source->type
									 : "image";
	for (size_t i = 0; type && i < G_N_ELEMENTS(sources); i++)
		if (strcmp(sources[i].type, type) == 0)
			return sources[i].create(rq, post, &reply, err) < 0
				   ? -1
				   : stream_send(stream, &reply, err);
	return error_set(err, ERROR_INVALID, "Invalid images JSON");
}
