/* Handlers of EventService. */
#include "incus/v1/handlers.h"
#include "sdk/base/json_text.h"
#include "server/daemon.h"
#include "server/event/event.h"

static const char *const known_types[] = {"logging", "operation", "lifecycle", "network-acl", NULL};

/* The types asked for; all that the caller may see when none is named. */
static int choose_types(Request *rq, const char *wanted, char ***ret_types, Error **err)
{
	if (!wanted || !*wanted) {
		*ret_types = g_strdupv(
		    (char **)(rq->caller->admin ? known_types : known_types + 1));
		return 0;
	}
	g_auto(GStrv) types = g_strsplit(wanted, ",", 16);
	for (char **type = types; *type; type++) {
		if (!g_strv_contains(known_types, *type))
			return error_set(
			    err, ERROR_INVALID, "\"%s\" isn't a supported event type", *type);
		if (g_str_equal(*type, "logging") && !rq->caller->admin)
			return error_set(err, ERROR_FORBIDDEN, "Forbidden");
	}
	*ret_types = g_steal_pointer(&types);
	return 0;
}

static void fill(const Event *event, Pb__Event *out, Google__Protobuf__Timestamp *time)
{
	time->seconds = event->time_us / G_USEC_PER_SEC;
	time->nanos = (int32_t)(event->time_us % G_USEC_PER_SEC) * 1000;
	out->timestamp = time;
	out->type = event->type;
	out->metadata = event->metadata_json;
	out->location = event->location;
	out->project = event->project;
}

/* A restricted caller that asks for every project gets those it may use. */
static gboolean visible(const Caller *caller, const Event *event)
{
	return caller->admin || !*event->project || caller_has_project(caller, event->project);
}

int api_get_events(Request *rq, const Pb__GetEventsRequest *in, Stream *stream, Error **err)
{
	g_auto(GStrv) types = NULL;
	if (in->all_projects && in->project && *in->project)
		return error_set(err, ERROR_INVALID,
		    "Cannot specify a project when requesting events for all projects");
	if (choose_types(rq, in->type, &types, err) < 0)
		return -1;
	EventListener *listener = event_listen(rq->daemon->events, (const char *const *)types,
	    in->all_projects ? NULL : rq->project);
	int result = stream_open(stream, err);
	while (result == 0) {
		g_autoptr(Event) event = NULL;
		/* A client that only listens is noticed gone by the door, which cancels the
		 * request. */
		int got = event_next(listener, 1000, &event, err);
		if (got < 0)
			result = -1;
		else if (got == 0 && request_cancelled(rq))
			break;
		if (got != 1 || !visible(rq->caller, event))
			continue;
		Pb__Event message = PB__EVENT__INIT;
		Google__Protobuf__Timestamp time = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
		fill(event, &message, &time);
		result = stream_send(stream, &message, err);
	}
	event_listener_free(listener);
	return result;
}
