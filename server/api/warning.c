/* Handlers of WarningService. */
#include "incus/v1/handlers.h"
#include "sdk/base/filter.h"
#include "server/daemon.h"
#include "server/event/event.h"
#include "server/warning/warning.h"
#include <string.h>

int api_get_warnings(
    Request *rq, const Pb__GetWarningsRequest *in, Pb__GetWarningsResponse *out, Error **err)
{
	g_autoptr(Filter) filter = NULL;
	g_autoptr(GPtrArray) warnings = NULL;
	if (filter_parse(in->filter, &filter, err) < 0)
		return error_prefix(err, "Invalid filter");
	if (warning_list(rq->daemon, in->project, rq->arena, &warnings, err) < 0)
		return -1;
	out->items = arena_alloc(rq->arena, (warnings->len + 1) * sizeof(*out->items));
	for (guint i = 0; i < warnings->len; i++)
		if (filter_match(filter, warnings->pdata[i]))
			out->items[out->n_items++] = warnings->pdata[i];
	return 0;
}

int api_get_warning(Request *rq, const Pb__GetWarningRequest *in, Pb__Warning *out, Error **err)
{
	Pb__Warning *warning;
	if (warning_get(rq->daemon, in->uuid, rq->arena, &warning, err) < 0)
		return -1;
	*out = *warning;
	return 0;
}

static void send_event(Request *rq, const Pb__Warning *warning, const char *action)
{
	g_autofree char *source = g_strdup_printf("/1.0/warnings/%s", warning->uuid);
	event_lifecycle(rq->daemon->events, warning->project, action, source, NULL, rq->caller);
}

static int set_status(Request *rq, const char *uuid, const Pb__WarningPut *put, Error **err)
{
	Pb__Warning *warning;
	const char *status = put ? put->status : "";
	if (warning_get(rq->daemon, uuid, rq->arena, &warning, err) < 0 ||
	    warning_set_status(rq->daemon, uuid, status, err) < 0)
		return -1;
	send_event(rq, warning,
	    strcmp(status, "acknowledged") == 0 ? "warning-acknowledged" : "warning-reset");
	return 0;
}

int api_update_warning(
    Request *rq, const Pb__UpdateWarningRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	return set_status(rq, in->uuid, in->warning, err);
}

int api_patch_warning(
    Request *rq, const Pb__PatchWarningRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	return set_status(rq, in->uuid, in->warning, err);
}

int api_delete_warning(
    Request *rq, const Pb__DeleteWarningRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	Pb__Warning *warning;
	if (warning_get(rq->daemon, in->uuid, rq->arena, &warning, err) < 0 ||
	    warning_delete(rq->daemon, in->uuid, err) < 0)
		return -1;
	send_event(rq, warning, "warning-deleted");
	return 0;
}

int api_raise_warning(
    Request *rq, const Pb__RaiseWarningRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	const Pb__WarningPost *post = in->warning;
	WarningSpec spec = { .entity = WARNING_ENTITY_NONE, .entity_id = -1 };
	if (!post)
		return error_set(err, ERROR_INVALID, "No warning was described");
	spec.location = post->location;
	spec.project = post->project;
	spec.type = post->type_code;
	spec.message = post->message;
	for (size_t i = 0; i < in->n_update_mask; i++)
		if (strcmp(in->update_mask[i], "entity_type_code") == 0)
			spec.entity = post->entity_type_code;
	if (spec.entity != WARNING_ENTITY_NONE)
		spec.entity_id = post->entity_id;
	return warning_raise(rq->daemon, &spec, err);
}
