/* Images from one server to another: the target fetches (pull), the source sends (push), or they go
 * through the caller (relay). */
#include "sdk/image_copy.h"
#include <incus/call.h>
#include <incus/operation.h>
#include "sdk/client.h"
#include "sdk/migration.h"
#include <stdlib.h>
#include <string.h>

/* An alias of the source, or a fingerprint. */
static int find_image(ImageCopy *copy, incus_error **err)
{
	Pb__GetImageAliasRequest alias_in = PB__GET_IMAGE_ALIAS_REQUEST__INIT;
	Pb__GetImageRequest in = PB__GET_IMAGE_REQUEST__INIT;
	incus_error *missing = NULL;
	void *alias = NULL, *image = NULL;
	alias_in.name = in.fingerprint = (char *)copy->name;
	copy->by_alias = incus_call_unary(copy->from, incus_method("GetImageAlias"), &alias_in,
			     &alias, &missing) == 0;
	if (copy->by_alias)
		in.fingerprint = ((Pb__ImageAliasesEntry *)alias)->target;
	incus_error_free(missing);
	int result = incus_call_unary(copy->from, incus_method("GetImage"), &in, &image, err);
	incus_message_free(alias);
	copy->image = image;
	return result;
}

/* ---- what is asked of the target ---- */

static gboolean listed(Pb__ImageAlias **list, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(list[i]->name, name) == 0)
			return TRUE;
	return FALSE;
}

Pb__ImageAlias **image_copy_aliases(ImageCopy *copy, size_t *ret_n)
{
	const char *const *names = copy->options->aliases;
	size_t n_names = names ? g_strv_length((char **)names) : 0, n = 0;
	size_t n_own = copy->options->copy_aliases ? copy->image->n_aliases : 0;
	Pb__ImageAlias **list = arena_alloc(copy->arena, (n_names + n_own + 1) * sizeof(*list));
	for (size_t i = 0; i < n_names; i++) {
		if (listed(list, n, names[i]))
			continue;
		list[n] = arena_message(copy->arena, Pb__ImageAlias, pb__image_alias);
		list[n++]->name = (char *)names[i];
	}
	for (size_t i = 0; i < n_own; i++)
		if (!listed(list, n, copy->image->aliases[i]->name))
			list[n++] = copy->image->aliases[i];
	*ret_n = n;
	return list;
}

static const char *project_there(const ImageCopy *copy)
{
	return copy->options->project ? copy->options->project : incus_client_project(copy->to);
}

static Pb__ImagesPost *post_of(ImageCopy *copy, const char *mode)
{
	Pb__ImagesPost *post = arena_message(copy->arena, Pb__ImagesPost, pb__images_post);
	const char *const *profiles = copy->options->profiles;
	post->source = arena_message(
	    copy->arena, Pb__ImagesPostSource, pb__images_post_source);
	post->source->type = (char *)"image";
	post->source->mode = (char *)mode;
	post->public_ = copy->options->is_public;
	post->auto_update = copy->options->auto_update;
	post->profiles = (char **)profiles;
	post->n_profiles = profiles ? g_strv_length((char **)profiles) : 0;
	post->aliases = image_copy_aliases(copy, &post->n_aliases);
	return post;
}

/* The operation that makes it, as it started. */
static int create(
    ImageCopy *copy, Pb__ImagesPost *post, Pb__Operation **ret_operation, incus_error **err)
{
	Pb__CreateImageRequest in = PB__CREATE_IMAGE_REQUEST__INIT;
	incus_stream *stream;
	in.project = (char *)project_there(copy);
	in.image = post;
	if (incus_stream_open(copy->to, incus_method("CreateImage"), &in, &stream, err) < 0)
		return -1;
	int result = incus_stream_finish(stream, (void **)ret_operation, err);
	incus_stream_free(stream);
	return result;
}

/* Waits for an operation, and frees it. */
static int wait_for(
    ImageCopy *copy, incus_client *client, Pb__Operation *operation, incus_error **err)
{
	int result = incus_operation_wait(
	    client, operation, copy->options->progress, copy->options->data, NULL, err);
	incus_message_free(operation);
	return result;
}

/* The next address, unless that was the end of it. */
static gboolean may_try(int result, const incus_error *problem)
{
	return result < 0 && !(problem && incus_error_is(problem, "CANCELLED"));
}

/* ---- pull ---- */

/* A secret for an image that is not public. */
static int take_secret(ImageCopy *copy, char **ret_secret, incus_error **err)
{
	Pb__CreateImageSecretRequest in = PB__CREATE_IMAGE_SECRET_REQUEST__INIT;
	void *operation;
	in.fingerprint = copy->image->fingerprint;
	if (incus_call_unary(copy->from, incus_method("CreateImageSecret"), &in, &operation, err) <
	    0)
		return -1;
	char *secret = incus_operation_metadata(operation, "secret");
	*ret_secret = arena_strdup(copy->arena, secret ? secret : "");
	free(secret);
	incus_message_free(operation);
	return **ret_secret ?
	    0 :
	    sdk_error(err, ERROR_UNSUPPORTED, "The server did not answer with a secret");
}

static int name_source(ImageCopy *copy, Pb__ImagesPostSource *source, incus_error **err)
{
	source->protocol = (char *)"incus";
	source->image_type = copy->image->type;
	source->project = (char *)incus_client_project(copy->from);
	/* By its alias a public image can be followed to newer versions. */
	if (copy->by_alias && copy->image->public_)
		source->alias = (char *)copy->name;
	else
		source->fingerprint = copy->image->fingerprint;
	return copy->image->public_ ? 0 : take_secret(copy, &source->secret, err);
}

/* A server behind a unix socket has several addresses. */
static int pull(ImageCopy *copy, incus_error **err)
{
	CopyPlace place;
	Pb__ImagesPost *post = post_of(copy, "pull");
	incus_error *problem = NULL;
	int result = -1;
	if (name_source(copy, post->source, err) < 0 ||
	    copy_find_place(copy->arena, copy->from, &place, err) < 0)
		return -1;
	post->source->certificate = (char *)place.certificate;
	for (char **url = place.urls; *url && may_try(result, problem); url++) {
		Pb__Operation *operation;
		incus_error_free(problem);
		problem = NULL;
		post->source->server = *url;
		result = create(copy, post, &operation, &problem) < 0 ?
		    -1 :
		    wait_for(copy, copy->to, operation, &problem);
	}
	if (result < 0)
		*err = problem;
	return result;
}

/* ---- push ---- */

/* Has the source send to the address; `waiting` is the target's operation. */
static int send_to(ImageCopy *copy, const CopyPlace *place, char *url, const char *secret,
    const Pb__ImagesPost *post, incus_error **err)
{
	Pb__PushImageRequest in = PB__PUSH_IMAGE_REQUEST__INIT;
	Pb__ImageExportPost image = PB__IMAGE_EXPORT_POST__INIT;
	void *operation;
	in.fingerprint = copy->image->fingerprint;
	in.image = &image;
	image.target = url;
	image.secret = (char *)secret;
	image.certificate = (char *)place->certificate;
	image.aliases = post->aliases;
	image.n_aliases = post->n_aliases;
	image.profiles = post->profiles;
	image.n_profiles = post->n_profiles;
	image.project = (char *)project_there(copy);
	return incus_call_unary(copy->from, incus_method("PushImage"), &in, &operation, err) < 0 ?
	    -1 :
	    wait_for(copy, copy->from, operation, err);
}

static int send_to_any(ImageCopy *copy, const CopyPlace *place, const Pb__Operation *waiting,
    const Pb__ImagesPost *post, incus_error **err)
{
	char *secret = incus_operation_metadata(waiting, "secret");
	incus_error *problem = NULL;
	int result = secret ? -1 :
			      sdk_error(&problem, ERROR_UNSUPPORTED,
				  "The server did not answer with a secret");
	for (char **url = place->urls; secret && *url && may_try(result, problem); url++) {
		incus_error_free(problem);
		problem = NULL;
		result = send_to(copy, place, *url, secret, post, &problem);
	}
	free(secret);
	if (result < 0)
		*err = problem;
	return result;
}

static void take_properties(ImageCopy *copy, Pb__ImagesPost *post)
{
	size_t n = copy->image->n_properties;
	post->properties = arena_alloc(copy->arena, (n + 1) * sizeof(*post->properties));
	for (size_t i = 0; i < n; i++) {
		Pb__ImagesPost__PropertiesEntry *entry = arena_message(copy->arena,
		    Pb__ImagesPost__PropertiesEntry, pb__images_post__properties_entry);
		entry->key = copy->image->properties[i]->key;
		entry->value = copy->image->properties[i]->value;
		post->properties[post->n_properties++] = entry;
	}
}

static int push(ImageCopy *copy, incus_error **err)
{
	CopyPlace place;
	Pb__Operation *waiting;
	Pb__ImagesPost *post = post_of(copy, "push");
	post->source->fingerprint = copy->image->fingerprint;
	take_properties(copy, post);
	post->expires_at = copy->image->expires_at;
	if (copy_find_place(copy->arena, copy->to, &place, err) < 0 ||
	    create(copy, post, &waiting, err) < 0)
		return -1;
	int result = send_to_any(copy, &place, waiting, post, err);
	if (result < 0)
		incus_operation_cancel(copy->to, waiting, NULL);
	incus_message_free(waiting);
	return result;
}

/* ---- any ---- */

int incus_copy_image(incus_client *from, const char *image, incus_client *to,
    const incus_image_copy *options, char **ret_fingerprint, incus_error **err)
{
	static int (*const modes[])(ImageCopy *, incus_error **) = { pull, push, image_relay };
	static const incus_image_copy plain;
	g_autoptr(Arena) arena = arena_new();
	ImageCopy copy = { .from = from, .to = to, .name = image, .arena = arena };
	incus_error *problem = NULL;
	copy.options = options ? options : &plain;
	if ((unsigned)copy.options->mode >= G_N_ELEMENTS(modes))
		return sdk_error(err, ERROR_INVALID, "Unknown mode");
	if (copy.options->auto_update && copy.options->mode != INCUS_COPY_PULL)
		return sdk_error(
		    err, ERROR_INVALID, "Only an image that the target fetches can be kept up to date");
	if (find_image(&copy, err) < 0)
		return -1;
	int result = modes[copy.options->mode](&copy, &problem);
	if (result == 0 && ret_fingerprint)
		*ret_fingerprint = strdup(copy.image->fingerprint);
	incus_message_free(copy.image);
	if (err)
		*err = problem;
	else
		incus_error_free(problem);
	return result;
}
