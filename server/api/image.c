#include "sdk/base/filter.h"
#include "sdk/base/json_text.h"
#include "sdk/base/map.h"
#include "server/daemon.h"
#include "server/event/event.h"
#include "server/image/alias.h"
#include "server/image/download.h"
#include "server/image/export.h"
#include "server/image/image.h"
#include "server/image/push.h"
#include "server/image/refresh.h"
#include "server/image/secret.h"
#include "server/operation/operation.h"
#include "server/rpc/method.h"
#include "incus/v1/handlers.h"
#include <string.h>

/* Methods for "public" callers: those who may not work in the project see what is public there. */
static gboolean trusted(const Request *rq)
{
	return rq->caller->kind != CALLER_UNTRUSTED && !rq->caller->metrics_only &&
	    caller_has_project(rq->caller, rq->project);
}

static void image_event(Daemon *d, const Caller *caller, const char *project, const char *action,
    const char *fingerprint)
{
	g_autofree char *source = g_strdup_printf("/1.0/images/%s", fingerprint);
	event_lifecycle(d->events, project, action, source, NULL, caller);
}

int api_get_images(
    Request *rq, const Pb__GetImagesRequest *in, Pb__GetImagesResponse *out, Error **err)
{
	g_autoptr(Filter) filter = NULL;
	if (filter_parse(in->filter, &filter, err) < 0)
		return -1;
	gboolean all = in->all_projects && rq->caller->kind != CALLER_UNTRUSTED;
	ImageQuery query = { .project = all ? NULL : rq->project,
		.public_only = !all && !trusted(rq) };
	size_t n, kept = 0;
	Pb__Image **images;
	if (image_list(rq->daemon, &query, rq->arena, &n, &images, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		if ((!all || caller_has_project(rq->caller, images[i]->project)) &&
		    filter_match(filter, images[i]))
			images[kept++] = images[i];
	out->n_items = kept;
	out->items = images;
	return 0;
}

/* The image, for callers who may see it, be it by a secret. */
static int visible_image(
    Request *rq, const char *fingerprint, const char *secret, Pb__Image **ret, Error **err)
{
	gboolean by_secret = secret && *secret;
	if (image_get(rq->daemon, rq->project, fingerprint, !trusted(rq) && !by_secret, rq->arena,
		ret, err) < 0)
		return -1;
	if (trusted(rq) || (*ret)->public_ ||
	    image_secret_check(rq->daemon, rq->project, (*ret)->fingerprint, secret))
		return 0;
	return error_set(err, ERROR_NOT_FOUND, "Image not found");
}

int api_get_image(Request *rq, const Pb__GetImageRequest *in, Pb__Image *out, Error **err)
{
	Pb__Image *image;
	if (visible_image(rq, in->fingerprint, in->secret, &image, err) < 0)
		return -1;
	*out = *image;
	return 0;
}

static int image_to_change(Request *rq, const char *fingerprint, Pb__Image **ret, Error **err)
{
	if (image_get(rq->daemon, rq->project, fingerprint, FALSE, rq->arena, ret, err) < 0)
		return -1;
	return request_check_etag(rq, *ret, err);
}

int api_update_image(
    Request *rq, const Pb__UpdateImageRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	Pb__Image *image;
	if (!in->image)
		return error_set(err, ERROR_INVALID, "No image given");
	if (image_to_change(rq, in->fingerprint, &image, err) < 0 ||
	    image_update(rq->daemon, rq->project, image->fingerprint, in->image, err) < 0)
		return -1;
	image_event(rq->daemon, rq->caller, rq->project, "image-updated", image->fingerprint);
	return 0;
}

static void merge_put(
    Request *rq, const Pb__Image *image, const Pb__PatchImageRequest *in, Pb__ImagePut *put)
{
	g_autoptr(Config) properties = config_from_map(image->n_properties, image->properties);
	put->public_ = image->public_;
	put->auto_update = image->auto_update;
	put->expires_at = image->expires_at;
	put->n_profiles = image->n_profiles;
	put->profiles = image->profiles;
	for (size_t i = 0; i < in->n_update_mask; i++) {
		const char *field = in->update_mask[i];
		if (strcmp(field, "public") == 0)
			put->public_ = in->image->public_;
		else if (strcmp(field, "auto_update") == 0)
			put->auto_update = in->image->auto_update;
		else if (strcmp(field, "expires_at") == 0)
			put->expires_at = in->image->expires_at;
		else if (strcmp(field, "profiles") == 0) {
			put->n_profiles = in->image->n_profiles;
			put->profiles = in->image->profiles;
		}
	}
	for (size_t i = 0; i < in->image->n_properties; i++)
		config_set(
		    properties, in->image->properties[i]->key, in->image->properties[i]->value);
	config_to_map(properties, rq->arena, &pb__image_put__properties_entry__descriptor,
	    &put->n_properties, &put->properties);
}

int api_patch_image(
    Request *rq, const Pb__PatchImageRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	Pb__Image *image;
	Pb__ImagePut put = PB__IMAGE_PUT__INIT;
	if (!in->image)
		return error_set(err, ERROR_INVALID, "No image given");
	if (image_to_change(rq, in->fingerprint, &image, err) < 0)
		return -1;
	merge_put(rq, image, in, &put);
	if (image_update(rq->daemon, rq->project, image->fingerprint, &put, err) < 0)
		return -1;
	image_event(rq->daemon, rq->caller, rq->project, "image-updated", image->fingerprint);
	return 0;
}

/* What a background task on one image needs. */
typedef struct ImageTask {
	Arena *arena;
	const char *project;
	Pb__Image *image;
	Pb__ImageExportPost *post; /* push */
} ImageTask;

static void image_task_free(void *data)
{
	ImageTask *task = data;
	arena_free(task->arena);
	g_free(task);
}

/* On the image with that fingerprint as it is now; the caller adds what else the task needs. */
static ImageTask *task_on(Request *rq, const char *fingerprint, Error **err)
{
	Arena *arena = arena_new();
	Pb__Image *image;
	if (image_get(rq->daemon, rq->project, fingerprint, FALSE, arena, &image, err) < 0) {
		arena_free(arena);
		return NULL;
	}
	ImageTask *task = g_new0(ImageTask, 1);
	task->arena = arena;
	task->project = arena_strdup(arena, rq->project);
	task->image = image;
	return task;
}

/* Takes the task. */
static int start_task(
    Request *rq, ImageTask *task, OperationSpec *spec, Pb__Operation *out, Error **err)
{
	const char *resources[] = { "images",
		arena_printf(rq->arena, "/1.0/images/%s", task->image->fingerprint), NULL };
	spec->op_class = OPERATION_TASK;
	spec->data = task;
	spec->destroy = image_task_free;
	spec->resources = resources;
	return operation_create(rq->daemon, rq, spec, NULL, out, err);
}

static int run_delete(Operation *op, void *data, Error **err)
{
	ImageTask *task = data;
	Daemon *d = operation_daemon(op);
	if (image_delete(d, task->project, task->image->fingerprint, err) < 0)
		return -1;
	image_event(
	    d, operation_caller(op), task->project, "image-deleted", task->image->fingerprint);
	return 0;
}

int api_delete_image(Request *rq, const Pb__DeleteImageRequest *in, Pb__Operation *out, Error **err)
{
	OperationSpec spec = { .description = "Deleting image", .run = run_delete };
	ImageTask *task = task_on(rq, in->fingerprint, err);
	return task ? start_task(rq, task, &spec, out, err) : -1;
}

/* image_push() looks whether it was cancelled. */
static void cancel_push(Operation *op, void *data)
{
}

static int run_push(Operation *op, void *data, Error **err)
{
	ImageTask *task = data;
	return image_push(operation_daemon(op), task->image, task->post, op, err);
}

int api_push_image(Request *rq, const Pb__PushImageRequest *in, Pb__Operation *out, Error **err)
{
	OperationSpec spec = {
		.description = "Uploading image", .run = run_push, .cancel = cancel_push
	};
	if (!in->image || !*in->image->target)
		return error_set(err, ERROR_INVALID, "No target server given");
	ImageTask *task = task_on(rq, in->fingerprint, err);
	if (!task)
		return -1;
	task->post = arena_message_copy(task->arena, in->image);
	return start_task(rq, task, &spec, out, err);
}

static int run_refresh(Operation *op, void *data, Error **err)
{
	ImageTask *task = data;
	gboolean refreshed;
	if (image_refresh(operation_daemon(op), task->project, task->image, op, &refreshed, err) <
	    0)
		return -1;
	operation_set_metadata(op, "refreshed", refreshed ? "true" : "false");
	return 0;
}

int api_refresh_image(
    Request *rq, const Pb__RefreshImageRequest *in, Pb__Operation *out, Error **err)
{
	OperationSpec spec = { .description = "Refreshing image",
		.run = run_refresh,
		.cancel = image_download_cancel };
	ImageTask *task = task_on(rq, in->fingerprint, err);
	return task ? start_task(rq, task, &spec, out, err) : -1;
}

int api_create_image_secret(
    Request *rq, const Pb__CreateImageSecretRequest *in, Pb__Operation *out, Error **err)
{
	Pb__Image *image;
	if (image_get(rq->daemon, rq->project, in->fingerprint, FALSE, rq->arena, &image, err) < 0)
		return -1;
	return image_secret_create(rq, image->fingerprint, out, err);
}

int api_export_image(Request *rq, const Pb__ExportImageRequest *in, Stream *stream, Error **err)
{
	Pb__Image *image;
	if (visible_image(rq, in->fingerprint, in->secret, &image, err) < 0)
		return -1;
	/* A secret is good for one download. */
	if (!trusted(rq) && !image->public_ &&
	    !image_secret_redeem(rq->daemon, rq->project, image->fingerprint, in->secret))
		return error_set(err, ERROR_NOT_FOUND, "Image not found");
	return image_export(rq, image, in, stream, err);
}

int api_get_image_aliases(Request *rq, const Pb__GetImageAliasesRequest *in,
    Pb__GetImageAliasesResponse *out, Error **err)
{
	return image_alias_list(
	    rq->daemon, rq->project, rq->arena, &out->n_items, &out->items, err);
}

int api_get_image_alias(
    Request *rq, const Pb__GetImageAliasRequest *in, Pb__ImageAliasesEntry *out, Error **err)
{
	Pb__ImageAliasesEntry *alias;
	if (image_alias_get(rq->daemon, rq->project, in->name, in->image_type, !trusted(rq),
		rq->arena, &alias, err) < 0)
		return -1;
	*out = *alias;
	return 0;
}

static void alias_event(Request *rq, const char *action, const char *name)
{
	g_autofree char *escaped = g_uri_escape_string(name, NULL, FALSE);
	g_autofree char *source = g_strdup_printf("/1.0/images/aliases/%s", escaped);
	event_lifecycle(rq->daemon->events, rq->project, action, source, NULL, rq->caller);
}

int api_create_image_alias(
    Request *rq, const Pb__CreateImageAliasRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	const Pb__ImageAliasesPost *alias = in->alias;
	if (!alias || !*alias->name || !*alias->target)
		return error_set(err, ERROR_INVALID, "name and target are required");
	if (image_alias_create(
		rq->daemon, rq->project, alias->name, alias->target, alias->description, err) < 0)
		return -1;
	alias_event(rq, "image-alias-created", alias->name);
	return 0;
}

static int alias_to_change(Request *rq, const char *name, Pb__ImageAliasesEntry **ret, Error **err)
{
	if (image_alias_get(rq->daemon, rq->project, name, NULL, FALSE, rq->arena, ret, err) < 0)
		return -1;
	return request_check_etag(rq, *ret, err);
}

static int change_alias(
    Request *rq, const char *name, const char *target, const char *description, Error **err)
{
	if (image_alias_update(rq->daemon, rq->project, name, target, description, err) < 0)
		return -1;
	alias_event(rq, "image-alias-updated", name);
	return 0;
}

int api_update_image_alias(
    Request *rq, const Pb__UpdateImageAliasRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	Pb__ImageAliasesEntry *alias;
	if (alias_to_change(rq, in->name, &alias, err) < 0)
		return -1;
	if (!in->alias || !*in->alias->target)
		return error_set(err, ERROR_INVALID, "The target field is required");
	return change_alias(rq, in->name, in->alias->target, in->alias->description, err);
}

int api_patch_image_alias(
    Request *rq, const Pb__PatchImageAliasRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	Pb__ImageAliasesEntry *alias;
	if (alias_to_change(rq, in->name, &alias, err) < 0)
		return -1;
	const char *target = alias->target, *description = alias->description;
	for (size_t i = 0; in->alias && i < in->n_update_mask; i++) {
		if (strcmp(in->update_mask[i], "target") == 0)
			target = in->alias->target;
		else if (strcmp(in->update_mask[i], "description") == 0)
			description = in->alias->description;
	}
	return change_alias(rq, in->name, target, description, err);
}

int api_rename_image_alias(
    Request *rq, const Pb__RenameImageAliasRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	if (!in->alias || !*in->alias->name)
		return error_set(err, ERROR_INVALID, "No name provided");
	if (image_alias_rename(rq->daemon, rq->project, in->name, in->alias->name, err) < 0)
		return -1;
	alias_event(rq, "image-alias-renamed", in->alias->name);
	return 0;
}

int api_delete_image_alias(
    Request *rq, const Pb__DeleteImageAliasRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	if (image_alias_delete(rq->daemon, rq->project, in->name, err) < 0)
		return -1;
	alias_event(rq, "image-alias-deleted", in->name);
	return 0;
}
