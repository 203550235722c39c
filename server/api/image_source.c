#include "server/api/image_source.h"
#include "server/event/event.h"
#include "server/image/alias.h"
#include "server/image/download.h"
#include "server/image/remote.h"
#include "server/image/secret.h"
#include "server/instance/publish.h"
#include "server/key/check.h"
#include "server/rpc/access.h"
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

/* ---- from an instance ---- */

typedef struct PublishTask {
	Arena *arena;
	Instance *instance;
	Config *properties;
	const Pb__ImagesPost *post;
	InstancePublish publish; /* strings in the arena */
} PublishTask;

static void publish_task_free(void *data)
{
	PublishTask *task = data;
	g_clear_pointer(&task->instance, instance_unref);
	g_clear_pointer(&task->properties, g_hash_table_unref);
	arena_free(task->arena);
	g_free(task);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(PublishTask, publish_task_free)

/* The packing notices by itself. */
static void publish_cancel(Operation *op, void *data)
{
}

static int run_publish(Operation *op, void *data, Error **err)
{
	PublishTask *task = data;
	Daemon *d = operation_daemon(op);
	const char *project = task->publish.project;
	Pb__Image *image;
	if (instance_publish(task->instance, &task->publish, op, task->arena, &image, err) < 0)
		return -1;
	g_autofree char *url = g_strdup_printf("/1.0/images/%s", image->fingerprint);
	event_lifecycle(d->events, project, "image-created", url, NULL, operation_caller(op));
	if (image_source_aliases(d, project, task->post, image->fingerprint, err) < 0) {
		image_delete(d, project, image->fingerprint, NULL);
		return -1;
	}
	image_source_report(op, image);
	return 0;
}

static void describe_publish(Request *rq, const Pb__ImagesPost *given, PublishTask *task)
{
	const Pb__ImagesPost *post = arena_message_copy(task->arena, given);
	const char *slash = strchr(post->source->name, '/');
	task->post = post;
	task->properties = config_from_map(post->n_properties, post->properties);
	task->publish = (InstancePublish){ .project = arena_strdup(task->arena, rq->project),
		.snapshot = slash ? slash + 1 : NULL,
		.compression = post->compression_algorithm,
		.filename = post->filename,
		.public = post->public_,
		.properties = task->properties,
		.profiles = arena_strv(task->arena, post->n_profiles, post->profiles),
		.expires_at = post->expires_at ? MAX(post->expires_at->seconds, 0) : 0 };
}

static int check_publish(Request *rq, const Pb__ImagesPost *post, Error **err)
{
	gboolean snapshot = strcmp(post->source->type, "snapshot") == 0;
	if (!*post->source->name)
		return error_set(err, ERROR_INVALID, "Missing source instance name");
	if (snapshot != (strchr(post->source->name, '/') != NULL))
		return error_set(err, ERROR_INVALID, "Invalid source \"%s\": must be %s",
		    post->source->name, snapshot ? "INSTANCE/SNAPSHOT" : "an instance");
	if (*post->compression_algorithm && check_compression(post->compression_algorithm, err) < 0)
		return -1;
	return check_aliases(rq, post, err);
}

static int create_from_instance(
    Request *rq, const Pb__ImagesPost *post, Pb__Operation *reply, Error **err)
{
	const char *project = *post->source->project ? post->source->project : rq->project;
	g_autofree char *name = g_strndup(post->source->name, strcspn(post->source->name, "/"));
	g_autoptr(PublishTask) task = g_new0(PublishTask, 1);
	task->arena = arena_new();
	if (check_publish(rq, post, err) < 0 ||
	    access_check_object(rq, "instance", "can_view", project, err) < 0 ||
	    instance_get(rq->daemon, project, name, &task->instance, err) < 0)
		return -1;
	describe_publish(rq, post, task);
	if (instance_publish_check(task->instance, &task->publish, err) < 0)
		return -1;
	OperationSpec spec = { .op_class = OPERATION_TASK,
		.description = "Publishing instance",
		.run = run_publish,
		.cancel = publish_cancel,
		.data = g_steal_pointer(&task),
		.destroy = publish_task_free };
	return operation_create(rq->daemon, rq, &spec, NULL, reply, err);
}

static const struct {
	const char *type;
	int (*create)(Request *rq, const Pb__ImagesPost *post, Pb__Operation *reply, Error **err);
} sources[] = {
	{ "image", create_from_image },       { "url", create_from_url },
	{ "instance", create_from_instance },  { "container", create_from_instance },
	{ "virtual-machine", create_from_instance }, { "snapshot", create_from_instance },
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
