#include "server/event/event.h"
#include "sdk/base/json_text.h"
#include <string.h>

/* A listener this far behind is dropped: its socket has stood still for thousands of events. */
#define RING_SIZE 4096

struct EventListener {
	EventHub *hub;
	char **types;   /* NULL: all */
	char *project;  /* NULL: all */
	Event *ring[RING_SIZE];
	guint head, count;
	gboolean dropped, woken;
	GCond cond;
};

struct EventHub {
	GMutex lock;
	GPtrArray *listeners;
	char *location;
	gboolean closing;
};

EventHub *event_hub_new(void)
{
	EventHub *hub = g_new0(EventHub, 1);
	g_mutex_init(&hub->lock);
	hub->listeners = g_ptr_array_new();
	hub->location = g_strdup("none");
	return hub;
}

void event_hub_free(EventHub *hub)
{
	if (!hub)
		return;
	g_mutex_clear(&hub->lock);
	g_ptr_array_unref(hub->listeners);
	g_free(hub->location);
	g_free(hub);
}

void event_hub_close(EventHub *hub)
{
	g_mutex_lock(&hub->lock);
	hub->closing = TRUE;
	for (guint i = 0; i < hub->listeners->len; i++)
		g_cond_broadcast(&((EventListener *)hub->listeners->pdata[i])->cond);
	g_mutex_unlock(&hub->lock);
}

void event_unref(Event *event)
{
	if (!event || !g_atomic_int_dec_and_test(&event->refs))
		return;
	g_free(event->type);
	g_free(event->project);
	g_free(event->location);
	g_free(event->metadata_json);
	g_free(event);
}

static gboolean listener_wants(const EventListener *listener, const char *type, const char *project)
{
	if (listener->types && !g_strv_contains((const char *const *)listener->types, type))
		return FALSE;
	return !listener->project || !*project || g_str_equal(listener->project, project);
}

gboolean event_hub_wants(EventHub *hub, const char *type)
{
	gboolean wanted = FALSE;
	g_mutex_lock(&hub->lock);
	for (guint i = 0; i < hub->listeners->len && !wanted; i++)
		wanted = listener_wants(hub->listeners->pdata[i], type, "");
	g_mutex_unlock(&hub->lock);
	return wanted;
}

static void listener_push(EventListener *listener, Event *event)
{
	if (listener->count == RING_SIZE) {
		listener->dropped = TRUE;
	} else {
		g_atomic_int_inc(&event->refs);
		listener->ring[(listener->head + listener->count++) % RING_SIZE] = event;
	}
	g_cond_signal(&listener->cond);
}

void event_send(EventHub *hub, const char *type, const char *project, const char *metadata_json)
{
	g_mutex_lock(&hub->lock);
	Event *event = NULL; /* made when the first listener wants it */
	for (guint i = 0; i < hub->listeners->len; i++) {
		EventListener *listener = hub->listeners->pdata[i];
		if (!listener_wants(listener, type, project ? project : ""))
			continue;
		if (!event) {
			event = g_new0(Event, 1);
			event->refs = 1;
			event->type = g_strdup(type);
			event->project = g_strdup(project ? project : "");
			event->location = g_strdup(hub->location);
			event->metadata_json = g_strdup(metadata_json);
			event->time_us = g_get_real_time();
		}
		listener_push(listener, event);
	}
	g_mutex_unlock(&hub->lock);
	event_unref(event);
}

void event_lifecycle(EventHub *hub, const char *project, const char *action, const char *source,
    const char *context_json, const Caller *caller)
{
	g_autoptr(GString) json = g_string_new("{\"action\":");
	json_text_append(json, action);
	g_autofree char *url = project && *project && !g_str_equal(project, "default")
	    ? g_strdup_printf("%s?project=%s", source, project)
	    : g_strdup(source);
	g_string_append(json, ",\"source\":");
	json_text_append(json, url);
	g_string_append_printf(json, ",\"context\":%s", context_json ? context_json : "{}");
	g_string_append(json, ",\"requestor\":");
	if (caller) {
		g_string_append(json, "{\"username\":");
		json_text_append(json, caller->username);
		g_string_append(json, ",\"protocol\":");
		json_text_append(json, caller_protocol(caller));
		g_string_append(json, ",\"address\":");
		json_text_append(json, caller->address);
		g_string_append_c(json, '}');
	} else {
		g_string_append(json, "null");
	}
	const char *name = strrchr(source, '/');
	g_string_append(json, ",\"name\":");
	json_text_append(json, name ? name + 1 : source);
	g_string_append(json, ",\"project\":");
	json_text_append(json, project ? project : "");
	g_string_append_c(json, '}');
	event_send(hub, "lifecycle", project, json->str);
}

EventListener *event_listen(EventHub *hub, const char *const *types, const char *project)
{
	EventListener *listener = g_new0(EventListener, 1);
	listener->hub = hub;
	listener->types = types ? g_strdupv((char **)types) : NULL;
	listener->project = g_strdup(project);
	g_cond_init(&listener->cond);
	g_mutex_lock(&hub->lock);
	g_ptr_array_add(hub->listeners, listener);
	g_mutex_unlock(&hub->lock);
	return listener;
}

int event_next(EventListener *listener, int timeout_ms, Event **ret_event, Error **err)
{
	EventHub *hub = listener->hub;
	gint64 until = g_get_monotonic_time() + (gint64)timeout_ms * 1000;
	int result = 1;

	g_mutex_lock(&hub->lock);
	while (!listener->count && !listener->dropped && !listener->woken && !hub->closing) {
		if (timeout_ms < 0)
			g_cond_wait(&listener->cond, &hub->lock);
		else if (!g_cond_wait_until(&listener->cond, &hub->lock, until))
			break;
	}
	if (listener->woken || (hub->closing && !listener->count)) {
		result = error_set(err, ERROR_CANCELLED, "Event listener closed");
	} else if (listener->count) {
		*ret_event = listener->ring[listener->head];
		listener->head = (listener->head + 1) % RING_SIZE;
		listener->count--;
	} else if (listener->dropped) {
		result = error_set(err, ERROR_CANCELLED,
		    "Event listener dropped: it was more than %d events behind", RING_SIZE);
	} else {
		result = 0;
	}
	g_mutex_unlock(&hub->lock);
	return result;
}

void event_wake(EventListener *listener)
{
	g_mutex_lock(&listener->hub->lock);
	listener->woken = TRUE;
	g_cond_broadcast(&listener->cond);
	g_mutex_unlock(&listener->hub->lock);
}

void event_listener_free(EventListener *listener)
{
	if (!listener)
		return;
	g_mutex_lock(&listener->hub->lock);
	g_ptr_array_remove_fast(listener->hub->listeners, listener);
	g_mutex_unlock(&listener->hub->lock);
	while (listener->count) {
		event_unref(listener->ring[listener->head]);
		listener->head = (listener->head + 1) % RING_SIZE;
		listener->count--;
	}
	g_strfreev(listener->types);
	g_free(listener->project);
	g_cond_clear(&listener->cond);
	g_free(listener);
}
