/* Handlers of InstanceService: metadata and templates that came with the image. */
#include "incus/v1/handlers.h"
#include "sdk/base/json_text.h"
#include "sdk/base/own.h"
#include "server/instance/metadata.h"
#include <string.h>

/* ---- metadata.yaml ---- */

int api_get_instance_metadata(Request *rq, const Pb__GetInstanceMetadataRequest *in,
    Pb__ImageMetadata *out, Error **err)
{
	g_autoptr(Instance) instance = NULL;
	g_autoptr(InstanceFolder) folder = NULL;
	Pb__ImageMetadata *found;
	if (instance_get(rq->daemon, rq->project, in->name, &instance, err) < 0 ||
	    instance_folder_open(instance, &folder, err) < 0 ||
	    metadata_load(instance_folder_fd(folder), rq->arena, &found, err) < 0)
		return -1;
	*out = *found;
	instance_event_below(
	    instance, "/metadata", "instance-metadata-retrieved", NULL, rq->caller);
	return 0;
}

static int replace(Pb__ImageMetadata *now, gboolean found, void *data, Error **err)
{
	*now = *(const Pb__ImageMetadata *)data;
	return 0;
}

/* ETags of PUT are not compared, as with Incus. */
int api_update_instance_metadata(Request *rq, const Pb__UpdateInstanceMetadataRequest *in,
    Google__Protobuf__Empty *out, Error **err)
{
	g_autoptr(Instance) instance = NULL;
	if (!in->metadata)
		return error_set(err, ERROR_INVALID, "No metadata was given");
	if (instance_get(rq->daemon, rq->project, in->name, &instance, err) < 0 ||
	    metadata_change(instance, replace, in->metadata, err) < 0)
		return -1;
	instance_event_below(instance, "/metadata", "instance-metadata-updated", NULL, rq->caller);
	return 0;
}

typedef struct Patch {
	Request *rq;
	const Pb__PatchInstanceMetadataRequest *in;
} Patch;

static int merge(Pb__ImageMetadata *now, gboolean found, void *data, Error **err)
{
	const Patch *patch = data;
	const Pb__ImageMetadata *given = patch->in->metadata;
	if (!found)
		return error_set(err, ERROR_NOT_FOUND, "metadata not found");
	if (request_check_etag(patch->rq, now, err) < 0)
		return -1;
	for (size_t i = 0; i < patch->in->n_update_mask; i++) {
		const char *field = patch->in->update_mask[i];
		if (g_str_equal(field, "architecture")) {
			now->architecture = given->architecture;
		} else if (g_str_equal(field, "creation_date")) {
			now->creation_date = given->creation_date;
		} else if (g_str_equal(field, "expiry_date")) {
			now->expiry_date = given->expiry_date;
		} else if (g_str_equal(field, "properties")) {
			now->n_properties = given->n_properties;
			now->properties = given->properties;
		} else if (g_str_equal(field, "templates")) {
			now->n_templates = given->n_templates;
			now->templates = given->templates;
		}
	}
	return 0;
}

int api_patch_instance_metadata(Request *rq, const Pb__PatchInstanceMetadataRequest *in,
    Google__Protobuf__Empty *out, Error **err)
{
	g_autoptr(Instance) instance = NULL;
	Patch patch = {.rq = rq, .in = in};
	if (!in->metadata)
		return error_set(err, ERROR_INVALID, "No metadata was given");
	if (instance_get(rq->daemon, rq->project, in->name, &instance, err) < 0 ||
	    metadata_change(instance, merge, &patch, err) < 0)
		return -1;
	instance_event_below(instance, "/metadata", "instance-metadata-updated", NULL, rq->caller);
	return 0;
}

/* ---- templates/ ---- */

static void tell(Request *rq, Instance *instance, const char *action, const char *path)
{
	g_autofree char *context = json_text_object("path", path, NULL);
	instance_event_below(instance, "/metadata/templates", action, context, rq->caller);
}

static int send_names(int folder, Stream *stream, Error **err)
{
	g_autoptr(GPtrArray) names = NULL;
	Pb__InstanceTemplate reply = PB__INSTANCE_TEMPLATE__INIT;
	if (template_list(folder, &names, err) < 0)
		return -1;
	reply.entries = (char **)names->pdata;
	reply.n_entries = names->len;
	return stream_send_sync(stream, &reply, err);
}

static int send_text(int folder, const char *path, Stream *stream, Error **err)
{
	autofd int fd = -1;
	uint64_t size = 0;
	Pb__InstanceTemplate head = PB__INSTANCE_TEMPLATE__INIT;
	if (template_open(folder, path, &fd, &size, err) < 0)
		return -1;
	head.content_type = (char *)"application/octet-stream";
	stream_set_length(stream, size);
	if (stream_send(stream, &head, err) < 0)
		return -1;
	return stream_send_file(stream, fd, 0, size, err);
}

int api_get_instance_template_files(
    Request *rq, const Pb__GetInstanceTemplateFilesRequest *in, Stream *stream, Error **err)
{
	g_autoptr(Instance) instance = NULL;
	g_autoptr(InstanceFolder) folder = NULL;
	if (instance_get(rq->daemon, rq->project, in->name, &instance, err) < 0 ||
	    instance_folder_open(instance, &folder, err) < 0)
		return -1;
	if (!*in->path)
		return send_names(instance_folder_fd(folder), stream, err);
	if (send_text(instance_folder_fd(folder), in->path, stream, err) < 0)
		return -1;
	tell(rq, instance, "instance-metadata-template-retrieved", in->path);
	return 0;
}

static int receive_text(Stream *stream, GString *text, Error **err)
{
	const void *message;
	int got;
	while ((got = stream_recv(stream, -1, &message, err)) == 1) {
		const Pb__CreateInstanceTemplateFileRequest *more = message;
		if (text->len + more->data.len > TEMPLATE_MAX)
			return error_set(
			    err, ERROR_TOO_LARGE, "More than %d bytes of template", TEMPLATE_MAX);
		g_string_append_len(text, (const char *)more->data.data, (gssize)more->data.len);
	}
	return got;
}

int api_create_instance_template_file(Request *rq, const Pb__CreateInstanceTemplateFileRequest *in,
    Stream *stream, Error **err)
{
	g_autoptr(Instance) instance = NULL;
	g_autoptr(GString) text = g_string_new(NULL);
	g_autofree char *path = g_strdup(in->path); /* `in` ends with the first recv */
	if (!*path)
		return error_set(err, ERROR_INVALID, "missing path argument");
	if (instance_get(rq->daemon, rq->project, in->name, &instance, err) < 0 ||
	    receive_text(stream, text, err) < 0 ||
	    template_write(instance, path, text->str, text->len, err) < 0)
		return -1;
	tell(rq, instance, "instance-metadata-template-created", path);
	Google__Protobuf__Empty done = GOOGLE__PROTOBUF__EMPTY__INIT;
	return stream_send(stream, &done, err);
}

int api_delete_instance_template_file(Request *rq, const Pb__DeleteInstanceTemplateFileRequest *in,
    Google__Protobuf__Empty *out, Error **err)
{
	g_autoptr(Instance) instance = NULL;
	if (!*in->path)
		return error_set(err, ERROR_INVALID, "missing path argument");
	if (instance_get(rq->daemon, rq->project, in->name, &instance, err) < 0 ||
	    template_delete(instance, in->path, err) < 0)
		return -1;
	tell(rq, instance, "instance-metadata-template-deleted", in->path);
	return 0;
}
